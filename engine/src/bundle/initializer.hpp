// Where a graph keeps one of its weights, read from the ONNX file itself: ONNX Runtime says so to nobody
// before it loads them all.
#ifndef ZIPRERANK_INITIALIZER_HPP_
#define ZIPRERANK_INITIALIZER_HPP_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ziprerank {

// A tensor outside of the ONNX file: `length` bytes at `offset` of `file`, a plain name in the same folder.
struct Initializer {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t type = 0;  // TensorProto.DataType, whose numbers are ONNXTensorElementDataType's
  std::string file;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

// The initializer of which a Gather of the ONNX model `model` reads the rows `indices`, a value of the graph.
// Empty when there is none, when a node of another kind reads it too, when its bytes are in the model itself,
// or when `model` cannot be read: ONNX Runtime says what is wrong.
std::optional<Initializer> FindGathered(std::string_view model, std::string_view indices);

}  // namespace ziprerank

#endif  // ZIPRERANK_INITIALIZER_HPP_
