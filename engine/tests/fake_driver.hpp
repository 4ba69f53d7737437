// The driver without a GPU (fakes/cuda_driver.c), as the unit tests use it: its settings, and the calls it
// recorded.
#ifndef ZIPRERANK_TESTS_FAKE_DRIVER_HPP_
#define ZIPRERANK_TESTS_FAKE_DRIVER_HPP_

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/text.hpp"
#include "check.hpp"

namespace check {

using Lines = std::vector<std::string>;

// The fake's settings for one test, and its log from then on.
class Fake {
 public:
  Fake() {
    for (const char* name : {"CAPABILITY", "DEVICES", "FAIL", "HIDDEN", "LEVELS"}) {
      unsetenv((std::string("FAKE_CUDA_") + name).c_str());
    }
    setenv("FAKE_CUDA_LOG", log_.c_str(), 1);
    Clear();
  }
  void Set(const char* name, const char* value) {
    setenv((std::string("FAKE_CUDA_") + name).c_str(), value, 1);
  }
  void Clear() { std::filesystem::remove(log_); }
  // The calls of these functions, in order.
  Lines Calls(const Lines& functions) const {
    Lines found;
    std::ifstream stream(log_);
    for (std::string line; std::getline(stream, line);) {
      const std::string name = line.substr(0, line.find(' '));
      if (std::find(functions.begin(), functions.end(), name) != functions.end()) found.push_back(line);
    }
    return found;
  }

 private:
  const std::string log_ = (TempFolder() / "calls.log").string();
};

inline std::string Hex(const void* pointer) {
  return ziprerank::Text("0x", std::hex, reinterpret_cast<std::uintptr_t>(pointer));
}

}  // namespace check

#endif  // ZIPRERANK_TESTS_FAKE_DRIVER_HPP_
