// Softmax attention on the CPU (docs/bundle.md, ziprerank::FullAttention and ziprerank::CausalAttention).
// Knows nothing of ONNX Runtime: pointers in, pointers out.
#ifndef ZIPRERANK_ATTENTION_HPP_
#define ZIPRERANK_ATTENTION_HPP_

#include <cstdint>
#include <vector>

#include "ops/attention_tile.hpp"
#include "ops/parallel.hpp"

namespace ziprerank {

struct AttentionInputs {
  const float* queries = nullptr;  // [batch, length, heads * head_dim]
  const float* keys = nullptr;     // [batch, length, kv_heads * head_dim]
  const float* values = nullptr;   // the same
  std::int64_t batch = 1;
  std::int64_t length = 0;  // S
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;  // query head h reads key head h / (heads / kv_heads)
  std::int64_t head_dim = 0;
  bool causal = false;  // position i sees 0..i; else all
};

// The kernels that this processor can run, the slowest first; never empty.
std::vector<const AttentionKernel*> AttentionKernels();

// softmax(q k^T / sqrt(head_dim)) v into `out` [batch, length, heads * head_dim]. Needs memory for one copy
// of keys and values and for a tile a thread, none for the scores. NaN in the inputs is NaN in the rows that
// see it.
void Attend(const AttentionInputs& in, const AttentionKernel& kernel, const ParallelFor& parallel,
            float* out);

}  // namespace ziprerank

#endif  // ZIPRERANK_ATTENTION_HPP_
