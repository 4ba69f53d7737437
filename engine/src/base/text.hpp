// Text("25 pages, at most ", 20): the one way that error texts are put together.
#ifndef ZIPRERANK_TEXT_HPP_
#define ZIPRERANK_TEXT_HPP_

#include <sstream>
#include <string>

namespace ziprerank {

template <typename... Parts>
std::string Text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace ziprerank

#endif  // ZIPRERANK_TEXT_HPP_
