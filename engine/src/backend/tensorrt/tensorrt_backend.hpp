// The `tensorrt` provider: ONNX Runtime's TensorRT provider for all that it takes, and the CUDA provider
// behind it, where the bundle's pruning kernels run.
#ifndef ZIPRERANK_TENSORRT_BACKEND_HPP_
#define ZIPRERANK_TENSORRT_BACKEND_HPP_

#include "backend/cuda/cuda_backend.hpp"
#include "bundle/plan.hpp"

namespace ziprerank {

class TensorRtBackend : public CudaBackend {
 public:
  // ProviderError says whether ONNX Runtime, the driver, the GPU or a place for engines is missing;
  // BundleError that the bundle has no kernels or no plan for this GPU.
  TensorRtBackend(const Runtime& runtime, int index, const EngineOptions& options);

  std::string File(const std::string& directory, const std::string& graph) const override;
  void Configure(Ort::SessionOptions* options, const std::string& graph) override;
  void CheckSizes(const std::string& graph, const Bindings& inputs) const override;
  void Describe(EngineInfo* info) const override;

 protected:
  Provider provider() const override { return Provider::kTensorRt; }

 private:
  using Options = std::unordered_map<std::string, std::string>;
  Options OptionsFor(const std::string& graph) const;

  const std::string bundle_;
  const Plan plan_;
  const std::string cache_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_TENSORRT_BACKEND_HPP_
