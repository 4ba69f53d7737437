// Memory that ONNX Runtime's arenas hold between runs, and how it is given back.
#include "core/core.hpp"

namespace ziprerank {

// No input is read, and no output written: all stand on the page pool.

void Engine::Core::ShrinkRerankArena() {
  const std::string arena = backend->arena();
  if (arena.empty() || storage == nullptr) return;
  const auto any = [&](const char* name, const Shape& shape, ONNXTensorElementDataType type) {
    return Bindings::value_type(name, View(backend->memory(), storage->data(), shape, type));
  };
  constexpr auto kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  Bindings inputs;
  inputs.push_back(any("pool", {info.pool_rows, info.levels, info.hidden_size}, bundle.dtype));
  inputs.push_back(any("rows", {1}, kInt64));
  inputs.push_back(any("page_offsets", {2}, kInt64));
  inputs.push_back(any("keep", {1}, kInt64));
  inputs.push_back(any("text_ids", {1}, kInt64));
  inputs.push_back(any("query_mask", {1}, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL));
  inputs.push_back(any("text_positions", {3, 1}, kInt64));
  inputs.push_back(any("visual_positions", {3, 1}, kInt64));
  inputs.push_back(any("layout", {2}, kInt64));
  Bindings outputs;
  outputs.push_back(any("scores", {std::ssize(info.letter_ids)}, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT));
  outputs.push_back(any("kept", {1}, kInt64));
  ShrinkArena(bundle.rerank, inputs, outputs, arena);
}

bool Engine::Core::ShrinkArenas() {
  const std::string arena = backend->arena();
  if (arena.empty() || storage == nullptr) return false;
  const auto any = [&](const char* name, const Shape& shape, ONNXTensorElementDataType type) {
    return Bindings::value_type(name, View(backend->memory(), storage->data(), shape, type));
  };
  const std::int64_t patches = std::int64_t{info.merge_size} * info.merge_size;
  const std::int64_t patch_bytes = 3 * std::int64_t{info.patch_size} * info.patch_size;
  Bindings inputs;
  inputs.push_back(any("patches", {1, patches, patch_bytes}, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8));
  inputs.push_back(any("patch_rows", {patches}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64));
  inputs.push_back(any("patch_cols", {patches}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64));
  Bindings outputs;
  outputs.push_back(any("features", {1, 1, info.levels, info.hidden_size}, bundle.dtype));
  ShrinkArena(bundle.vision, inputs, outputs, arena);
  ShrinkRerankArena();
  return true;
}

}  // namespace ziprerank
