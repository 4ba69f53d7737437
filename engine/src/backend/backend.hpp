// Backend: where an engine's graphs run. It sets up their sessions, holds the page features, and carries a
// page's patches to vision.onnx. core/make_backend.cpp chooses one.
#ifndef ZIPRERANK_BACKEND_HPP_
#define ZIPRERANK_BACKEND_HPP_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "backend/pool_storage.hpp"
#include "ort/graph_run.hpp"
#include "ort/ort.hpp"
#include "ort/runtime.hpp"
#include "pages/patchify.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {

// One page's patches on their way to vision.onnx. Its memory goes back to the backend when it is destroyed,
// even if the device still reads it.
class PageFeed {
 public:
  virtual ~PageFeed() = default;
  // Host memory for Patchify to fill.
  virtual PatchMemory host() = 0;
  // Enqueues the copy to the device; returns where vision.onnx reads the patches.
  virtual PatchMemory Send() = 0;
  // Device memory for features that PoolStorage::Write then copies to their rows.
  virtual void* Scratch(std::size_t bytes) = 0;
};

// Memory of a GPU.
struct DeviceMemory {
  std::string device;  // "cuda:0 (NVIDIA H100 80GB HBM3)"
  std::size_t free = 0;
  std::size_t total = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // The file of `graph` ("vision.onnx", "rerank.onnx", "relate.onnx") in a bundle's directory.
  virtual std::string File(const std::string& directory, const std::string& graph) const {
    return directory + "/" + graph;
  }
  // Adds the execution provider and the pruning operator for `graph`. ProviderError when ONNX Runtime cannot
  // start the provider, or the host has no memory for what it keeps of the graph.
  virtual void Configure(Ort::SessionOptions* options, const std::string& graph) = 0;
  // InvalidArgument when a plan of `graph` does not take inputs of these sizes.
  virtual void CheckSizes(const std::string& graph, const Bindings& inputs) const {
    static_cast<void>(graph);
    static_cast<void>(inputs);
  }
  // Fills in what `info` says of the device; BundleError when the bundle that `info` describes cannot run
  // here.
  virtual void Describe(EngineInfo* info) const = 0;

  // The kind of memory that the storage and the feeds are made of.
  virtual Ort::MemoryInfo memory() const = 0;
  virtual std::unique_ptr<PoolStorage> MakeStorage(std::size_t bytes) const = 0;
  virtual std::unique_ptr<PageFeed> Feed(std::size_t patches, std::size_t patch_bytes) = 0;

  // Options for runs of vision.onnx: such a run may return before it is done; Finish waits for it.
  virtual Ort::RunOptions EncodeOptions() const = 0;
  // Waits until every page that was sent is in the pool.
  virtual void Finish() = 0;

  // After a failure: waits for what the device was given, and says how much of its memory is free.
  // RuntimeFailure when the device no longer answers; nothing on the CPU.
  virtual std::optional<DeviceMemory> Probe() { return std::nullopt; }
};

}  // namespace ziprerank

#endif  // ZIPRERANK_BACKEND_HPP_
