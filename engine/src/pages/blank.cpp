#include "pages/blank.hpp"

#include <algorithm>
#include <numeric>

#include "base/text.hpp"

namespace ziprerank {
namespace {

// `low` and `high` [3 * unit]: what a row of pixels may be.
bool IsFlat(const std::uint8_t* cell, std::size_t stride, std::size_t unit, std::uint8_t* low,
            std::uint8_t* high) {
  for (std::size_t i = 0; i < 3 * unit; ++i) {
    const int value = cell[i % 3];
    low[i] = static_cast<std::uint8_t>(std::max(0, value - kBlankTolerance));
    high[i] = static_cast<std::uint8_t>(std::min(255, value + kBlankTolerance));
  }
  for (std::size_t y = 0; y < unit; ++y) {
    const std::uint8_t* const row = cell + y * stride;
    unsigned char outside = 0;  // not bool, and no early end: compilers vectorise this
    for (std::size_t i = 0; i < 3 * unit; ++i) {
      outside |= static_cast<unsigned char>((row[i] < low[i]) | (row[i] > high[i]));
    }
    if (outside != 0) return false;
  }
  return true;
}

}  // namespace

std::vector<std::int32_t> PrintedTokens(const ImageView& image, int unit) {
  const auto side = static_cast<std::size_t>(unit);
  const std::size_t rows = static_cast<std::size_t>(image.height) / side;
  const std::size_t cols = static_cast<std::size_t>(image.width) / side;
  const std::size_t stride = 3 * static_cast<std::size_t>(image.width);
  std::vector<std::uint8_t> bounds(6 * side);
  std::vector<std::int32_t> printed;
  for (std::size_t token = 0; token < rows * cols; ++token) {
    const std::uint8_t* const cell = image.pixels + token / cols * side * stride + token % cols * side * 3;
    if (token + 1 == rows * cols || !IsFlat(cell, stride, side, bounds.data(), bounds.data() + 3 * side)) {
      printed.push_back(static_cast<std::int32_t>(token));
    }
  }
  return printed;
}

std::vector<std::int32_t> AllTokens(const Grid& grid) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(grid.tokens()));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

}  // namespace ziprerank
