// A page's pixels in the order in which vision.onnx reads them.
#ifndef ZIPRERANK_PATCHIFY_HPP_
#define ZIPRERANK_PATCHIFY_HPP_

#include <cstdint>
#include <vector>

#include "ziprerank/engine.hpp"

namespace ziprerank {

struct Patches {
  std::vector<std::uint8_t> pixels;  // [P, 3 * patch * patch], channel first, in merge-block order
  std::vector<std::int64_t> rows;    // [P] each patch's place in the page's patch grid
  std::vector<std::int64_t> cols;    // [P]
};

// Merge-block order: the merge x merge patches of one visual token stand together, blocks run row by row:
// (block row, block column, row in block, column in block). Sides are multiples of patch * merge.
Patches Patchify(const ImageView& image, int patch, int merge);

}  // namespace ziprerank

#endif  // ZIPRERANK_PATCHIFY_HPP_
