#include "pages/blank.hpp"

#include "check.hpp"

namespace ziprerank {
namespace {

using Ints = std::vector<std::int32_t>;

// A page of 96 x 64 px in one colour, 3 x 2 visual tokens.
struct Page {
  std::vector<std::uint8_t> pixels = std::vector<std::uint8_t>(3 * 96 * 64, 240);
  std::uint8_t& At(std::size_t y, std::size_t x, std::size_t channel) {
    return pixels[3 * (y * 64 + x) + channel];
  }
  Ints Printed() const { return PrintedTokens({pixels.data(), 96, 64}, 32); }
};

}  // namespace

TEST(blank_page_keeps_its_last_token) { CHECK(Page().Printed() == Ints{5}); }

TEST(blank_sees_every_pixel_and_channel) {
  for (const std::size_t y : {0u, 31u, 32u, 63u}) {
    for (const std::size_t x : {0u, 31u, 32u, 63u}) {
      for (const std::size_t channel : {0u, 1u, 2u}) {
        Page page;
        page.At(y, x, channel) = 200;
        CHECK((page.Printed() == Ints{static_cast<std::int32_t>(y / 32 * 2 + x / 32), 5}));
      }
    }
  }
}

TEST(blank_tolerates_what_jpeg_leaves_of_a_flat_area) {
  Page page;
  page.At(10, 10, 1) = 240 + kBlankTolerance;
  page.At(20, 20, 2) = 240 - kBlankTolerance;
  CHECK(page.Printed() == Ints{5});
  page.At(20, 20, 2) = 240 - kBlankTolerance - 1;
  CHECK((page.Printed() == Ints{0, 5}));
  page.At(20, 20, 2) = 240 + kBlankTolerance + 1;
  CHECK((page.Printed() == Ints{0, 5}));
}

TEST(blank_is_any_flat_colour_of_its_own) {
  Page page;
  for (std::size_t y = 0; y < 32; ++y) {
    for (std::size_t x = 0; x < 32; ++x) {
      page.At(y, x, 0) = 3;
      page.At(y, x, 2) = 255;
    }
  }
  CHECK(page.Printed() == Ints{5});
}

}  // namespace ziprerank
