#include "core/bundle.hpp"

#include <filesystem>

#include "base/text.hpp"
#include "bundle/metadata.hpp"
#include "bundle/signature.hpp"
#include "core/failure.hpp"

namespace ziprerank {
namespace {

Ort::Session LoadGraph(const Runtime& runtime, Backend& backend, const std::string& graph,
                       const std::string& file, int threads, const std::string& profile) {
  if (!std::filesystem::is_regular_file(file)) {
    throw BundleError(Text(file, " is missing: give the directory that ziprerank export wrote"));
  }
  try {
    Ort::SessionOptions options;
    options.SetGraphOptimizationLevel(ORT_ENABLE_ALL);
    // Left to itself, ONNX Runtime starts a thread for each core and pins them, outside of a CPU set as well.
    options.SetIntraOpNumThreads(threads);
    options.AddConfigEntry("session.use_env_allocators", "1");
    // An idle thread pool that spins takes a core from the other session and from page preparation: beside
    // one busy process, 20 pages on 2 cores took 1.76 s with spinning and 0.81 s without.
    options.AddConfigEntry("session.intra_op.allow_spinning", "0");
    if (!profile.empty()) options.EnableProfiling(profile.c_str());
    backend.Configure(&options, graph);
    return Ort::Session(runtime.env(), file.c_str(), options);
  } catch (const Ort::Exception& error) {
    const std::string text = Text(file, " cannot be loaded: ", error.what());
    if (IsOutOfMemory(text)) throw RuntimeFailure(text);  // no fault of the file
    throw BundleError(text);
  }
}

void SetPrecision(Bundle* bundle, const std::string& precision, const std::string& file) {
  bundle->element_bytes = precision == "fp32" ? 4 : 2;
  if (precision == "fp32") {
    bundle->dtype = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  } else if (precision == "fp16") {
    bundle->dtype = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
  } else if (precision == "bf16") {
    bundle->dtype = ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
  } else {
    throw BundleError(Text(file, ": precision '", precision, "' is none of fp32, fp16, bf16"));
  }
}

}  // namespace

Bundle LoadBundle(const Runtime& runtime, Backend& backend, const std::string& directory, int threads,
                  const std::string& profile, EngineInfo* info) {
  const std::string vision_file = backend.File(directory, "vision.onnx");
  const std::string rerank_file = backend.File(directory, "rerank.onnx");
  if (!std::filesystem::is_directory(directory)) {
    throw BundleError(Text("'", directory, "' is no directory: give the one that ziprerank export wrote"));
  }
  const auto prefix = [&profile](const char* graph) {
    return profile.empty() ? profile : Text(profile, '.', graph);
  };
  Bundle bundle;
  bundle.vision = LoadGraph(runtime, backend, "vision.onnx", vision_file, threads, prefix("vision"));
  bundle.rerank = LoadGraph(runtime, backend, "rerank.onnx", rerank_file, threads, prefix("rerank"));
  ReadMetadata(vision_file, bundle.vision, rerank_file, bundle.rerank, info);
  info->relates = std::filesystem::is_regular_file(backend.File(directory, "relate.onnx"));
  SetPrecision(&bundle, info->precision, rerank_file);
  CheckVisionSignature(vision_file, bundle.vision, *info, bundle.dtype);
  CheckRerankSignature(rerank_file, bundle.rerank, *info, bundle.dtype);
  return bundle;
}

Ort::Session LoadRelate(const Runtime& runtime, Backend& backend, const EngineInfo& info,
                        ONNXTensorElementDataType dtype) {
  const std::string file = backend.File(info.bundle, "relate.onnx");
  if (!std::filesystem::is_regular_file(file)) {
    throw BundleError(Text(file,
                           " is missing: it is of an older export, or built for a provider that has no ",
                           "first stage by relevance: export the bundle again, or rank without relevance"));
  }
  Ort::Session relate = LoadGraph(runtime, backend, "relate.onnx", file, info.threads, {});
  CheckSameBundle(file, relate, info);
  CheckRelateSignature(file, relate, info, dtype);
  return relate;
}

}  // namespace ziprerank
