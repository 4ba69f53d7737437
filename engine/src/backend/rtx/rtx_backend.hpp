// The `tensorrt-rtx` provider: plans of the bundle, run by the provider library that NVIDIA ships for ONNX
// Runtime. A plan holds the whole graph, weights and pruning included, so that the bundle's kernels are not
// used.
#ifndef ZIPRERANK_RTX_BACKEND_HPP_
#define ZIPRERANK_RTX_BACKEND_HPP_

#include "backend/cuda/gpu_backend.hpp"
#include "bundle/plan.hpp"

namespace ziprerank {

class RtxBackend : public GpuBackend {
 public:
  // ProviderError says whether the library, the driver or the GPU is missing; BundleError that the bundle has
  // no plan for this GPU.
  RtxBackend(const Runtime& runtime, int index, const EngineOptions& options);

  std::string File(const std::string& directory, const std::string& graph) const override;
  void Configure(Ort::SessionOptions* options, const std::string& graph) override;
  void CheckSizes(const std::string& graph, const Bindings& inputs) const override;
  void Describe(EngineInfo* info) const override;

 protected:
  Provider provider() const override { return Provider::kTensorRtRtx; }

 private:
  Ort::ConstEpDevice FindDevice(const std::string& library) const;

  const Plan plan_;
  const std::string cache_;
  Ort::ConstEpDevice device_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_RTX_BACKEND_HPP_
