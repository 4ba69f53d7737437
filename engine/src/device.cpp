#include "device.hpp"

#include <charconv>
#include <filesystem>

#include "cuda_device.hpp"
#include "host_device.hpp"
#include "text.hpp"

namespace ziprerank {
namespace {

// The device number of "cuda" or "cuda:N"; -1 when it is neither.
int CudaIndex(const std::string& provider) {
  if (provider == "cuda") return 0;
  if (!provider.starts_with("cuda:")) return -1;
  int index = -1;
  const char* const end = provider.data() + provider.size();
  const auto [last, error] = std::from_chars(provider.data() + 5, end, index);
  return error == std::errc() && last == end ? index : -1;
}

std::unique_ptr<Device> MakeCuda(const Runtime& runtime, const EngineOptions& options, int index) {
  try {
    auto device = std::make_unique<CudaDevice>(runtime, index, options.bundle);
    Ort::SessionOptions trial;  // loads the provider's own libraries: better now than with the first graph
    device->Configure(&trial);
    return device;
  } catch (const ProviderError& error) {
    throw ProviderError(Text("provider '", options.provider, "' cannot be used: ", error.what()));
  }
}

}  // namespace

std::unique_ptr<Device> MakeDevice(const Runtime& runtime, const EngineOptions& options) {
  if (options.provider == "cpu") return std::make_unique<HostDevice>(runtime);
  if (options.provider == "auto") {
    // a bundle without kernels was exported for the CPU
    if (!std::filesystem::is_directory(std::filesystem::path(options.bundle) / "kernels")) {
      return std::make_unique<HostDevice>(runtime);
    }
    try {
      return MakeCuda(runtime, options, 0);
    } catch (const ProviderError&) {  // no GPU, no driver or no CUDA in this ONNX Runtime: what auto is for
      return std::make_unique<HostDevice>(runtime);
    }
  }
  const int index = CudaIndex(options.provider);
  if (index >= 0) return MakeCuda(runtime, options, index);
  throw ProviderError(Text("provider '", options.provider, "' is none of auto, cpu, cuda and cuda:N"));
}

}  // namespace ziprerank
