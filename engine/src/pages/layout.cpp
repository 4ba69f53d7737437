#include "pages/layout.hpp"

#include <algorithm>
#include <cmath>

#include "base/text.hpp"

namespace ziprerank {
namespace {

void CheckMask(const Prompt& prompt, std::int64_t image_pad) {
  if (prompt.query_mask.size() != prompt.ids.size()) {
    throw InvalidArgument(Text("query_mask has ", prompt.query_mask.size(), " entries for ",
                               prompt.ids.size(),
                               " prompt tokens: give one per token, or none for all_before_image"));
  }
  for (std::size_t i = 0; i < prompt.ids.size(); ++i) {
    if (prompt.query_mask[i] != 0 && prompt.ids[i] == image_pad) {
      throw InvalidArgument(
          Text("query_mask selects token ", i, ", which stands for a page: select text only"));
    }
  }
}

// Every token before the first image but the vision markers, unless the prompt says which.
std::vector<std::uint8_t> QueryMask(const Prompt& prompt, const TokenIds& ids) {
  std::vector<std::uint8_t> mask(prompt.ids.size(), 0);
  if (!prompt.query_mask.empty()) {
    CheckMask(prompt, ids.image_pad);
    std::transform(prompt.query_mask.begin(), prompt.query_mask.end(), mask.begin(),
                   [](std::uint8_t value) { return static_cast<std::uint8_t>(value != 0); });
  } else {
    for (std::size_t i = 0; i < prompt.ids.size() && prompt.ids[i] != ids.image_pad; ++i) {
      mask[i] = prompt.ids[i] != ids.vision_start && prompt.ids[i] != ids.vision_end;
    }
  }
  if (std::find(mask.begin(), mask.end(), 1) == mask.end()) {
    throw InvalidArgument(
        "no text token to compare pages with: the query mask selects none of the prompt's tokens");
  }
  return mask;
}

void CheckIds(const Prompt& prompt, std::size_t pages, const TokenIds& ids) {
  std::size_t pads = 0;
  for (std::size_t i = 0; i < prompt.ids.size(); ++i) {
    const std::int64_t id = prompt.ids[i];
    if (id < 0 || id >= ids.vocab_size) {
      throw InvalidArgument(
          Text("prompt token ", i, " has id ", id, ", outside the vocabulary of ", ids.vocab_size));
    }
    if (id == ids.video_pad) {
      throw InvalidArgument(
          Text("prompt token ", i, " is the video pad (id ", id, "): only pages are ranked"));
    }
    pads += id == ids.image_pad;
  }
  if (pads != pages) {
    throw InvalidArgument(Text("the prompt has ", pads, " image pads for ", pages,
                               " pages: give exactly one for each page, the engine expands them"));
  }
}

}  // namespace

Grid GridOf(const PageSize& size, int unit) {
  if (size.height <= 0 || size.width <= 0 || size.height % unit != 0 || size.width % unit != 0) {
    throw InvalidArgument(Text("a page of ", size.height, " x ", size.width,
                               " px: both sides must be multiples of ", unit, " px, resize it first"));
  }
  return {size.height / unit, size.width / unit};
}

std::int64_t KeepCount(double keep_ratio, std::int64_t tokens) {
  if (!(keep_ratio > 0.0 && keep_ratio <= 1.0)) {  // NaN too
    throw InvalidArgument(
        Text("keep_ratio ", keep_ratio, " is outside (0, 1]: 1 keeps every visual token, 0.5 half"));
  }
  // Half to even, written out so that the host program's rounding mode does not matter.
  const double exact = keep_ratio * static_cast<double>(tokens);
  const double below = std::floor(exact);
  const double rest = exact - below;
  auto rounded = static_cast<std::int64_t>(below);
  if (rest > 0.5 || (rest == 0.5 && rounded % 2 != 0)) ++rounded;
  return std::max<std::int64_t>(1, rounded);
}

Layout MakeLayout(const Prompt& prompt, const std::vector<PageTokens>& pages, double keep_ratio,
                  const TokenIds& ids) {
  CheckIds(prompt, pages.size(), ids);
  const std::vector<std::uint8_t> mask = QueryMask(prompt, ids);

  Layout layout;
  layout.page_offsets.push_back(0);
  for (const PageTokens& page : pages) {
    const std::int64_t read = std::ssize(page.read);  // which is another type where int64_t is long long
    layout.keep.push_back(std::min(KeepCount(keep_ratio, page.grid.tokens()), read));
    layout.kept += layout.keep.back();
    layout.page_offsets.push_back(layout.page_offsets.back() + std::ssize(page.read));
  }
  const std::size_t text = prompt.ids.size() - pages.size();                 // T
  const auto visual = static_cast<std::size_t>(layout.page_offsets.back());  // N
  layout.text_positions.resize(3 * text);
  layout.visual_positions.resize(3 * visual);
  layout.packing.reserve(text + static_cast<std::size_t>(layout.kept));

  std::int64_t position = 0;  // the next token's, before pruning: dropped tokens leave gaps
  auto kept = static_cast<std::int64_t>(text);
  std::size_t page = 0;
  std::size_t token = 0;  // visual tokens so far
  for (std::size_t i = 0; i < prompt.ids.size(); ++i) {
    if (prompt.ids[i] != ids.image_pad) {
      const std::size_t t = layout.text_ids.size();
      layout.text_ids.push_back(prompt.ids[i]);
      layout.query_mask.push_back(mask[i]);
      for (std::size_t axis = 0; axis < 3; ++axis) layout.text_positions[axis * text + t] = position;
      layout.packing.push_back(static_cast<std::int64_t>(t));
      ++position;
      continue;
    }
    const Grid& grid = pages[page].grid;
    for (const std::int64_t index : pages[page].read) {
      layout.visual_positions[token] = position;
      layout.visual_positions[visual + token] = position + index / grid.cols;
      layout.visual_positions[2 * visual + token] = position + index % grid.cols;
      ++token;
    }
    for (std::int64_t k = 0; k < layout.keep[page]; ++k) layout.packing.push_back(kept++);
    position += std::max(grid.rows, grid.cols);
    ++page;
  }
  return layout;
}

}  // namespace ziprerank
