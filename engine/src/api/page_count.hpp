// How many pages a window may have.
#ifndef ZIPRERANK_PAGE_COUNT_HPP_
#define ZIPRERANK_PAGE_COUNT_HPP_

#include "base/text.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {

// InvalidArgument unless a window of an engine with this `info` takes so many pages.
inline void CheckPageCount(std::size_t count, const EngineInfo& info) {
  const std::size_t most = info.letter_ids.size();
  if (count == 0 && info.pointwise()) return;
  if (count == 0) throw InvalidArgument("a window without pages: give at least one");
  if (count <= most) return;
  throw InvalidArgument(
      Text(count, " pages, at most ", most, " in one pass: use window=", most, " or split"));
}

}  // namespace ziprerank

#endif  // ZIPRERANK_PAGE_COUNT_HPP_
