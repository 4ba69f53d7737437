#include "ort/graph_run.hpp"

#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

std::size_t BytesOf(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return 8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return 4;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return 2;
    default:  // uint8, bool
      return 1;
  }
}

Ort::IoBinding Bound(Ort::Session& session, const Bindings& inputs, const Bindings& outputs) {
  Ort::IoBinding binding(session);
  for (const auto& [name, value] : inputs) binding.BindInput(name, value);
  for (const auto& [name, value] : outputs) binding.BindOutput(name, value);
  return binding;
}

}  // namespace

Ort::Value View(const Ort::MemoryInfo& memory, const void* data, const Shape& shape,
                ONNXTensorElementDataType type) {
  std::size_t bytes = BytesOf(type);
  for (const std::int64_t size : shape) bytes *= static_cast<std::size_t>(size);
  return Ort::Value::CreateTensor(memory, const_cast<void*>(data), bytes, shape.data(), shape.size(), type);
}

void RunGraph(Ort::Session& session, const Bindings& inputs, const Bindings& outputs, const char* graph,
              const Ort::RunOptions& options) {
  try {
    session.Run(options, Bound(session, inputs, outputs));
  } catch (const Ort::Exception& error) {
    throw RuntimeFailure(Text(graph, " failed: ", error.what()));
  }
}

void ShrinkArena(Ort::Session& session, const Bindings& inputs, const Bindings& outputs,
                 const std::string& arena) {
  try {
    Ort::RunOptions options;
    options.SetTerminate();
    options.AddConfigEntry("memory.enable_memory_arena_shrinkage", arena.c_str());
    session.Run(options, Bound(session, inputs, outputs));
  } catch (const Ort::Exception&) {  // says that the run was ended
  }
}

}  // namespace ziprerank
