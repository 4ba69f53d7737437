// From a prompt and page sizes to the index tensors of rerank.onnx. Pure functions over small structs.
#ifndef ZIPRERANK_LAYOUT_HPP_
#define ZIPRERANK_LAYOUT_HPP_

#include <cstdint>
#include <span>
#include <vector>

#include "ziprerank/engine.hpp"

namespace ziprerank {

// A page's visual tokens as a grid: height / 32 rows of width / 32 columns.
struct Grid {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t tokens() const { return rows * cols; }
};

// The visual tokens of a page that the model reads: their indices in the grid, row by row, ascending.
struct PageTokens {
  Grid grid;
  std::span<const std::int32_t> read;
};

struct TokenIds {
  std::int64_t vocab_size = 0;
  std::int64_t image_pad = 0;
  std::int64_t vision_start = 0;
  std::int64_t vision_end = 0;
  std::int64_t video_pad = 0;
};

struct Layout {
  std::vector<std::int64_t> text_ids;          // [T]
  std::vector<std::uint8_t> query_mask;        // [T]
  std::vector<std::int64_t> text_positions;    // [3, T]
  std::vector<std::int64_t> visual_positions;  // [3, N], of the tokens that are read
  std::vector<std::int64_t> page_offsets;      // [K + 1]
  std::vector<std::int64_t> keep;              // [K]
  std::vector<std::int64_t> packing;           // [S]: i < T is text token i, T + m is kept visual token m
  std::int64_t kept = 0;                       // M
};

// A page's size as a grid; InvalidArgument unless both sides are positive multiples of `unit` pixels.
Grid GridOf(const PageSize& size, int unit);

// max(1, round_half_even(keep_ratio * tokens)); InvalidArgument unless keep_ratio is in (0, 1].
std::int64_t KeepCount(double keep_ratio, std::int64_t tokens);

// The index tensors of one window; `pages` in slot order. The keep ratio is a share of a page's grid, so
// tokens that are not read count as pruned first.
Layout MakeLayout(const Prompt& prompt, const std::vector<PageTokens>& pages, double keep_ratio,
                  const TokenIds& ids);

}  // namespace ziprerank

#endif  // ZIPRERANK_LAYOUT_HPP_
