#include "ops/attention_op.hpp"

#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

std::int64_t Attribute(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  std::int64_t value = 0;
  CheckStatus(api, api.KernelInfoGetAttribute_int64(info, name, &value));
  if (value < 1) throw InvalidArgument(Text(name, " is ", value, ", must be at least 1"));
  return value;
}

std::string ShapeText(const Input& input) {
  return Text("[", input.shape[0], ", ", input.shape[1], ", ", input.shape[2], "]");
}

}  // namespace

AttentionNode::AttentionNode(const OrtApi& api, const OrtKernelInfo* info, bool causal)
    : api_(api), causal_(causal), kernel_(*AttentionKernels().back()) {
  heads_ = Attribute(api, info, "heads");
  kv_heads_ = causal ? Attribute(api, info, "kv_heads") : heads_;
  if (heads_ % kv_heads_ != 0) {
    throw InvalidArgument(Text("heads is ", heads_, ", must be a multiple of kv_heads, ", kv_heads_));
  }
}

const char* AttentionNode::name() const { return AttentionOp::NameOf(causal_); }

void AttentionNode::Compute(OrtKernelContext* context) const {
  const Input q = GetInput(api_, context, 0, "q", 3);
  const Input k = GetInput(api_, context, 1, "k", 3);
  const Input v = GetInput(api_, context, 2, "v", 3);
  const std::int64_t head_dim = q.shape[2] / heads_;
  const std::vector<std::int64_t> want = {q.shape[0], q.shape[1], kv_heads_ * head_dim};
  if (q.shape[2] != heads_ * head_dim || k.shape != want || v.shape != want) {
    throw InvalidArgument(
        Text("q is ", ShapeText(q), ", k ", ShapeText(k), " and v ", ShapeText(v), ": with ", heads_,
             " heads and ", kv_heads_,
             " for keys and values they must be [B, S, heads * head_dim], and [B, S, kv_heads "
             "* head_dim] twice"));
  }
  float* const out = static_cast<float*>(GetOutput(api_, context, 0, q.shape));
  if (q.shape[0] * q.shape[1] * q.shape[2] == 0) return;
  Attend({.queries = q.as<float>(),
          .keys = k.as<float>(),
          .values = v.as<float>(),
          .batch = q.shape[0],
          .length = q.shape[1],
          .heads = heads_,
          .kv_heads = kv_heads_,
          .head_dim = head_dim,
          .causal = causal_},
         kernel_, ThreadsOf(api_, context), out);
}

}  // namespace ziprerank
