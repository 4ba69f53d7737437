#include "core/bundle.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/text.hpp"

namespace ziprerank {
namespace {

constexpr int kFormatVersion = 1;

constexpr auto kBool = ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
constexpr auto kFloat = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
constexpr auto kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
constexpr auto kUint8 = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
constexpr std::int64_t kAny = -1;  // a size that changes from call to call

const char* NameOf(ONNXTensorElementDataType type) {
  switch (type) {
    case kBool:
      return "bool";
    case kFloat:
      return "float32";
    case kInt64:
      return "int64";
    case kUint8:
      return "uint8";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return "float16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return "bfloat16";
    default:
      return "another type";
  }
}

std::string ShapeText(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + (shape[i] < 0 ? std::string("?") : std::to_string(shape[i]));
  }
  return text + "]";
}

struct Tensor {
  const char* name;
  ONNXTensorElementDataType type;
  std::vector<std::int64_t> shape;
};

// A graph's tensor must have the contract's type, rank and fixed sizes.
void CheckTensor(const std::string& file, const Tensor& want, const Ort::TypeInfo& info) {
  const auto tensor = info.GetTensorTypeAndShapeInfo();
  const std::vector<std::int64_t> shape = tensor.GetShape();
  bool fits = tensor.GetElementType() == want.type && shape.size() == want.shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i) {
    fits = shape[i] < 0 || want.shape[i] == kAny || shape[i] == want.shape[i];
  }
  if (!fits) {
    throw BundleError(Text(file, ": ", want.name, " is ", NameOf(tensor.GetElementType()), " ",
                           ShapeText(shape), ", must be ", NameOf(want.type), " ", ShapeText(want.shape),
                           ": export the bundle again"));
  }
}

void CheckTensors(const std::string& file, const Ort::Session& session, const std::vector<Tensor>& inputs,
                  const std::vector<Tensor>& outputs) {
  const Ort::AllocatorWithDefaultOptions allocator;
  for (const Tensor& want : inputs) {
    std::size_t i = 0;
    while (i < session.GetInputCount() &&
           want.name != std::string(session.GetInputNameAllocated(i, allocator).get()))
      ++i;
    if (i == session.GetInputCount())
      throw BundleError(Text(file, " has no input ", want.name, ": export the bundle again"));
    CheckTensor(file, want, session.GetInputTypeInfo(i));
  }
  if (session.GetInputCount() != inputs.size()) {
    throw BundleError(Text(file, " has ", session.GetInputCount(), " inputs, must have ", inputs.size(),
                           ": export the bundle again"));
  }
  for (const Tensor& want : outputs) {
    std::size_t i = 0;
    while (i < session.GetOutputCount() &&
           want.name != std::string(session.GetOutputNameAllocated(i, allocator).get()))
      ++i;
    if (i == session.GetOutputCount())
      throw BundleError(Text(file, " has no output ", want.name, ": export the bundle again"));
    CheckTensor(file, want, session.GetOutputTypeInfo(i));
  }
}

// The `ziprerank.*` metadata of one graph.
class Metadata {
 public:
  Metadata(const std::string& file, const Ort::Session& session)
      : file_(file), model_(session.GetModelMetadata()) {}

  std::string Text(const char* key) const {
    const std::string name = std::string("ziprerank.") + key;
    const auto value = model_.LookupCustomMetadataMapAllocated(name.c_str(), allocator_);
    if (value == nullptr) {
      throw BundleError(ziprerank::Text(file_, " has no metadata ", name,
                                        ": it is not a ziprerank bundle, or a damaged one"));
    }
    return value.get();
  }

  template <typename T>
  T Number(const char* key) const {
    const std::string text = Text(key);
    return Parse<T>(key, text.data(), text.data() + text.size());
  }

  bool Has(const char* key) const {
    const std::string name = std::string("ziprerank.") + key;
    return model_.LookupCustomMetadataMapAllocated(name.c_str(), allocator_) != nullptr;
  }

  std::vector<std::int64_t> Numbers(const char* key) const {
    const std::string text = Text(key);
    std::vector<std::int64_t> values;
    const char* const end = text.data() + text.size();
    for (const char* first = text.data();;) {
      const char* last = std::find(first, end, ',');
      values.push_back(Parse<std::int64_t>(key, first, last));
      if (last == end) return values;
      first = last + 1;
    }
  }

 private:
  template <typename T>
  T Parse(const char* key, const char* first, const char* last) const {
    T value{};
    const auto [end, error] = std::from_chars(first, last, value);
    if (error != std::errc() || end != last) {
      throw BundleError(ziprerank::Text(file_, ": metadata ziprerank.", key, " is '",
                                        std::string(first, last), "', not a number"));
    }
    return value;
  }

  std::string file_;
  Ort::ModelMetadata model_;
  Ort::AllocatorWithDefaultOptions allocator_;
};

