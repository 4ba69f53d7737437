#include "pages/patchify.hpp"

#include <vector>

#include "check.hpp"
#include "pages/blank.hpp"

namespace ziprerank {
namespace {

struct Patches {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int64_t> rows;
  std::vector<std::int64_t> cols;
};

Patches Cut(const ImageView& image, const std::vector<std::int32_t>& tokens) {
  const std::size_t count = 4 * tokens.size();
  Patches out{std::vector<std::uint8_t>(count * 768), std::vector<std::int64_t>(count),
              std::vector<std::int64_t>(count)};
  Patchify(image, 16, 2, tokens, {out.pixels.data(), out.rows.data(), out.cols.data()});
  return out;
}

Patches Cut(const ImageView& image) { return Cut(image, AllTokens(GridOf({image.height, image.width}, 32))); }

}  // namespace

// Every value names its place, so that each patch value can be checked against the page by its definition.
TEST(patchify_merge_block_order) {
  const int height = 64;
  const int width = 96;
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(3 * height * width));
  for (std::size_t i = 0; i < pixels.size(); ++i)
    pixels[i] = static_cast<std::uint8_t>(i * 2654435761u >> 24);
  const Patches patches = Cut({pixels.data(), height, width});

  CHECK(patches.rows.size() == 24 && patches.pixels.size() == 24 * 768);
  const std::vector<std::int64_t> first_rows(patches.rows.begin(), patches.rows.begin() + 14);
  const std::vector<std::int64_t> first_cols(patches.cols.begin(), patches.cols.begin() + 14);
  CHECK(first_rows == std::vector<std::int64_t>{0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 2, 2});
  CHECK(first_cols == std::vector<std::int64_t>{0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 0, 1});

  bool same = true;
  for (std::size_t p = 0; p < patches.rows.size(); ++p) {
    for (std::size_t channel = 0; channel < 3; ++channel) {
      for (std::size_t y = 0; y < 16; ++y) {
        for (std::size_t x = 0; x < 16; ++x) {
          const std::size_t row = static_cast<std::size_t>(patches.rows[p]) * 16 + y;
          const std::size_t col = static_cast<std::size_t>(patches.cols[p]) * 16 + x;
          same = same && patches.pixels[p * 768 + channel * 256 + y * 16 + x] ==
                             pixels[(row * static_cast<std::size_t>(width) + col) * 3 + channel];
        }
      }
    }
  }
  CHECK(same);
}

TEST(patchify_of_some_tokens) {
  std::vector<std::uint8_t> pixels(3 * 64 * 96);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i % 251);
  const Patches all = Cut({pixels.data(), 64, 96});
  const Patches some = Cut({pixels.data(), 64, 96}, {2, 3, 5});
  std::vector<std::uint8_t> expected;
  for (const std::size_t token : {2u, 3u, 5u}) {
    for (std::size_t i = 0; i < 4 * 768; ++i) expected.push_back(all.pixels[token * 4 * 768 + i]);
  }
  CHECK(some.pixels == expected);
  CHECK(some.rows == std::vector<std::int64_t>{0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3});
  CHECK(some.cols == std::vector<std::int64_t>{4, 5, 4, 5, 0, 1, 0, 1, 4, 5, 4, 5});
}

TEST(patchify_smallest_page) {
  const std::vector<std::uint8_t> pixels(32 * 32 * 3, 9);
  const Patches patches = Cut({pixels.data(), 32, 32});
  CHECK(patches.rows == std::vector<std::int64_t>{0, 0, 1, 1});
  CHECK(patches.pixels == std::vector<std::uint8_t>(4 * 768, 9));
}

}  // namespace ziprerank
