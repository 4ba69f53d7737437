#include "patchify.hpp"

namespace ziprerank {
namespace {

// One patch: interleaved RGB rows of the page to three planes.
void CopyPatch(const std::uint8_t* source, std::size_t stride, int patch, std::uint8_t* out) {
  const auto side = static_cast<std::size_t>(patch);
  const std::size_t plane = side * side;
  for (std::size_t y = 0; y < side; ++y) {
    const std::uint8_t* line = source + y * stride;
    std::uint8_t* to = out + y * side;
    for (std::size_t x = 0; x < side; ++x) {
      to[x] = line[3 * x];
      to[x + plane] = line[3 * x + 1];
      to[x + 2 * plane] = line[3 * x + 2];
    }
  }
}

}  // namespace

void Patchify(const ImageView& image, int patch, int merge, const PatchMemory& out) {
  const int grid_rows = image.height / patch;
  const int grid_cols = image.width / patch;
  const std::size_t patch_bytes = 3 * static_cast<std::size_t>(patch) * static_cast<std::size_t>(patch);
  const std::size_t stride = 3 * static_cast<std::size_t>(image.width);

  PatchMemory next = out;
  for (int block_row = 0; block_row < grid_rows; block_row += merge) {
    for (int block_col = 0; block_col < grid_cols; block_col += merge) {
      for (int row = block_row; row < block_row + merge; ++row) {
        for (int col = block_col; col < block_col + merge; ++col, next.pixels += patch_bytes) {
          const std::size_t y = static_cast<std::size_t>(row) * static_cast<std::size_t>(patch);
          const std::size_t x = static_cast<std::size_t>(col) * static_cast<std::size_t>(patch);
          CopyPatch(image.pixels + y * stride + 3 * x, stride, patch, next.pixels);
          *next.rows++ = row;
          *next.cols++ = col;
        }
      }
    }
  }
}

}  // namespace ziprerank
