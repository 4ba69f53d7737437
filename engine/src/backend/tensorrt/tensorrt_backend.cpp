#include "backend/tensorrt/tensorrt_backend.hpp"

#include <unistd.h>

#include <filesystem>

#include "base/capability.hpp"
#include "base/text.hpp"

namespace ziprerank {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProvider = "TensorrtExecutionProvider";
constexpr const char* kFolder = "tensorrt";

Plan PlanFor(const CudaContext& context, const std::string& bundle) {
  Plan plan = ReadPlan(bundle, kFolder);
  if (!plan.Holds(context.capability())) {
    throw BundleError(Text(bundle, " has a plan for compute capability ", plan.CapabilitiesText(), ", ",
                           context.name(), " has ", CapabilityText(context.capability()),
                           ": build it here with ziprerank build ", bundle, " --provider tensorrt"));
  }
  return plan;
}

// Where engines are kept: they are read there, and written when they are not there yet.
std::string CacheFolder(const EngineOptions& options) {
  const fs::path folder =
      options.cache.empty() ? fs::path(options.bundle) / kFolder : fs::path(options.cache);
  std::error_code error;
  fs::create_directories(folder, error);
  bool holds_engines = false;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    // the engines of partitions, not those of the plan's own graphs
    holds_engines |= entry.path().filename().string().starts_with(kProvider);
  }
  if (!holds_engines && access(folder.c_str(), W_OK) != 0) {
    throw ProviderError(Text(folder.string(), " holds no engines of TensorRT and cannot be written to: let ",
                             "cache (ZIPRERANK_TENSORRT_CACHE) name another folder"));
  }
  return folder.string();
}

}  // namespace

TensorRtBackend::TensorRtBackend(const Runtime& runtime, int index, const EngineOptions& options)
    : CudaBackend(runtime, CheckOffered(runtime, kProvider, index), options.bundle),
      bundle_(options.bundle),
      plan_(PlanFor(context(), options.bundle)),
      cache_(CacheFolder(options)) {}

std::string TensorRtBackend::File(const std::string& directory, const std::string& graph) const {
  const fs::path context = fs::path(directory) / kFolder / graph;
  return fs::is_regular_file(context) ? context.string() : CudaBackend::File(directory, graph);
}

// Names and values as ONNX Runtime documents them for its TensorRT provider.
TensorRtBackend::Options TensorRtBackend::OptionsFor(const std::string& graph) const {
  Options options{{"device_id", std::to_string(context().index())}};
  if (fs::is_regular_file(fs::path(bundle_) / kFolder / graph)) return options;  // built: nothing to choose
  options.insert({{"trt_engine_cache_enable", "1"},
                  {"trt_engine_cache_path", cache_},
                  {"trt_timing_cache_enable", "1"},
                  {"trt_timing_cache_path", cache_},
                  {"trt_" + plan_.precision + "_enable", "1"},
                  {"trt_op_types_to_exclude", "QueryImagePrune"},
                  // the two nodes that embed the text, in front of pruning, are no work for an engine of
                  // their own
                  {"trt_min_subgraph_size", "3"}});
  for (const Plan::Profile& profile : plan_.profiles) {
    if (profile.graph != graph) continue;
    const auto add = [&](const char* option, const Shape& shape) {
      std::string& list = options[option];
      list += Text(list.empty() ? "" : ",", profile.tensor, ":", ShapeOption(shape));
    };
    add("trt_profile_min_shapes", profile.smallest);
    add("trt_profile_opt_shapes", profile.usual);
    add("trt_profile_max_shapes", profile.largest);
  }
  return options;
}

void TensorRtBackend::Configure(Ort::SessionOptions* options, const std::string& graph) {
  // no plan has sizes for relate.onnx, and nothing in it is work for TensorRT
  if (graph == "relate.onnx") return CudaBackend::Configure(options, graph);
  try {
    Ort::TensorRTProviderOptions provider;
    provider.Update(OptionsFor(graph));
    provider.UpdateWithValue("user_compute_stream", stream());
    options->AppendExecutionProvider_TensorRT_V2(*provider);
  } catch (const Ort::Exception& error) {
    throw ProviderError(Text("ONNX Runtime ", runtime().version(), " cannot start ", kProvider, ": ",
                             error.what(), "; it needs libnvinfer of the TensorRT that it was built for, ",
                             "which pip install \"ziprerank[tensorrt]\" brings"));
  }
  CudaBackend::Configure(options, graph);
}

void TensorRtBackend::CheckSizes(const std::string& graph, const Bindings& inputs) const {
  plan_.Check(graph, inputs);
}

void TensorRtBackend::Describe(EngineInfo* info) const {
  CudaBackend::Describe(info);
  info->plan = Text(plan_.builder, " for ", plan_.CapabilitiesText());
}

}  // namespace ziprerank
