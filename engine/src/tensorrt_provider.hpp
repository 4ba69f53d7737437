// The `tensorrt` provider: ONNX Runtime's TensorRT provider for all that it takes, and the CUDA provider
// behind it, where the bundle's pruning kernels run.
#ifndef ZIPRERANK_TENSORRT_PROVIDER_HPP_
#define ZIPRERANK_TENSORRT_PROVIDER_HPP_

#include "cuda_provider.hpp"
#include "plan.hpp"

namespace ziprerank {

class TensorRtProvider : public CudaProvider {
 public:
  // ProviderError says whether ONNX Runtime, the driver, the GPU or a place for engines is missing;
  // BundleError that the bundle has no kernels or no plan for this GPU.
  TensorRtProvider(const Runtime& runtime, int index, const EngineOptions& options);

  std::string File(const std::string& directory, const std::string& graph) const override;
  void Configure(Ort::SessionOptions* options, const std::string& graph) const override;
  void CheckSizes(const std::string& graph, const Bindings& inputs) const override;
  void Describe(EngineInfo* info) const override;

 protected:
  const char* name() const override { return "tensorrt"; }

 private:
  using Options = std::unordered_map<std::string, std::string>;
  Options OptionsFor(const std::string& graph) const;

  const std::string bundle_;
  const Plan plan_;
  const std::string cache_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_TENSORRT_PROVIDER_HPP_
