#include "bundle/signature.hpp"

#include <algorithm>
#include <vector>

#include "base/text.hpp"

namespace ziprerank {
namespace {

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

using Names = std::vector<std::string>;

// The index of `want` among a graph's tensors; BundleError says which it lacks. `what`: "input" or "output".
std::size_t Find(const std::string& file, const Names& names, const char* want, const char* what) {
  const auto found = std::find(names.begin(), names.end(), want);
  if (found == names.end()) {
    throw BundleError(Text(file, " has no ", what, " ", want, ": export the bundle again"));
  }
  return static_cast<std::size_t>(found - names.begin());
}

void CheckTensors(const std::string& file, const Ort::Session& session, const std::vector<Tensor>& inputs,
                  const std::vector<Tensor>& outputs) {
  const Ort::AllocatorWithDefaultOptions allocator;
  Names names;
  for (std::size_t i = 0; i < session.GetInputCount(); ++i) {
    names.emplace_back(session.GetInputNameAllocated(i, allocator).get());
  }
  for (const Tensor& want : inputs) {
    CheckTensor(file, want, session.GetInputTypeInfo(Find(file, names, want.name, "input")));
  }
  if (names.size() != inputs.size()) {
    throw BundleError(
        Text(file, " has ", names.size(), " inputs, must have ", inputs.size(), ": export the bundle again"));
  }
  names.clear();
  for (std::size_t i = 0; i < session.GetOutputCount(); ++i) {
    names.emplace_back(session.GetOutputNameAllocated(i, allocator).get());
  }
  for (const Tensor& want : outputs) {
    CheckTensor(file, want, session.GetOutputTypeInfo(Find(file, names, want.name, "output")));
  }
}

}  // namespace

void CheckVisionSignature(const std::string& file, const Ort::Session& session, const EngineInfo& info,
                          ONNXTensorElementDataType dtype) {
  const std::int64_t patch_bytes = 3 * std::int64_t{info.patch_size} * info.patch_size;
  CheckTensors(file, session,
               {{"patches", kUint8, {kAny, kAny, patch_bytes}},
                {"patch_rows", kInt64, {kAny}},
                {"patch_cols", kInt64, {kAny}}},
               {{"features", dtype, {kAny, kAny, info.levels, info.hidden_size}}});
}

void CheckRelateSignature(const std::string& file, const Ort::Session& session, const EngineInfo& info,
                          ONNXTensorElementDataType dtype) {
  CheckTensors(file, session,
               {{"pool", dtype, {kAny, info.levels, info.hidden_size}},
                {"rows", kInt64, {kAny}},
                {"page_offsets", kInt64, {kAny}},
                {"text_ids", kInt64, {kAny}}},
               {{"relevance", kFloat, {kAny}}});
}

void CheckRerankSignature(const std::string& file, const Ort::Session& session, const EngineInfo& info,
                          ONNXTensorElementDataType dtype) {
  CheckTensors(file, session,
               {{"pool", dtype, {kAny, info.levels, info.hidden_size}},
                {"rows", kInt64, {kAny}},
                {"page_offsets", kInt64, {kAny}},
                {"keep", kInt64, {kAny}},
                {"text_ids", kInt64, {kAny}},
                {"query_mask", kBool, {kAny}},
                {"text_positions", kInt64, {3, kAny}},
                {"visual_positions", kInt64, {3, kAny}},
                {"layout", kInt64, {kAny}}},
               {{"scores", kFloat, {std::ssize(info.letter_ids)}}, {"kept", kInt64, {kAny}}});
}

}  // namespace ziprerank
