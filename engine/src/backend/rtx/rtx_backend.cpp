#include "backend/rtx/rtx_backend.hpp"

#include "base/capability.hpp"
#include "base/text.hpp"

namespace ziprerank {
namespace {

constexpr const char* kProvider = "NvTensorRTRTXExecutionProvider";
constexpr const char* kFolder = "tensorrt-rtx";
constexpr const char* kInstall = "pip install \"ziprerank[tensorrt-rtx]\"";

// The GPUs that the provider library accepts.
bool Supported(int capability) { return capability == 86 || capability == 89 || capability >= 120; }

Plan PlanFor(const CudaContext& context, const std::string& bundle) {
  const std::string capability = CapabilityText(context.capability());
  if (!Supported(context.capability())) {
    throw ProviderError(Text("TensorRT-RTX runs on compute capability 8.6, 8.9 and 12.0 or newer, ",
                             context.name(), " has ", capability, ": use provider cuda or tensorrt"));
  }
  Plan plan = ReadPlan(bundle, kFolder);
  if (!plan.Holds(context.capability())) {
    throw BundleError(Text(bundle, " has a plan for compute capability ", plan.CapabilitiesText(), ", ",
                           context.name(), " has ", capability, ": build one with ziprerank build ", bundle,
                           " --provider tensorrt-rtx --capability ", capability));
  }
  return plan;
}

}  // namespace

RtxBackend::RtxBackend(const Runtime& runtime, int index, const EngineOptions& options)
    : GpuBackend(runtime, index),
      plan_(PlanFor(context(), options.bundle)),
      cache_(options.cache),
      device_(FindDevice(options.provider_library)) {}

// The provider's own name for the GPU that the driver calls `index`: they count differently where it does
// not support all.
Ort::ConstEpDevice RtxBackend::FindDevice(const std::string& library) const {
  if (library.empty()) {
    throw ProviderError(
        Text("provider_library is empty: give the path of libonnxruntime_providers_nv_tensorrt_rtx, which ",
             kInstall, " brings"));
  }
  try {
    for (const Ort::ConstEpDevice& device : runtime().PluginDevices(kProvider, library)) {
      const char* const address = device.Device().Metadata().GetValue("pci_bus_id");
      cuda::Device number = -1;
      if (address == nullptr) continue;
      context().driver().device_by_pci(&number, address);
      if (number == context().device()) return device;
    }
  } catch (const Ort::Exception& error) {
    throw ProviderError(Text("ONNX Runtime ", runtime().version(), " cannot load ", kProvider, " from ",
                             library, ": ", error.what(), "; it needs ONNX Runtime 1.24 or newer and the ",
                             "libraries beside it, which ", kInstall, " brings"));
  }
  throw ProviderError(Text(kProvider, " does not offer ", context().name(),
                           " as a device: update the NVIDIA driver, or use provider cuda"));
}

std::string RtxBackend::File(const std::string& directory, const std::string& graph) const {
  return directory + "/" + kFolder + "/" + graph;
}

void RtxBackend::Configure(Ort::SessionOptions* options, const std::string&) {
  Ort::KeyValuePairs provider;
  provider.Add("has_user_compute_stream", "1");
  provider.Add("user_compute_stream", std::to_string(reinterpret_cast<std::uintptr_t>(stream())).c_str());
  if (!cache_.empty()) provider.Add("nv_runtime_cache_path", cache_.c_str());
  try {
    options->AppendExecutionProvider_V2(runtime().env(), {device_}, provider);
  } catch (const Ort::Exception& error) {
    throw ProviderError(
        Text("ONNX Runtime ", runtime().version(), " cannot start ", kProvider, ": ", error.what()));
  }
}

void RtxBackend::CheckSizes(const std::string& graph, const Bindings& inputs) const {
  plan_.Check(graph, inputs);
}

void RtxBackend::Describe(EngineInfo* info) const {
  GpuBackend::Describe(info);
  info->prune_kernel = "plan";
  info->plan = Text(plan_.builder, " for ", plan_.CapabilitiesText());
}

}  // namespace ziprerank
