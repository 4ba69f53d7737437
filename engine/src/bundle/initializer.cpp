#include "bundle/initializer.hpp"

#include <algorithm>
#include <charconv>

namespace ziprerank {
namespace {

// The fields of one message in protobuf's wire format, one after the other.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}

  // Goes to the next field; false at the end, and where the message is malformed.
  bool Next() {
    if (rest_.empty()) return false;
    malformed_ = !Read();
    return !malformed_;
  }

  std::uint64_t number() const { return number_; }
  std::uint64_t value() const { return value_; }     // of a number
  std::string_view bytes() const { return bytes_; }  // of a text or a message
  bool malformed() const { return malformed_; }

 private:
  bool Read() {
    std::uint64_t tag = 0;
    if (!Varint(&tag)) return false;
    number_ = tag >> 3;
    bytes_ = {};
    value_ = 0;
    switch (tag & 7) {
      case 0:
        return Varint(&value_);
      case 1:
        return Take(8);
      case 2: {
        std::uint64_t length = 0;
        return Varint(&length) && Take(length);
      }
      case 5:
        return Take(4);
      default:
        return false;
    }
  }
  bool Varint(std::uint64_t* value) {
    *value = 0;
    for (std::size_t i = 0; i < 10 && i < rest_.size(); ++i) {
      const auto byte = static_cast<unsigned char>(rest_[i]);
      *value |= std::uint64_t{byte & 0x7Fu} << (7 * i);
      if (byte < 0x80) {
        rest_.remove_prefix(i + 1);
        return true;
      }
    }
    return false;
  }
  bool Take(std::uint64_t length) {
    if (length > rest_.size()) return false;
    bytes_ = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return true;
  }

  std::string_view rest_;
  std::uint64_t number_ = 0;
  std::uint64_t value_ = 0;
  std::string_view bytes_;
  bool malformed_ = false;
};

// Numbers of fields in onnx.proto.
constexpr std::uint64_t kModelGraph = 7;
constexpr std::uint64_t kGraphNode = 1;
constexpr std::uint64_t kGraphInitializer = 5;
constexpr std::uint64_t kNodeInput = 1;
constexpr std::uint64_t kNodeOperator = 4;
constexpr std::uint64_t kTensorDims = 1;
constexpr std::uint64_t kTensorType = 2;
constexpr std::uint64_t kTensorName = 8;
constexpr std::uint64_t kTensorExternal = 13;
constexpr std::uint64_t kEntryKey = 1;
constexpr std::uint64_t kEntryValue = 2;

// The first field `number` of a message; empty where it has none.
std::string_view First(std::string_view message, std::uint64_t number) {
  for (Fields fields(message); fields.Next();) {
    if (fields.number() == number) return fields.bytes();
  }
  return {};
}

std::vector<std::string_view> Inputs(std::string_view node) {
  std::vector<std::string_view> inputs;
  for (Fields fields(node); fields.Next();) {
    if (fields.number() == kNodeInput) inputs.push_back(fields.bytes());
  }
  return inputs;
}

bool IsGather(std::string_view node) { return First(node, kNodeOperator) == "Gather"; }

// The name of what a Gather of the graph reads with `indices`; empty where none does.
std::string_view Gathered(std::string_view graph, std::string_view indices) {
  for (Fields fields(graph); fields.Next();) {
    if (fields.number() != kGraphNode || !IsGather(fields.bytes())) continue;
    const std::vector<std::string_view> inputs = Inputs(fields.bytes());
    if (inputs.size() == 2 && inputs[1] == indices) return inputs[0];
  }
  return {};
}

// Whether a node of the graph that is no Gather has the input `name`.
bool IsReadWhole(std::string_view graph, std::string_view name) {
  for (Fields fields(graph); fields.Next();) {
    if (fields.number() != kGraphNode || IsGather(fields.bytes())) continue;
    const std::vector<std::string_view> inputs = Inputs(fields.bytes());
    if (std::find(inputs.begin(), inputs.end(), name) != inputs.end()) return true;
  }
  return false;
}

bool ReadEntry(std::string_view entry, Initializer* tensor) {
  const std::string_view key = First(entry, kEntryKey);
  const std::string_view value = First(entry, kEntryValue);
  if (key == "location") {
    tensor->file = value;
    return !value.empty() && value.find('/') == std::string_view::npos;
  }
  if (key != "offset" && key != "length") return true;
  std::uint64_t& number = key == "offset" ? tensor->offset : tensor->length;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  return error == std::errc() && end == value.data() + value.size();
}

std::optional<Initializer> Read(std::string_view message) {
  Initializer tensor;
  Fields fields(message);
  while (fields.Next()) {
    if (fields.number() == kTensorName) tensor.name = fields.bytes();
    if (fields.number() == kTensorType) tensor.type = static_cast<std::int64_t>(fields.value());
    if (fields.number() == kTensorDims) tensor.shape.push_back(static_cast<std::int64_t>(fields.value()));
    if (fields.number() == kTensorExternal && !ReadEntry(fields.bytes(), &tensor)) return std::nullopt;
  }
  if (fields.malformed() || tensor.file.empty()) return std::nullopt;
  return tensor;
}

}  // namespace

std::optional<Initializer> FindGathered(std::string_view model, std::string_view indices) {
  const std::string_view graph = First(model, kModelGraph);
  const std::string_view name = Gathered(graph, indices);
  if (name.empty() || IsReadWhole(graph, name)) return std::nullopt;
  for (Fields fields(graph); fields.Next();) {
    if (fields.number() == kGraphInitializer && First(fields.bytes(), kTensorName) == name) {
      return Read(fields.bytes());
    }
  }
  return std::nullopt;
}

}  // namespace ziprerank
