#include "core/make_backend.hpp"

#include <filesystem>

#include "backend/cpu/cpu_backend.hpp"
#include "backend/cuda/cuda_backend.hpp"
#include "backend/rtx/rtx_backend.hpp"
#include "backend/tensorrt/tensorrt_backend.hpp"
#include "base/text.hpp"

namespace ziprerank {
namespace {

std::unique_ptr<Backend> MakeGpu(const Runtime& runtime, const EngineOptions& options,
                                 const ProviderChoice& choice) {
  const int index = choice.device_index;
  try {
    std::unique_ptr<Backend> backend;
    if (choice.provider == Provider::kCuda) {
      auto cuda = std::make_unique<CudaBackend>(runtime, index, options.bundle);
      cuda->CheckDeviceCode();
      backend = std::move(cuda);
    } else if (choice.provider == Provider::kTensorRt) {
      backend = std::make_unique<TensorRtBackend>(runtime, index, options);
    } else {
      backend = std::make_unique<RtxBackend>(runtime, index, options);
    }
    Ort::SessionOptions trial;  // loads the provider's own libraries: better now than with the first graph
    backend->Configure(&trial, "vision.onnx");
    return backend;
  } catch (const ProviderError& error) {
    throw ProviderError(Text("provider '", ProviderText(choice), "' cannot be used: ", error.what()));
  }
}

// CUDA where it can run. A bundle without kernels was exported for the CPU.
std::unique_ptr<Backend> MakeBest(const Runtime& runtime, const EngineOptions& options) {
  if (std::filesystem::is_directory(std::filesystem::path(options.bundle) / "kernels")) {
    try {
      return MakeGpu(runtime, options, {Provider::kCuda, 0});
    } catch (const ProviderError&) {  // no GPU, driver, CUDA in this ONNX Runtime, or code for the GPU
    }
  }
  return std::make_unique<CpuBackend>(runtime);
}

}  // namespace

std::unique_ptr<Backend> MakeBackend(const Runtime& runtime, const EngineOptions& options) {
  const ProviderChoice choice{options.provider, options.device_index};
  const bool gpu = choice.provider != Provider::kCpu && choice.provider != Provider::kAuto;
  if (gpu) return MakeGpu(runtime, options, choice);
  if (choice.device_index != 0) {
    throw ProviderError(Text("provider '", ProviderText({choice.provider, 0}),
                             "' takes no device_index, got ", choice.device_index,
                             ": give 0, or a provider of GPUs"));
  }
  if (choice.provider == Provider::kAuto) return MakeBest(runtime, options);
  return std::make_unique<CpuBackend>(runtime);
}

}  // namespace ziprerank
