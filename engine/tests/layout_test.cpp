#include "pages/layout.hpp"

#include <cmath>
#include <limits>

#include "check.hpp"
#include "pages/blank.hpp"

namespace ziprerank {
namespace {

constexpr TokenIds kIds = {
    .vocab_size = 100, .image_pad = 6, .vision_start = 3, .vision_end = 4, .video_pad = 7};

using Ints = std::vector<std::int64_t>;
using Bytes = std::vector<std::uint8_t>;

// Pages of which every token is read.
Layout MakeLayout(const Prompt& prompt, const std::vector<Grid>& grids, double keep_ratio) {
  std::vector<std::vector<std::int32_t>> read;
  std::vector<PageTokens> pages;
  for (const Grid& grid : grids) read.push_back(AllTokens(grid));
  for (std::size_t i = 0; i < grids.size(); ++i) pages.push_back({grids[i], read[i]});
  return ziprerank::MakeLayout(prompt, pages, keep_ratio, kIds);
}

}  // namespace

// Python: max(1, round(rho * n))
TEST(layout_keep_counts) {
  CHECK(KeepCount(0.5, 1025) == 512);  // 512.5 goes to the even neighbour
  CHECK(KeepCount(0.5, 1027) == 514);  // 513.5 too
  CHECK(KeepCount(0.5, 1) == 1);       // round gives 0
  CHECK(KeepCount(0.25, 6) == 2);
  CHECK(KeepCount(0.25, 10) == 2);
  CHECK(KeepCount(0.3, 5) == 2);  // 0.3 * 5 is 1.5 in double
  CHECK(KeepCount(0.1, 25) == 2);
  CHECK(KeepCount(1.0, 800) == 800);
  CHECK(KeepCount(1e-300, 800) == 1);
  CHECK(KeepCount(std::nextafter(1.0, 0.0), 800) == 800);
  CHECK(KeepCount(0.5, (std::int64_t{1} << 40) + 1) == std::int64_t{1} << 39);
}

TEST(layout_keep_ratio_is_checked) {
  for (const double bad : {0.0, -0.5, 1.0000001, std::nan(""), std::numeric_limits<double>::infinity()}) {
    CHECK_THROWS(kInvalidArgument, "outside (0, 1]", KeepCount(bad, 10));
  }
}

TEST(layout_grid_of_a_page) {
  const Grid grid = GridOf({1024, 800}, 32);
  CHECK(grid.rows == 32 && grid.cols == 25 && grid.tokens() == 800);
  CHECK_THROWS(kInvalidArgument, "a page of 1024 x 801 px: both sides must be multiples of 32",
               GridOf({1024, 801}, 32));
  CHECK_THROWS(kInvalidArgument, "multiples of 32", GridOf({0, 32}, 32));
  CHECK_THROWS(kInvalidArgument, "multiples of 32", GridOf({-32, 32}, 32));
}

// Two text tokens, a page of 2 x 3, two tokens, a page of 1 x 1, one token; worked out by hand.
TEST(layout_two_pages_by_hand) {
  const Prompt prompt = {.ids = {10, 3, 6, 4, 11, 6, 12}, .query_mask = {}};
  const Layout layout = MakeLayout(prompt, {{2, 3}, {1, 1}}, 0.5);
  CHECK(layout.text_ids == Ints{10, 3, 4, 11, 12});
  CHECK(layout.query_mask == Bytes{1, 0, 0, 0, 0});  // the vision marker before the first image is left out
  CHECK(layout.keep == Ints{3, 1});
  CHECK(layout.kept == 4);
  CHECK(layout.page_offsets == Ints{0, 6, 7});
  // text 0, 1; page at 2, next 2 + max(2, 3) = 5; text 5, 6; page at 7, next 8; text 8
  CHECK(layout.text_positions == Ints{0, 1, 5, 6, 8, 0, 1, 5, 6, 8, 0, 1, 5, 6, 8});
  CHECK(layout.visual_positions == Ints{2, 2, 2, 2, 2, 2, 7,    // time
                                        2, 2, 2, 3, 3, 3, 7,    // rows
                                        2, 3, 4, 2, 3, 4, 7});  // columns
  CHECK(layout.packing == Ints{0, 1, 5, 6, 7, 2, 3, 8, 4});
}

// Of the first page's 6 tokens 0 and 2 are blank, of the second's 4 all but the last.
TEST(layout_without_blank_tokens) {
  const Prompt prompt = {.ids = {10, 6, 11, 6, 12}, .query_mask = {}};
  const std::vector<std::int32_t> first = {1, 3, 4, 5};
  const std::vector<std::int32_t> second = {3};
  const std::vector<PageTokens> pages = {{{2, 3}, first}, {{2, 2}, second}};
  const Layout half = ziprerank::MakeLayout(prompt, pages, 0.5, kIds);
  CHECK(half.keep == Ints{3, 1});  // half of the grid's 6, and of 4 no more than there are
  CHECK(half.page_offsets == Ints{0, 4, 5});
  CHECK(half.text_positions == Ints{0, 4, 7, 0, 4, 7, 0, 4, 7});  // where they stand with all tokens
  CHECK(half.visual_positions == Ints{1, 1, 1, 1, 5,              //
                                      1, 2, 2, 2, 6,              //
                                      2, 1, 2, 3, 6});
  CHECK(half.packing == Ints{0, 3, 4, 5, 1, 6, 2});
  CHECK(ziprerank::MakeLayout(prompt, pages, 1.0, kIds).keep == Ints{4, 1});
}

TEST(layout_tall_page_moves_on_by_its_height) {
  const Prompt prompt = {.ids = {10, 6, 11}, .query_mask = {}};
  const Layout layout = MakeLayout(prompt, {{4, 2}}, 1.0);
  CHECK(layout.text_positions == Ints{0, 5, 0, 5, 0, 5});
  CHECK(std::ssize(layout.packing) == 2 + 8);
}

TEST(layout_query_mask_as_given) {
  const Prompt prompt = {.ids = {10, 11, 6, 12}, .query_mask = {0, 2, 0, 1}};
  CHECK(MakeLayout(prompt, {{1, 1}}, 1.0).query_mask == Bytes{0, 1, 1});
}

TEST(layout_bad_prompts) {
  const std::vector<Grid> page = {{1, 1}};
  CHECK_THROWS(kInvalidArgument, "the prompt has 0 image pads for 1 pages", MakeLayout({{10}, {}}, page, 1));
  CHECK_THROWS(kInvalidArgument, "the prompt has 2 image pads for 1 pages",
               MakeLayout({{10, 6, 6}, {}}, page, 1));
  CHECK_THROWS(kInvalidArgument, "token 0 has id 100, outside the vocabulary of 100",
               MakeLayout({{100, 6}, {}}, page, 1));
  CHECK_THROWS(kInvalidArgument, "token 1 has id -1", MakeLayout({{1, -1, 6}, {}}, page, 1));
  CHECK_THROWS(kInvalidArgument, "video pad", MakeLayout({{1, 7, 6}, {}}, page, 1));
  CHECK_THROWS(kInvalidArgument, "selects none", MakeLayout({{6, 10}, {}}, page, 1));     // image first
  CHECK_THROWS(kInvalidArgument, "selects none", MakeLayout({{3, 6, 10}, {}}, page, 1));  // markers only
  CHECK_THROWS(kInvalidArgument, "selects none", MakeLayout({{10, 6}, {0, 0}}, page, 1));
  CHECK_THROWS(kInvalidArgument, "selects token 1, which stands for a page",
               MakeLayout({{10, 6}, {1, 1}}, page, 1));
  CHECK_THROWS(kInvalidArgument, "query_mask has 1 entries for 2 prompt tokens",
               MakeLayout({{10, 6}, {1}}, page, 1));
}

}  // namespace ziprerank
