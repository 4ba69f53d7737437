// ziprerank::FullAttention and ziprerank::CausalAttention as ONNX Runtime custom ops for the CPU.
#ifndef ZIPRERANK_ATTENTION_OP_HPP_
#define ZIPRERANK_ATTENTION_OP_HPP_

#include "ops/attention.hpp"
#include "ops/op_context.hpp"

namespace ziprerank {

class AttentionNode {
 public:
  // Reads the attributes; InvalidArgument where the heads do not go together.
  AttentionNode(const OrtApi& api, const OrtKernelInfo* info, bool causal);
  OrtStatus* ComputeV2(OrtKernelContext* context) noexcept {
    return Guarded(api_, [&] { Compute(context); }, name());
  }

 private:
  void Compute(OrtKernelContext* context) const;
  const char* name() const;

  const OrtApi& api_;
  const bool causal_;
  std::int64_t heads_ = 0;
  std::int64_t kv_heads_ = 0;
  const AttentionKernel& kernel_;
};

class AttentionOp : public Ort::CustomOpBase<AttentionOp, AttentionNode, /*WithStatus=*/true> {
 public:
  explicit AttentionOp(bool causal) : causal_(causal) { OrtCustomOp::version = kApiVersion; }
  static const char* NameOf(bool causal) { return causal ? "CausalAttention" : "FullAttention"; }
  const char* GetName() const { return NameOf(causal_); }
  const char* GetExecutionProviderType() const { return "CPUExecutionProvider"; }
  std::size_t GetInputTypeCount() const { return 3; }
  ONNXTensorElementDataType GetInputType(std::size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  std::size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(std::size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }

  OrtStatus* CreateKernelV2(const OrtApi& api, const OrtKernelInfo* info, void** kernel) const noexcept {
    return Guarded(api, [&] { *kernel = new AttentionNode(api, info, causal_); }, GetName());
  }

 private:
  bool causal_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_ATTENTION_OP_HPP_
