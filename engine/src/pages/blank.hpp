// Which visual tokens of a page are not blank. About half of a text page is blank paper, which matches no
// query: an engine may drop these tokens in front of the vision tower, whose work shrinks accordingly.
#ifndef ZIPRERANK_BLANK_HPP_
#define ZIPRERANK_BLANK_HPP_

#include <cstdint>
#include <vector>

#include "pages/layout.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {

// A visual token is blank when no value of its pixels differs from its first pixel's, channel by channel, by
// more than this: a flat area, as it is drawn or as JPEG leaves it.
constexpr int kBlankTolerance = 8;

// The visual tokens, of unit x unit px, that are not blank, ascending; and the last one, blank or not, from
// which vision.onnx sees how far the page goes.
std::vector<std::int32_t> PrintedTokens(const ImageView& image, int unit);

std::vector<std::int32_t> AllTokens(const Grid& grid);

}  // namespace ziprerank

#endif  // ZIPRERANK_BLANK_HPP_
