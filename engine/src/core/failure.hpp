// What a failure on the device means: no memory left, a lost device, or neither.
#ifndef ZIPRERANK_FAILURE_HPP_
#define ZIPRERANK_FAILURE_HPP_

#include <mutex>
#include <string>
#include <string_view>

#include "backend/backend.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {

// Whether a text of ONNX Runtime or of the driver says that there was no memory.
bool IsOutOfMemory(std::string_view text);

// What was asked of the device, and what asks for less.
struct Request {
  std::string what;     // "encoding a page of 1024 x 791 px"
  std::string way_out;  // "use smaller pages"
};

// Remembers whether the device is lost: a CUDA context whose kernel failed never works again.
class Failures {
 public:
  // DeviceLost when the device was lost before.
  void CheckUsable() const;
  // Throws what `error` means: DeviceLost when the device does not answer a probe, OutOfDeviceMemory, or
  // `error` again.
  [[noreturn]] void Explain(const RuntimeFailure& error, Backend* backend, const Request& request);

 private:
  mutable std::mutex mutex_;
  std::string lost_;  // why; empty while the device is there
};

}  // namespace ziprerank

#endif  // ZIPRERANK_FAILURE_HPP_
