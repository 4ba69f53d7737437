// The product that fills the registers, for the translation units that are compiled once per instruction set
// (prune_tile.cpp, attention_tile.cpp) with ZIPRERANK_ISA_NAME (a string), ZIPRERANK_ISA_LANES (floats of a
// register) and ZIPRERANK_ISA_ROWS (rows of two accumulators each that fit the registers). Everything has
// internal linkage, and the standard library stays out: the linker must never pick a version of a shared
// function that this machine cannot run.
#ifndef ZIPRERANK_REGISTER_TILE_HPP_
#define ZIPRERANK_REGISTER_TILE_HPP_

namespace ziprerank {
namespace {

constexpr int kLanes = ZIPRERANK_ISA_LANES;
constexpr int kCols = 2 * kLanes;  // of a panel
constexpr int kRows = ZIPRERANK_ISA_ROWS;

using Vec = float __attribute__((vector_size(kLanes * sizeof(float))));
// A typedef, since Clang drops `aligned` in an alias declaration and would load from where no vector may lie.
typedef float Loose __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float)), may_alias));
static_assert(alignof(Loose) == alignof(float), "floats may begin anywhere");

inline Vec Load(const float* from) { return *reinterpret_cast<const Loose*>(from); }
inline void Store(float* to, Vec value) { *reinterpret_cast<Loose*>(to) = value; }

// sums [kRows, kCols] += rows [kRows, depth] * panel [depth, kCols]; strides count floats from row to row.
inline void MultiplyAdd(const float* rows, int row_stride, const float* panel, int depth, float* sums,
                        int sum_stride) {
  Vec low[kRows];
  Vec high[kRows];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    low[r] = Load(sums + r * sum_stride);
    high[r] = Load(sums + r * sum_stride + kLanes);
  }
  for (int k = 0; k < depth; ++k) {
    const Vec left = Load(panel + k * kCols);
    const Vec right = Load(panel + k * kCols + kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const float value = rows[r * row_stride + k];
      low[r] += left * value;
      high[r] += right * value;
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    Store(sums + r * sum_stride, low[r]);
    Store(sums + r * sum_stride + kLanes, high[r]);
  }
}

}  // namespace
}  // namespace ziprerank

#endif  // ZIPRERANK_REGISTER_TILE_HPP_
