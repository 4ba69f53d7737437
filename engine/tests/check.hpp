// A test runner in one header: TEST(name) { CHECK(...); } registers itself, and main() runs all that match
// argv.
#ifndef ZIPRERANK_TESTS_CHECK_HPP_
#define ZIPRERANK_TESTS_CHECK_HPP_

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace check {

struct Case {
  const char* name;
  void (*run)();
};
inline std::vector<Case>& Cases() {
  static std::vector<Case> cases;
  return cases;
}
inline int failures = 0;

struct Register {
  Register(const char* name, void (*run)()) { Cases().push_back({name, run}); }
};

inline void Fail(const char* file, int line, const std::string& text) {
  std::fprintf(stderr, "%s:%d: %s\n", file, line, text.c_str());
  ++failures;
}

// A folder of this process's own, removed when it ends.
inline const std::filesystem::path& TempFolder() {
  struct Folder {
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("ziprerank_tests." + std::to_string(getpid()));
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() { std::filesystem::remove_all(path); }
  };
  static const Folder folder;
  return folder.path;
}

// The call must throw an error of this kind whose text holds `words`.
template <typename Call>
void Throws(ziprerank::ErrorKind kind, std::string_view words, Call&& call, const char* file, int line) {
  try {
    call();
  } catch (const ziprerank::Error& error) {
    if (error.kind() != kind) Fail(file, line, std::string("error of another kind: ") + error.what());
    if (std::string_view(error.what()).find(words) == std::string_view::npos) {
      Fail(file, line, std::string("error text '") + error.what() + "' lacks '" + std::string(words) + "'");
    }
    return;
  }
  Fail(file, line, "no error, wanted one with '" + std::string(words) + "'");
}

}  // namespace check

#define TEST(name)                                                  \
  static void Test_##name();                                        \
  static const check::Register register_##name(#name, Test_##name); \
  static void Test_##name()

#define CHECK(...)                                                                \
  do {                                                                            \
    if (!(__VA_ARGS__)) check::Fail(__FILE__, __LINE__, "failed: " #__VA_ARGS__); \
  } while (false)

#define CHECK_THROWS(kind, words, call) \
  check::Throws(ziprerank::ErrorKind::kind, words, [&] { (void)(call); }, __FILE__, __LINE__)

#endif  // ZIPRERANK_TESTS_CHECK_HPP_
