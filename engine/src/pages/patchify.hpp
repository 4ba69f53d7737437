// A page's pixels in the order in which vision.onnx reads them.
#ifndef ZIPRERANK_PATCHIFY_HPP_
#define ZIPRERANK_PATCHIFY_HPP_

#include <cstdint>
#include <span>

#include "ziprerank/engine.hpp"

namespace ziprerank {

// The P patches of a page's visual tokens, in memory that the caller owns.
struct PatchMemory {
  std::uint8_t* pixels = nullptr;  // [P, 3 * patch * patch], channel first, in merge-block order
  std::int64_t* rows = nullptr;    // [P] each patch's place in the page's patch grid
  std::int64_t* cols = nullptr;    // [P]
};

// Merge-block order: the merge x merge patches of one visual token stand together, row by row; visual tokens
// as they are listed, by their index row by row. Sides are multiples of patch * merge.
void Patchify(const ImageView& image, int patch, int merge, std::span<const std::int32_t> tokens,
              const PatchMemory& out);

}  // namespace ziprerank

#endif  // ZIPRERANK_PATCHIFY_HPP_
