// ziprerank::QueryImagePrune as an ONNX Runtime custom op for the CUDA provider: the kernels of one bundle,
// so it goes into that bundle's sessions only.
#ifndef ZIPRERANK_CUDA_OP_HPP_
#define ZIPRERANK_CUDA_OP_HPP_

#include "backend/cuda/cuda_prune.hpp"
#include "ops/op_context.hpp"

namespace ziprerank {

// One run: sizes and pointers from ONNX Runtime, scratch memory from its arena, launches on its stream.
class CudaPruneNode {
 public:
  CudaPruneNode(const OrtApi& api, Element element, const CudaPrune& prune, int device);
  CudaPruneNode(const CudaPruneNode&) = delete;
  CudaPruneNode& operator=(const CudaPruneNode&) = delete;
  ~CudaPruneNode();

  OrtStatus* ComputeV2(OrtKernelContext* context) noexcept {
    return Guarded(api_, [&] { Compute(context); });
  }

 private:
  void Compute(OrtKernelContext* context) const;

  const OrtApi& api_;
  const Element element_;
  const CudaPrune& prune_;
  OrtMemoryInfo* memory_ = nullptr;
};

class CudaPruneOp : public PruneOpBase<CudaPruneOp, CudaPruneNode> {
 public:
  // `prune` outlives the sessions that the op is added to.
  CudaPruneOp(ONNXTensorElementDataType type, const CudaPrune& prune, int device)
      : PruneOpBase(type), prune_(prune), device_(device) {}
  const char* GetExecutionProviderType() const { return "CUDAExecutionProvider"; }
  // page_offsets and keep stay on the host, which needs the number of kept tokens to make the output.
  OrtMemType GetInputMemoryType(std::size_t index) const {
    return index == 2 || index == 3 ? OrtMemTypeCPUInput : OrtMemTypeDefault;
  }

  // A provider that takes the nodes behind it wants to know the rank of what they read.
  static Ort::Status InferOutputShape(Ort::ShapeInferContext& context) {
    return context.SetOutputShape(0, {"M"}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
  }

  OrtStatus* CreateKernelV2(const OrtApi& api, const OrtKernelInfo*, void** kernel) const noexcept {
    return Guarded(api, [&] { *kernel = new CudaPruneNode(api, element(), prune_, device_); });
  }

 private:
  const CudaPrune& prune_;
  const int device_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_CUDA_OP_HPP_
