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

// What an error text shows of a text from outside: its first 100 bytes.
inline std::string Excerpt(const std::string& text) {
  return text.size() <= 100 ? text : Text(text.substr(0, 100), "... (", text.size(), " bytes)");
}

}  // namespace ziprerank

#endif  // ZIPRERANK_TEXT_HPP_
