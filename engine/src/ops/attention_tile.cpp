// Compiled once per instruction set, see register_tile.hpp: ZIPRERANK_ISA_SYMBOL is the constant that it
// defines.
//
// Attention without its matrix of scores (Dao et al., FlashAttention, arXiv 2205.14135): a tile of queries
// goes through the keys block by block and keeps, for each row, the largest score so far, the sum of its
// weights and the weighted sum of values, all relative to that largest score. Blocks that a causal tile
// cannot see are never touched.
#include "ops/attention_tile.hpp"

#include "ops/register_tile.hpp"

namespace ziprerank {
namespace {

constexpr int kTileRows = 96;  // a multiple of every kRows: 12, 8, 6, 4
constexpr int kBlock = 128;    // keys and values of 256 floats: 256 KB, in L2 beside the queries and the sums

using Bits = unsigned __attribute__((vector_size(kLanes * sizeof(unsigned))));

constexpr float kLog2E = 1.44269504f;
constexpr float kInfinity = __builtin_inff();

inline Vec All(float value) { return Vec{} + value; }

// 2^x for x <= 0: 2^n by its exponent's bits, 2^f for -0.5 <= f <= 0.5 by a polynomial (interpolated in
// Chebyshev's points; relative error 1e-7 in float). Below 2^-125 it is 0; NaN stays NaN.
inline Vec Exp2(Vec x) {
  const Vec shifted = x + 12582912.0f;  // 1.5 * 2^23: the sum has no room for a fraction
  const Vec fraction = x - (shifted - 12582912.0f);
  Vec power = All(1.54614447e-4f);
  power = power * fraction + 1.34004282e-3f;
  power = power * fraction + 9.61805668e-3f;
  power = power * fraction + 5.55032723e-2f;
  power = power * fraction + 0.240226509f;
  power = power * fraction + 0.693147207f;
  power = power * fraction + 1.0f;
  const Bits exponent = (reinterpret_cast<Bits>(shifted) << 23) + 0x3f800000u;
  return x < All(-125.0f) ? Vec{} : power * reinterpret_cast<Vec>(exponent);
}

struct Row {
  float largest;  // score, in powers of two
  float sum;      // of 2^(score - largest)
};

// Turns a row of `count` scores, a multiple of kLanes, into weights; returns by how much what was summed
// before shrinks.
float Weigh(float* scores, int count, Row* row) {
  Vec best = All(row->largest);
  for (int c = 0; c < count; c += kLanes) {
    const Vec value = Load(scores + c);
    best = value > best ? value : best;
  }
  float largest = best[0];
  for (int lane = 1; lane < kLanes; ++lane) largest = best[lane] > largest ? best[lane] : largest;
  Vec sum = {};
  for (int c = 0; c < count; c += kLanes) {
    const Vec weight = Exp2(Load(scores + c) - largest);
    Store(scores + c, weight);
    sum += weight;
  }
  const float shrink = Exp2(All(row->largest - largest))[0];
  row->largest = largest;
  row->sum *= shrink;
  for (int lane = 0; lane < kLanes; ++lane) row->sum += sum[lane];
  return shrink;
}

constexpr int Padded(std::int64_t head_dim) {
  return static_cast<int>((head_dim + kCols - 1) / kCols * kCols);
}

std::size_t ScratchFloats(std::int64_t head_dim) {
  return static_cast<std::size_t>(kTileRows) * static_cast<std::size_t>(head_dim + kBlock + Padded(head_dim));
}

void Run(const AttentionTile& tile) {
  const int rows = static_cast<int>(tile.rows);
  const int padded_rows = (rows + kRows - 1) / kRows * kRows;
  const int depth = static_cast<int>(tile.head_dim);
  const int width = Padded(tile.head_dim);
  float* const queries = tile.scratch;                // [kTileRows, head_dim]
  float* const scores = queries + kTileRows * depth;  // [kTileRows, kBlock]
  float* const sums = scores + kTileRows * kBlock;    // [kTileRows, width]
  const float scale = kLog2E / __builtin_sqrtf(static_cast<float>(depth));
  for (int r = 0; r < padded_rows; ++r) {  // rows past the end compute with zeros
    const float* from = tile.queries + r * tile.query_stride;
    for (int k = 0; k < depth; ++k) queries[r * depth + k] = r < rows ? from[k] * scale : 0;
  }
  for (int i = 0; i < padded_rows * width; ++i) sums[i] = 0;
  Row state[kTileRows];
  for (int r = 0; r < padded_rows; ++r) state[r] = {-kInfinity, 0};

  const std::int64_t last = tile.first + rows;
  const std::int64_t end = tile.causal && last < tile.length ? last : tile.length;
  for (std::int64_t first = 0; first < end; first += kBlock) {
    const int count = static_cast<int>(end - first < kBlock ? end - first : kBlock);
    const int cols = (count + kCols - 1) / kCols * kCols;
    for (int c = 0; c < cols; c += kCols) {
      const float* panel = tile.keys + (first + c) * depth;
      for (int r = 0; r < padded_rows; r += kRows) {
        float* to = scores + r * kBlock + c;
        for (int i = 0; i < kRows; ++i) {
          Store(to + i * kBlock, Vec{});
          Store(to + i * kBlock + kLanes, Vec{});
        }
        MultiplyAdd(queries + r * depth, depth, panel, depth, to, kBlock);
      }
    }
    for (int r = 0; r < padded_rows; ++r) {
      // What a row does not see weighs 2^-infinity. Every row sees key 0, so its largest score is finite from
      // the first block on.
      std::int64_t seen = count;
      if (tile.causal && r < rows && tile.first + r + 1 - first < seen) seen = tile.first + r + 1 - first;
      for (int c = seen < 0 ? 0 : static_cast<int>(seen); c < cols; ++c) scores[r * kBlock + c] = -kInfinity;
      const float shrink = Weigh(scores + r * kBlock, cols, &state[r]);
      if (shrink == 1) continue;
      for (int c = 0; c < width; c += kLanes) {
        Store(sums + r * width + c, Load(sums + r * width + c) * shrink);
      }
    }
    const float* block = tile.values + first * width;
    for (int c = 0; c < width; c += kCols) {
      const float* panel = block + c * kBlock;
      for (int r = 0; r < padded_rows; r += kRows) {
        MultiplyAdd(scores + r * kBlock, kBlock, panel, count, sums + r * width + c, width);
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    float* to = tile.out + r * tile.query_stride;
    for (int k = 0; k < depth; ++k) to[k] = sums[r * width + k] / state[r].sum;
  }
}

}  // namespace

extern const AttentionKernel ZIPRERANK_ISA_SYMBOL = {ZIPRERANK_ISA_NAME, kCols,         kBlock,
                                                     kTileRows,          ScratchFloats, Run};

}  // namespace ziprerank
