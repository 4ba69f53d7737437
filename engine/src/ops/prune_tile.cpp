// Compiled once per instruction set, see register_tile.hpp: ZIPRERANK_ISA_SYMBOL is the constant that it
// defines.
//
// A GEMM whose result is never stored: text rows are packed in panels of two registers, visual rows are
// widened to float once per tile, and a block of kRows x 2 registers accumulates over a slice of H. Only the
// largest value of each visual row leaves the tile.
#include "ops/prune_tile.hpp"

#include "ops/register_tile.hpp"

namespace ziprerank {
namespace {

constexpr int kTileRows = 96;              // a multiple of every kRows: 12, 8, 6, 4
constexpr int kDepth = 256;                // of a slice of H: 96 x 256 floats stay in L2
constexpr int kGroupPanels = 256 / kCols;  // panels whose sums are held at a time

inline float BitsToFloat(std::uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

inline float Widen(float value) { return value; }

struct Bf16 {
  std::uint16_t bits;
};
inline float Widen(Bf16 value) { return BitsToFloat(std::uint32_t{value.bits} << 16); }

struct F16 {
  std::uint16_t bits;
};
// Exponent and fraction move into a float's places, a multiplication by 2^112 corrects the bias (subnormal
// halves too), and infinities and NaN get the full exponent back.
inline float Widen(F16 value) {
  const std::uint32_t magnitude = value.bits & 0x7fffu;
  const float scaled = BitsToFloat(magnitude << 13) * BitsToFloat(0x77800000u);
  std::uint32_t bits;
  __builtin_memcpy(&bits, &scaled, sizeof bits);
  bits |= magnitude >= 0x7c00u ? 0x7f800000u : 0u;
  bits |= (value.bits & 0x8000u) << 16;
  return BitsToFloat(bits);
}

// Widens a slice of one visual row; returns its sum of squares.
template <typename T>
float WidenSlice(const T* source, int depth, float* out) {
  float sums[kLanes] = {};
  int i = 0;
  for (; i + kLanes <= depth; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = Widen(source[i + lane]);
      out[i + lane] = value;
      sums[lane] += value * value;
    }
  }
  float total = 0;
  for (; i < depth; ++i) {
    const float value = Widen(source[i]);
    out[i] = value;
    total += value * value;
  }
  for (int lane = 0; lane < kLanes; ++lane) total += sums[lane];
  return total;
}

template <typename T>
void Run(const PruneTile& tile) {
  float* const widened = tile.scratch;                    // [kTileRows, kDepth]
  float* const sums = tile.scratch + kTileRows * kDepth;  // [kGroupPanels, kTileRows, kCols]
  const int count = static_cast<int>(tile.count);
  const int padded =
      (count + kRows - 1) / kRows * kRows;  // rows past the end keep the values of an earlier slice
  for (int i = 0; i < kTileRows * kDepth; ++i) widened[i] = 0;
  const std::int64_t panels = (tile.text_count + kCols - 1) / kCols;

  for (std::int64_t first = 0; first < panels; first += kGroupPanels) {
    const int group = static_cast<int>(panels - first < kGroupPanels ? panels - first : kGroupPanels);
    for (int i = 0; i < group * kTileRows * kCols; ++i) sums[i] = 0;
    for (std::int64_t k = 0; k < tile.hidden; k += kDepth) {
      const int depth = static_cast<int>(tile.hidden - k < kDepth ? tile.hidden - k : kDepth);
      for (int r = 0; r < count; ++r) {
        const T* row = static_cast<const T*>(tile.pool) + tile.rows[r] * tile.pool_stride + k;
        const float square = WidenSlice(row, depth, widened + r * kDepth);
        if (first == 0) tile.square[r] = k == 0 ? square : tile.square[r] + square;
      }
      for (int p = 0; p < group; ++p) {
        const float* panel = tile.text + ((first + p) * tile.hidden + k) * kCols;
        for (int r = 0; r < padded; r += kRows) {
          MultiplyAdd(widened + r * kDepth, kDepth, panel, depth, sums + (p * kTileRows + r) * kCols, kCols);
        }
      }
    }
    for (int p = 0; p < group; ++p) {  // padding columns are no text: left out of the maximum
      const std::int64_t left = tile.text_count - (first + p) * kCols;
      const int cols = static_cast<int>(left < kCols ? left : kCols);
      for (int r = 0; r < count; ++r) {
        const float* values = sums + (p * kTileRows + r) * kCols;
        float best = first == 0 && p == 0 ? values[0] : tile.best[r];
        for (int c = 0; c < cols; ++c) best = values[c] > best ? values[c] : best;
        tile.best[r] = best;
      }
    }
  }
}

void RunAny(const PruneTile& tile) {
  switch (tile.element) {
    case Element::kF32:
      return Run<float>(tile);
    case Element::kF16:
      return Run<F16>(tile);
    case Element::kBf16:
      return Run<Bf16>(tile);
  }
}

}  // namespace

extern const PruneKernel ZIPRERANK_ISA_SYMBOL = {
    ZIPRERANK_ISA_NAME, kCols, kTileRows,
    static_cast<std::size_t>(kTileRows) * (kDepth + kGroupPanels * kCols), RunAny};

}  // namespace ziprerank