Ort::Session LoadGraph(const Runtime& runtime, const Backend& backend, const std::string& graph,
                       const std::string& file, int threads, const std::string& profile) {
  if (!std::filesystem::is_regular_file(file)) {
    throw BundleError(Text(file, " is missing: give the directory that ziprerank export wrote"));
  }
  try {
    Ort::SessionOptions options;
    options.SetGraphOptimizationLevel(ORT_ENABLE_ALL);
    if (threads > 0) options.SetIntraOpNumThreads(threads);
    options.AddConfigEntry("session.use_env_allocators", "1");
    // An idle thread pool that spins takes a core from the other session and from page preparation: beside
    // one busy process, 20 pages on 2 cores took 1.76 s with spinning and 0.81 s without.
    options.AddConfigEntry("session.intra_op.allow_spinning", "0");
    if (!profile.empty()) options.EnableProfiling(profile.c_str());
    backend.Configure(&options, graph);
    return Ort::Session(runtime.env(), file.c_str(), options);
  } catch (const Ort::Exception& error) {
    throw BundleError(Text(file, " cannot be loaded: ", error.what()));
  }
}

void CheckVersion(const Metadata& metadata, const std::string& file) {
  const int version = metadata.Number<int>("format_version");
  if (version < 1 || version > kFormatVersion) {
    throw BundleError(Text(file, " has format version ", version, ", this engine reads 1 to ", kFormatVersion,
                           ": upgrade ziprerank, or export the bundle again"));
  }
}

void SetPrecision(Bundle* bundle, const std::string& precision, const std::string& file) {
  bundle->element_bytes = precision == "fp32" ? 4 : 2;
  if (precision == "fp32") {
    bundle->dtype = kFloat;
  } else if (precision == "fp16") {
    bundle->dtype = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
  } else if (precision == "bf16") {
    bundle->dtype = ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
  } else {
    throw BundleError(Text(file, ": precision '", precision, "' is none of fp32, fp16, bf16"));
  }
}

void ReadInfo(const Metadata& metadata, const std::string& file, EngineInfo* info) {
  info->bundle_id = metadata.Text("bundle_id");
  info->precision = metadata.Text("precision");
  info->hidden_size = metadata.Number<std::int64_t>("hidden_size");
  info->levels = metadata.Number<std::int64_t>("levels");
  info->patch_size = metadata.Number<int>("patch_size");
  info->merge_size = metadata.Number<int>("merge_size");
  info->vocab_size = metadata.Number<std::int64_t>("vocab_size");
  info->letter_ids = metadata.Numbers("letter_ids");
  info->image_pad_id = metadata.Number<std::int64_t>("image_pad_id");
  info->vision_start_id = metadata.Number<std::int64_t>("vision_start_id");
  info->vision_end_id = metadata.Number<std::int64_t>("vision_end_id");
  info->video_pad_id = metadata.Number<std::int64_t>("video_pad_id");
  info->keep_ratio = metadata.Number<double>("keep_ratio");
  info->window = metadata.Number<int>("window");
  info->stride = metadata.Number<int>("stride");
  if (metadata.Has("blank")) {  // newer than format 1's first bundles, which keep all
    const std::string blank = metadata.Text("blank");
    if (blank != "drop" && blank != "keep") {
      throw BundleError(Text(file, ": metadata ziprerank.blank is '", blank, "', neither drop nor keep"));
    }
    info->drop_blank = blank == "drop";
  }
  const std::pair<const char*, std::int64_t> sizes[] = {{"hidden_size", info->hidden_size},
                                                        {"levels", info->levels},
                                                        {"patch_size", info->patch_size},
                                                        {"merge_size", info->merge_size},
                                                        {"vocab_size", info->vocab_size}};
  for (const auto& [key, value] : sizes) {
    if (value < 1 || value > (std::int64_t{1} << 24)) {
      throw BundleError(Text(file, ": metadata ziprerank.", key, " is ", value, ", outside 1 to 2^24"));
    }
  }
}

}  // namespace

Bundle LoadBundle(const Runtime& runtime, const Backend& backend, const std::string& directory, int threads,
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

  const Metadata vision(vision_file, bundle.vision);
  const Metadata rerank(rerank_file, bundle.rerank);
  CheckVersion(vision, vision_file);
  CheckVersion(rerank, rerank_file);
  ReadInfo(rerank, rerank_file, info);
  if (vision.Text("bundle_id") != info->bundle_id) {
    throw BundleError(Text(vision_file, " is of bundle ", vision.Text("bundle_id"), ", ", rerank_file,
                           " of bundle ", info->bundle_id, ": the graphs of two exports were mixed"));
  }
  SetPrecision(&bundle, info->precision, rerank_file);

  const std::int64_t patch_bytes = 3 * std::int64_t{info->patch_size} * info->patch_size;
  const std::int64_t levels = info->levels;
  const std::int64_t hidden = info->hidden_size;
  CheckTensors(vision_file, bundle.vision,
               {{"patches", kUint8, {kAny, kAny, patch_bytes}},
                {"patch_rows", kInt64, {kAny}},
                {"patch_cols", kInt64, {kAny}}},
               {{"features", bundle.dtype, {kAny, kAny, levels, hidden}}});
  CheckTensors(rerank_file, bundle.rerank,
               {{"pool", bundle.dtype, {kAny, levels, hidden}},
                {"rows", kInt64, {kAny}},
                {"page_offsets", kInt64, {kAny}},
                {"keep", kInt64, {kAny}},
                {"text_ids", kInt64, {kAny}},
                {"query_mask", kBool, {kAny}},
                {"text_positions", kInt64, {3, kAny}},
                {"visual_positions", kInt64, {3, kAny}},
                {"layout", kInt64, {kAny}}},
               {{"scores", kFloat, {std::ssize(info->letter_ids)}}, {"kept", kInt64, {kAny}}});
  return bundle;
}

}  // namespace ziprerank
