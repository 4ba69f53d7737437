// A page's pixels in the order in which vision.onnx reads them.
#ifndef ZIPRERANK_PATCHIFY_HPP_
#define ZIPRERANK_PATCHIFY_HPP_

#include <cstdint>

#include "ziprerank/engine.hpp"

namespace ziprerank {

// A page's P patches, in memory of the caller's.
struct PatchMemory {
  std::uint8_t* pixels = nullptr;  // [P, 3 * patch * patch], channel first, in merge-block order
  std::int64_t* rows = nullptr;    // [P] each patch's place in the page's patch grid
  std::int64_t* cols = nullptr;    // [P]
};

// Merge-block order: the merge x merge patches of one visual token stand together, blocks run row by row:
// (block row, block column, row in block, column in block). Sides are multiples of patch * merge.
void Patchify(const ImageView& image, int patch, int merge, const PatchMemory& out);

}  // namespace ziprerank

#endif  // ZIPRERANK_PATCHIFY_HPP_
