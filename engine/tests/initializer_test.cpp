#include "bundle/initializer.hpp"

#include "check.hpp"

namespace ziprerank {
namespace {

// Messages in protobuf's wire format.
std::string Number(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string Field(int number, std::uint64_t value) { return Number(number * 8u) + Number(value); }
std::string Field(int number, const std::string& bytes) {
  return Number(number * 8u + 2) + Number(bytes.size()) + bytes;
}
std::string Entry(const std::string& key, const std::string& value) {
  return Field(13, Field(1, key) + Field(2, value));
}

std::string Node(const std::string& kind, const std::vector<std::string>& inputs) {
  std::string out;
  for (const std::string& input : inputs) out += Field(1, input);
  return Field(1, out + Field(2, "out") + Field(4, kind));
}
// [300, 64] bfloat16 at 4096 of a file.
std::string Tensor(const std::string& name, const std::string& file, const std::string& offset = "4096") {
  return Field(5, Field(1, 300) + Field(1, 64) + Field(2, 16) + Field(8, name) + Entry("location", file) +
                      Entry("offset", offset) + Entry("length", "38400") + Field(14, 1));
}
std::string Model(const std::string& graph) {
  return Field(1, 10) + Field(2, "exporter") + Field(7, Field(2, "graph") + graph) + Field(8, Field(2, 23));
}

const std::string kNodes =
    Node("Gather", {"head", "letters"}) + Node("Gather", {"table", "ids"}) + Node("Add", {"x", "y"});
const std::string kTensors = Tensor("head", "a.safetensors") + Tensor("table", "b.safetensors");

bool Found(const std::string& graph) { return FindGathered(Model(graph), "ids").has_value(); }

}  // namespace

TEST(initializer_finds_what_is_gathered) {
  const std::optional<Initializer> found = FindGathered(Model(kNodes + kTensors), "ids");
  CHECK(found && found->name == "table" && found->file == "b.safetensors");
  CHECK(found && found->shape == std::vector<std::int64_t>{300, 64} && found->type == 16);
  CHECK(found && found->offset == 4096 && found->length == 38400);
  CHECK(Found(kTensors + kNodes));  // in any order
  CHECK(!FindGathered(Model(kNodes + kTensors), "mask"));
}

TEST(initializer_is_read_row_by_row_only) {
  CHECK(Found(kNodes + Node("Gather", {"table", "letters"}) + kTensors));
  CHECK(!Found(kNodes + Node("MatMul", {"x", "table"}) + kTensors));  // all of it, over the bus
  CHECK(!Found(Node("MatMul", {"table", "x"}) + kNodes + kTensors));
  CHECK(!Found(Node("Add", {"table", "ids"}) + kTensors));
}

TEST(initializer_lies_in_a_file_beside_the_graph) {
  const auto with = [](const std::string& table) { return Found(kNodes + table); };
  CHECK(with(Tensor("table", "weights")));
  CHECK(!with(""));
  CHECK(!with(Tensor("other", "weights")));
  CHECK(!with(Tensor("table", "../weights")));
  CHECK(!with(Tensor("table", "/weights")));
  CHECK(!with(Tensor("table", "")));
  CHECK(!with(Tensor("table", "weights", "-1")));
  CHECK(!with(Tensor("table", "weights", "8 ")));
  CHECK(!with(Tensor("table", "weights", "99999999999999999999999")));
  CHECK(
      !with(Field(5, Field(1, 2) + Field(2, 1) + Field(8, "table") + Field(9, "12345678"))));  // in the graph
}

TEST(initializer_reads_no_byte_that_is_not_there) {
  const std::string model = Model(kNodes + kTensors);
  for (std::size_t size = 0; size < model.size(); ++size) {  // memory of its own, so that a sanitizer sees
    const std::vector<char> part(model.begin(), model.begin() + static_cast<std::ptrdiff_t>(size));
    const auto found = FindGathered(std::string_view(part.data(), part.size()), "ids");
    CHECK(!found || size > model.size() - 16);  // what is behind the graph is not read
  }
  CHECK(!FindGathered("", "ids"));
  CHECK(!FindGathered(std::string(20, '\xFF'), "ids"));  // a number without an end
  CHECK(!FindGathered("\x3B", "ids"));                   // a group, which no model has
  const std::string whole = Field(8, "table") + Entry("location", "weights");
  CHECK(Found(kNodes + Field(5, whole)));
  CHECK(!Found(kNodes + Field(5, whole + "\x0A")));  // a text without its length
  CHECK(!Found(kNodes + Field(5, whole + "\x0A\x05" + "four")));
}

}  // namespace ziprerank
