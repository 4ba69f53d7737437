// What programs share that try one page on a real engine: the page, and a count of what was wrong.
#ifndef ZIPRERANK_TESTS_ONE_PAGE_HPP_
#define ZIPRERANK_TESTS_ONE_PAGE_HPP_

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>
#include <ziprerank/engine.hpp>

constexpr int kSide = 64;
inline const std::vector<std::uint8_t> kPixels(3 * kSide * kSide, 200);
inline const ziprerank::ImageView kPage{kPixels.data(), kSide, kSide};
inline int failures = 0;

inline void Fail(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
  ++failures;
}

#define CHECK(condition) \
  if (!(condition)) Fail(__FILE__, __LINE__, #condition)

#endif  // ZIPRERANK_TESTS_ONE_PAGE_HPP_
