// ziprerank_tests [SUBSTRING]: runs the tests whose name holds it; --list names them.
#include <cstring>

#include "check.hpp"

int main(int argc, char** argv) {
  const char* filter = argc > 1 ? argv[1] : "";
  const bool list = std::strcmp(filter, "--list") == 0;
  int ran = 0;
  for (const check::Case& test : check::Cases()) {
    if (list) {
      std::printf("%s\n", test.name);
      continue;
    }
    if (std::strstr(test.name, filter) == nullptr) continue;
    const int before = check::failures;
    try {
      test.run();
    } catch (const std::exception& error) {
      check::Fail(test.name, 0, std::string("unexpected error: ") + error.what());
    }
    ++ran;
    std::printf("%s %s\n", check::failures == before ? "ok    " : "FAILED", test.name);
  }
  return list ? 0 : check::failures == 0 && ran > 0 ? 0 : 1;
}
