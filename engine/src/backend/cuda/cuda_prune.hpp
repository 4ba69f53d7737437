// The pruning kernels of a bundle on one GPU: loaded once, then launched for each window (docs/bundle.md,
// kernels/). Knows nothing of ONNX Runtime: pointers in, launches out.
#ifndef ZIPRERANK_CUDA_PRUNE_HPP_
#define ZIPRERANK_CUDA_PRUNE_HPP_

#include <string>
#include <vector>

#include "backend/cuda/cuda_context.hpp"
#include "bundle/launch_table.hpp"
#include "ops/prune.hpp"

namespace ziprerank {

class CudaPrune {
 public:
  // Loads the files for the context's device from a bundle's kernels/. BundleError when the bundle has none
  // for it, or a file cannot be loaded; `context` outlives this.
  CudaPrune(const CudaContext& context, const std::string& directory);
  CudaPrune(const CudaPrune&) = delete;
  CudaPrune& operator=(const CudaPrune&) = delete;
  ~CudaPrune();

  // What the kernels were compiled for.
  std::int64_t hidden_size() const { return table_.hidden_size; }
  std::int64_t levels() const { return table_.levels; }
  const std::string& precision() const { return table_.precision; }
  // The files that were chosen: "sm_90 cubin".
  const std::string& choice() const { return choice_; }

  // Device memory that a window of this size needs besides its inputs and output.
  static std::size_t ScratchBytes(const PruneInputs& in);

  // Enqueues the window's launches on `stream`; waits for nothing. Of `in`, `page_offsets` and `keep` are
  // host memory, which may be reused afterwards; the rest, `kept` [M] and `scratch` are the device's. `in`
  // has passed CheckPages.
  void Launch(const PruneInputs& in, std::int64_t* kept, void* scratch, cuda::Stream stream) const;

 private:
  struct Loaded {
    cuda::Module module = nullptr;
    cuda::Function function = nullptr;
    const LaunchTable::Target* target = nullptr;
    std::size_t length = 0;               // which value the grid covers
    std::vector<std::size_t> parameters;  // which values are passed, in order
  };
  Loaded Load(const std::string& directory, const LaunchTable::Kernel& kernel) const;
  void Unload() noexcept;

  const CudaContext& context_;
  LaunchTable table_;
  std::string choice_;
  std::vector<Loaded> kernels_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_CUDA_PRUNE_HPP_
