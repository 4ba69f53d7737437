// The table of token embeddings, in pinned memory of the host: a query reads a row for each token of its
// text, a few hundred of 150,000, and the GPU fetches these over the bus while it runs the Gather.
#ifndef ZIPRERANK_HOST_TABLE_HPP_
#define ZIPRERANK_HOST_TABLE_HPP_

#include <optional>
#include <string>

#include "backend/cuda/cuda_context.hpp"
#include "bundle/initializer.hpp"
#include "ort/ort.hpp"

namespace ziprerank {

class HostTable {
 public:
  // The context outlives the table, and the table the session that reads it.
  explicit HostTable(const CudaContext& context) : memory_(context, CudaBuffer::Kind::kPinnedHost) {}

  // Reads the table of the graph in `file`, and has the session of `options` take it as it lies here, as if
  // it were on the GPU. Leaves a graph to ONNX Runtime that has none, or whose weights are not what it says.
  // ProviderError when the host has no pinned memory for it. A later graph of the same bundle shares it.
  void Bind(const std::string& file, const Ort::MemoryInfo& gpu, Ort::SessionOptions* options);

 private:
  CudaBuffer memory_;
  std::optional<Initializer> table_;
  Ort::Value value_{nullptr};
};

}  // namespace ziprerank

#endif  // ZIPRERANK_HOST_TABLE_HPP_
