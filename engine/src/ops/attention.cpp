#include "ops/attention.hpp"

#include <algorithm>
#include <atomic>
#include <memory>

#include "ziprerank/engine.hpp"

namespace ziprerank {
namespace {

std::size_t Size(std::int64_t value) { return static_cast<std::size_t>(value); }

std::int64_t CeilDiv(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit; }

// Keys and values of all heads in the order in which the tiles read them.
class Packed {
 public:
  Packed(const AttentionInputs& in, const AttentionKernel& kernel, const ParallelFor& parallel)
      : cols_(kernel.panel_cols),
        block_(kernel.key_block),
        blocks_(CeilDiv(in.length, block_)),
        width_(CeilDiv(in.head_dim, cols_) * cols_),
        head_keys_(blocks_ * block_ * in.head_dim),
        head_values_(blocks_ * block_ * width_),
        keys_(new float[Size(in.batch * in.kv_heads * head_keys_)]),
        values_(new float[Size(in.batch * in.kv_heads * head_values_)]) {
    parallel(in.batch * in.kv_heads * blocks_,
             [&](std::int64_t task) { PackBlock(in, task / blocks_, task % blocks_); });
  }

  // Of one key head; they are counted over the batch.
  const float* keys(std::int64_t head) const { return keys_.get() + head * head_keys_; }
  const float* values(std::int64_t head) const { return values_.get() + head * head_values_; }

 private:
  void PackBlock(const AttentionInputs& in, std::int64_t head, std::int64_t block) {
    const std::int64_t stride = in.kv_heads * in.head_dim;
    const std::int64_t first = block * block_;
    const std::int64_t offset =
        (head / in.kv_heads * in.length + first) * stride + head % in.kv_heads * in.head_dim;
    const std::int64_t count = std::min(block_, in.length - first);
    float* const keys = keys_.get() + head * head_keys_ + first * in.head_dim;
    float* const values = values_.get() + head * head_values_ + first * width_;
    if (count < block_) std::fill_n(keys, block_ * in.head_dim, 0.0f);
    if (count < block_ || width_ > in.head_dim) std::fill_n(values, block_ * width_, 0.0f);
    for (std::int64_t row = 0; row < count; ++row) {
      const float* const key = in.keys + offset + row * stride;
      const float* const value = in.values + offset + row * stride;
      float* const column = keys + row / cols_ * cols_ * in.head_dim + row % cols_;
      for (std::int64_t k = 0; k < in.head_dim; ++k) column[k * cols_] = key[k];
      for (std::int64_t k = 0; k < in.head_dim; k += cols_) {
        std::copy_n(value + k, std::min(cols_, in.head_dim - k), values + k * block_ + row * cols_);
      }
    }
  }

  const std::int64_t cols_;
  const std::int64_t block_;
  const std::int64_t blocks_;
  const std::int64_t width_;  // head_dim in whole panels
  const std::int64_t head_keys_;
  const std::int64_t head_values_;
  const std::unique_ptr<float[]> keys_;
  const std::unique_ptr<float[]> values_;
};

}  // namespace

std::vector<const AttentionKernel*> AttentionKernels() {
  std::vector<const AttentionKernel*> kernels = {&kAttentionBaseline};
#if defined(ZIPRERANK_X86_64_KERNELS)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) kernels.push_back(&kAttentionAvx2);
  if (__builtin_cpu_supports("avx512f")) kernels.push_back(&kAttentionAvx512);
#endif
  return kernels;
}

void Attend(const AttentionInputs& in, const AttentionKernel& kernel, const ParallelFor& parallel,
            float* out) {
  const Packed packed(in, kernel, parallel);
  const std::int64_t row_tiles = CeilDiv(in.length, kernel.tile_rows);
  const std::int64_t tiles = in.batch * in.heads * row_tiles;
  const std::int64_t group = in.heads / in.kv_heads;

  // As many tasks as there may be threads, each with its own scratch, take tiles until none is left: tiles of
  // a causal product differ in length, so the longest, the last rows, go first. A thread that comes late, or
  // shares its core, takes fewer.
  static const int cpus = UsableCpus();
  const std::int64_t tasks = std::min<std::int64_t>(tiles, cpus);
  const std::size_t scratch_floats = kernel.scratch_floats(in.head_dim);
  const std::unique_ptr<float[]> scratch(new float[Size(tasks) * scratch_floats]);
  std::atomic<std::int64_t> next = 0;
  parallel(tasks, [&](std::int64_t task) {
    for (std::int64_t taken = next++; taken < tiles; taken = next++) {
      const std::int64_t first = (row_tiles - 1 - taken / (tiles / row_tiles)) * kernel.tile_rows;
      const std::int64_t head = taken % (tiles / row_tiles);  // over the batch
      const std::int64_t stride = in.heads * in.head_dim;
      const std::int64_t offset =
          (head / in.heads * in.length + first) * stride + head % in.heads * in.head_dim;
      const std::int64_t kv_head = head / group;
      kernel.run({.queries = in.queries + offset,
                  .query_stride = stride,
                  .rows = std::min(kernel.tile_rows, in.length - first),
                  .first = first,
                  .keys = packed.keys(kv_head),
                  .values = packed.values(kv_head),
                  .length = in.length,
                  .head_dim = in.head_dim,
                  .causal = in.causal,
                  .scratch = scratch.get() + Size(task) * scratch_floats,
                  .out = out + offset});
    }
  });
}

}  // namespace ziprerank
