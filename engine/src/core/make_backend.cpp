#include "core/make_backend.hpp"

#include <array>
#include <charconv>
#include <filesystem>

#include "backend/cpu/cpu_backend.hpp"
#include "backend/cuda/cuda_backend.hpp"
#include "backend/rtx/rtx_backend.hpp"
#include "backend/tensorrt/tensorrt_backend.hpp"
#include "base/text.hpp"

namespace ziprerank {
namespace {

constexpr std::array kGpuProviders = {"cuda", "tensorrt", "tensorrt-rtx"};

// The device number of `name` or `name`:N; -1 when `provider` is neither.
int IndexOf(const std::string& provider, const std::string& name) {
  if (provider == name) return 0;
  if (!provider.starts_with(name + ":")) return -1;
  int index = -1;
  const char* const end = provider.data() + provider.size();
  const auto [last, error] = std::from_chars(provider.data() + name.size() + 1, end, index);
  return error == std::errc() && last == end ? index : -1;
}

std::unique_ptr<Backend> MakeGpu(const Runtime& runtime, const EngineOptions& options,
                                 const std::string& name, int index) {
  try {
    std::unique_ptr<Backend> backend;
    if (name == "cuda") {
      backend = std::make_unique<CudaBackend>(runtime, index, options.bundle);
    } else if (name == "tensorrt") {
      backend = std::make_unique<TensorRtBackend>(runtime, index, options);
    } else {
      backend = std::make_unique<RtxBackend>(runtime, index, options);
    }
    Ort::SessionOptions trial;  // loads the provider's own libraries: better now than with the first graph
    backend->Configure(&trial, "vision.onnx");
    return backend;
  } catch (const ProviderError& error) {
    throw ProviderError(Text("provider '", options.provider, "' cannot be used: ", error.what()));
  }
}

}  // namespace

std::unique_ptr<Backend> MakeBackend(const Runtime& runtime, const EngineOptions& options) {
  if (options.provider == "cpu") return std::make_unique<CpuBackend>(runtime);
  if (options.provider == "auto") {
    // a bundle without kernels was exported for the CPU
    if (!std::filesystem::is_directory(std::filesystem::path(options.bundle) / "kernels")) {
      return std::make_unique<CpuBackend>(runtime);
    }
    try {
      return MakeGpu(runtime, options, "cuda", 0);
    } catch (const ProviderError&) {  // no GPU, no driver or no CUDA in this ONNX Runtime: what auto is for
      return std::make_unique<CpuBackend>(runtime);
    }
  }
  for (const char* name : kGpuProviders) {
    if (const int index = IndexOf(options.provider, name); index >= 0) {
      return MakeGpu(runtime, options, name, index);
    }
  }
  throw ProviderError(
      Text("provider '", options.provider,
           "' is none of auto, cpu, cuda, tensorrt and tensorrt-rtx, the last three also with "
           "a device: cuda:N"));
}

}  // namespace ziprerank
