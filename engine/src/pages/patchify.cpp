#include "pages/patchify.hpp"

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

void Patchify(const ImageView& image, int patch, int merge, std::span<const std::int32_t> tokens,
              const PatchMemory& out) {
  const int token_cols = image.width / (patch * merge);
  const std::size_t patch_bytes = 3 * static_cast<std::size_t>(patch) * static_cast<std::size_t>(patch);
  const std::size_t stride = 3 * static_cast<std::size_t>(image.width);

  PatchMemory next = out;
  for (const std::int32_t token : tokens) {
    const int first_row = token / token_cols * merge;
    const int first_col = token % token_cols * merge;
    for (int row = first_row; row < first_row + merge; ++row) {
      for (int col = first_col; col < first_col + merge; ++col, next.pixels += patch_bytes) {
        const std::size_t y = static_cast<std::size_t>(row) * static_cast<std::size_t>(patch);
        const std::size_t x = static_cast<std::size_t>(col) * static_cast<std::size_t>(patch);
        CopyPatch(image.pixels + y * stride + 3 * x, stride, patch, next.pixels);
        *next.rows++ = row;
        *next.cols++ = col;
      }
    }
  }
}

}  // namespace ziprerank
