#include "ops/op_context.hpp"

#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {

Input GetInput(const OrtApi& api, OrtKernelContext* context, std::size_t index, const char* name,
               std::size_t rank) {
  const OrtValue* value = nullptr;
  CheckStatus(api, api.KernelContext_GetInput(context, index, &value));
  OrtTensorTypeAndShapeInfo* info = nullptr;
  CheckStatus(api, api.GetTensorTypeAndShape(value, &info));
  std::size_t dims = 0;
  OrtStatus* status = api.GetDimensionsCount(info, &dims);
  Input input;
  if (status == nullptr) {
    input.shape.resize(dims);
    status = api.GetDimensions(info, input.shape.data(), dims);
  }
  api.ReleaseTensorTypeAndShapeInfo(info);
  CheckStatus(api, status);
  if (dims != rank) throw InvalidArgument(Text("input ", name, " has ", dims, " dimensions, needs ", rank));
  void* data = nullptr;
  CheckStatus(api, api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  input.data = data;
  return input;
}

void* GetOutput(const OrtApi& api, OrtKernelContext* context, std::size_t index,
                const std::vector<std::int64_t>& shape) {
  OrtValue* output = nullptr;
  CheckStatus(api, api.KernelContext_GetOutput(context, index, shape.data(), shape.size(), &output));
  void* data = nullptr;
  CheckStatus(api, api.GetTensorMutableData(output, &data));
  return data;
}

ParallelFor ThreadsOf(const OrtApi& api, OrtKernelContext* context) {
  return [&api, context](std::int64_t count, const std::function<void(std::int64_t)>& task) {
    const auto call = [](void* data, std::size_t index) {
      (*static_cast<const std::function<void(std::int64_t)>*>(data))(static_cast<std::int64_t>(index));
    };
    void* data = const_cast<std::function<void(std::int64_t)>*>(&task);
    CheckStatus(api, api.KernelContext_ParallelFor(context, call, static_cast<std::size_t>(count), 0, data));
  };
}

void CheckStatus(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string text = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  throw RuntimeFailure(text);
}

OrtStatus* StatusOf(const OrtApi& api, const std::exception& error, const char* op) noexcept {
  const bool argument = dynamic_cast<const InvalidArgument*>(&error) != nullptr;
  try {
    return api.CreateStatus(argument ? ORT_INVALID_ARGUMENT : ORT_FAIL, Text(op, ": ", error.what()).c_str());
  } catch (...) {
    return api.CreateStatus(ORT_FAIL, "an operator failed, and there is no memory to say how");
  }
}

PruneInputs ReadInputs(const OrtApi& api, OrtKernelContext* context, Element element) {
  const Input pool = GetInput(api, context, 0, "pool", 3);
  const Input rows = GetInput(api, context, 1, "rows", 1);
  const Input offsets = GetInput(api, context, 2, "page_offsets", 1);
  const Input keep = GetInput(api, context, 3, "keep", 1);
  const Input text = GetInput(api, context, 4, "text", 2);
  const Input mask = GetInput(api, context, 5, "query_mask", 1);
  if (offsets.shape[0] != keep.shape[0] + 1) {
    throw InvalidArgument(Text("page_offsets has ", offsets.shape[0], " entries for ", keep.shape[0],
                               " pages, needs one more than pages"));
  }
  if (text.shape[1] != pool.shape[2] || mask.shape[0] != text.shape[0]) {
    throw InvalidArgument(Text("text is [", text.shape[0], ", ", text.shape[1], "], pool has hidden size ",
                               pool.shape[2], " and query_mask ", mask.shape[0],
                               " entries: they must agree"));
  }
  return {.element = element,
          .pool = pool.data,
          .pool_rows = pool.shape[0],
          .levels = pool.shape[1],
          .hidden = pool.shape[2],
          .rows = rows.as<std::int64_t>(),
          .visual = rows.shape[0],
          .page_offsets = offsets.as<std::int64_t>(),
          .keep = keep.as<std::int64_t>(),
          .pages = keep.shape[0],
          .text = text.data,
          .query_mask = mask.as<bool>(),
          .text_rows = text.shape[0]};
}

std::int64_t* MakeOutput(const OrtApi& api, OrtKernelContext* context, std::int64_t count) {
  return static_cast<std::int64_t*>(GetOutput(api, context, 0, {count}));
}

}  // namespace ziprerank
