// The `cuda` provider: ONNX Runtime's CUDA provider, and the pruning kernels of the bundle in its sessions.
#ifndef ZIPRERANK_CUDA_BACKEND_HPP_
#define ZIPRERANK_CUDA_BACKEND_HPP_

#include "backend/cuda/cuda_op.hpp"
#include "backend/cuda/gpu_backend.hpp"
#include "backend/cuda/host_table.hpp"

namespace ziprerank {

class CudaBackend : public GpuBackend {
 public:
  // ProviderError says whether ONNX Runtime, the driver or the GPU is missing, or that ONNX Runtime is too
  // old for CUDA; BundleError that the bundle has no kernels for this GPU.
  CudaBackend(const Runtime& runtime, int index, const std::string& bundle);

  // ProviderError when the CUDA provider beside this ONNX Runtime has no code for the GPU: its first kernel
  // would fail.
  void CheckDeviceCode() const;
  void Configure(Ort::SessionOptions* options, const std::string& graph) override;
  void Describe(EngineInfo* info) const override;

 protected:
  Provider provider() const override { return Provider::kCuda; }

 private:
  const std::string bundle_;
  HostTable table_;
  CudaPrune prune_;
  CudaPruneOp op_;
  Ort::CustomOpDomain domain_;
};

// `index`, when this ONNX Runtime was built with `provider`; else ProviderError names the package that is.
int CheckOffered(const Runtime& runtime, const char* provider, int index);

}  // namespace ziprerank

#endif  // ZIPRERANK_CUDA_BACKEND_HPP_
