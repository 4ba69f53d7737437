#include "backend/cuda/host_table.hpp"

#include <cstdint>
#include <filesystem>
#include <fstream>

#include "base/read_file.hpp"
#include "base/text.hpp"
#include "ort/graph_run.hpp"

namespace ziprerank {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostBytes = std::size_t{64} << 20;  // of a graph, whose weights are elsewhere
constexpr std::int64_t kMostSize = std::int64_t{1} << 24;

// Bytes of a table of floats; 0 where it is none.
std::uint64_t BytesOf(const Initializer& table) {
  std::uint64_t bytes = table.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT ? 4
                        : table.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 ||
                                table.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16
                            ? 2
                            : 0;
  if (table.shape.size() != 2) return 0;
  for (const std::int64_t size : table.shape) {
    if (size < 1 || size > kMostSize) return 0;
    bytes *= static_cast<std::uint64_t>(size);
  }
  return bytes;
}

// Whether `file` is a regular one and has so many bytes from `offset` on.
bool Holds(const fs::path& file, std::uint64_t offset, std::uint64_t bytes) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return false;
  const std::uintmax_t size = fs::file_size(file, error);
  return !error && bytes <= size && offset <= size - bytes;
}

bool SamePlace(const Initializer& one, const Initializer& other) {
  return one.file == other.file && one.offset == other.offset && one.length == other.length &&
         one.shape == other.shape && one.type == other.type;
}

std::optional<Initializer> FindTable(const std::string& file) {
  std::error_code error;
  if (fs::file_size(file, error) > kMostBytes || error) return std::nullopt;
  const std::optional<std::string> model = ReadBundleFile(file, kMostBytes);
  return model ? FindGathered(*model, "text_ids") : std::nullopt;
}

}  // namespace

void HostTable::Bind(const std::string& file, const Ort::MemoryInfo& gpu, Ort::SessionOptions* options) {
  std::optional<Initializer> found = FindTable(file);
  if (value_ && found && table_ && SamePlace(*found, *table_)) {
    options->AddInitializer(found->name.c_str(), value_);
    return;
  }
  if (value_) return;  // sessions read the one that lies here
  table_ = std::move(found);
  if (!table_ || table_->length == 0 || table_->length != BytesOf(*table_)) return;
  const fs::path weights = fs::path(file).parent_path() / table_->file;
  if (!Holds(weights, table_->offset, table_->length)) return;
  try {
    memory_.Reserve(table_->length);
  } catch (const RuntimeFailure& error) {
    throw ProviderError(Text("the host has no ", table_->length,
                             " bytes of pinned memory for the table of token embeddings (", error.what(),
                             "): end what else uses its memory, or give the container more"));
  }
  std::ifstream stream(weights, std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(table_->offset));
  if (!stream.read(reinterpret_cast<char*>(memory_.data()), static_cast<std::streamsize>(table_->length)))
    return;
  value_ = View(gpu, memory_.data(), table_->shape, static_cast<ONNXTensorElementDataType>(table_->type));
  options->AddInitializer(table_->name.c_str(), value_);
}

}  // namespace ziprerank
