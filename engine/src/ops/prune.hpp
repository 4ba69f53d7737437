// Query-image pruning: which visual tokens of each page stay (docs/bundle.md, ziprerank::QueryImagePrune).
// Knows nothing of ONNX Runtime: pointers in, indices out.
#ifndef ZIPRERANK_PRUNE_HPP_
#define ZIPRERANK_PRUNE_HPP_

#include <cstdint>
#include <vector>

#include "ops/parallel.hpp"
#include "ops/prune_tile.hpp"

namespace ziprerank {

struct PruneInputs {
  Element element = Element::kF32;
  const void* pool = nullptr;  // [pool_rows, levels, hidden]
  std::int64_t pool_rows = 0;
  std::int64_t levels = 0;
  std::int64_t hidden = 0;
  const std::int64_t* rows = nullptr;          // [visual]
  std::int64_t visual = 0;                     // N
  const std::int64_t* page_offsets = nullptr;  // [pages + 1]
  const std::int64_t* keep = nullptr;          // [pages]
  std::int64_t pages = 0;                      // K
  const void* text = nullptr;                  // [text_rows, hidden]
  const bool* query_mask = nullptr;            // [text_rows]
  std::int64_t text_rows = 0;                  // T
};

// The kernels that this processor can run, the slowest first; never empty.
std::vector<const PruneKernel*> PruneKernels();

// Checks offsets and keep counts; returns M, the number of tokens kept. InvalidArgument names the page that
// is wrong.
std::int64_t CheckPages(const PruneInputs& in);

// CheckPages, and the row indices too.
std::int64_t CheckPrune(const PruneInputs& in);

// Writes the M kept indices, ascending, into 0..N-1. `in` has passed CheckPrune. InvalidArgument names a
// visual or text row that is not finite.
void Prune(const PruneInputs& in, const PruneKernel& kernel, const ParallelFor& parallel, std::int64_t* kept);

}  // namespace ziprerank

#endif  // ZIPRERANK_PRUNE_HPP_
