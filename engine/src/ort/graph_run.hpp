// One run of a graph on memory that we own and keep until the run has ended.
#ifndef ZIPRERANK_GRAPH_RUN_HPP_
#define ZIPRERANK_GRAPH_RUN_HPP_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ort/ort.hpp"

namespace ziprerank {

using Shape = std::vector<std::int64_t>;
using Bindings = std::vector<std::pair<const char*, Ort::Value>>;

// A tensor over `data`, which is memory of the kind that `memory` says.
Ort::Value View(const Ort::MemoryInfo& memory, const void* data, const Shape& shape,
                ONNXTensorElementDataType type);

// Runs `session` with all its inputs and outputs bound. RuntimeFailure names the graph.
void RunGraph(Ort::Session& session, const Bindings& inputs, const Bindings& outputs, const char* graph,
              const Ort::RunOptions& options);

// Has the arena `arena` of a session, such as "gpu:0", give back to the device what no run uses now. ONNX
// Runtime does so at the end of a run: of one that is told to end before its first node, so that no input is
// read.
void ShrinkArena(Ort::Session& session, const Bindings& inputs, const Bindings& outputs,
                 const std::string& arena);

}  // namespace ziprerank

#endif  // ZIPRERANK_GRAPH_RUN_HPP_
