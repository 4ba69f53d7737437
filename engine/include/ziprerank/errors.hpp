// Every error that the engine raises on purpose. A text states the value, the limit and the way out.
#ifndef ZIPRERANK_ERRORS_HPP_
#define ZIPRERANK_ERRORS_HPP_

#include <stdexcept>
#include <string>

#if defined(__GNUC__)
#define ZIPRERANK_API __attribute__((visibility("default")))
#define ZIPRERANK_INTERNAL __attribute__((visibility("hidden")))
#else
#define ZIPRERANK_API
#define ZIPRERANK_INTERNAL
#endif

namespace ziprerank {

// What went wrong, as the C ABI (`zr_status`) and the Python package's classes name it. Values are stable.
enum class ZIPRERANK_API ErrorKind {
  kInvalidArgument = 1,  // a call that cannot be carried out as given
  kBundle = 2,           // a bundle that is missing, damaged, or newer than this engine reads
  kPool = 3,             // the page pool has no room for the pages of one window
  kProvider = 4,         // an execution provider or an ONNX Runtime that cannot be used
  kRuntime = 5,          // ONNX Runtime failed while it ran a graph, or gave a result that is not finite
  kMemory = 7,           // the device has no memory for what was asked; smaller requests work
  kDevice = 8,           // the device is lost: nothing works until the process starts again
  kCancelled = 9,        // Window::cancel() ended the call
};

// Base of all errors of this library; `kind()` says which one it is.
class ZIPRERANK_API Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& text) : std::runtime_error(text), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

template <ErrorKind kKind>
class ZIPRERANK_API ErrorOf : public Error {
 public:
  explicit ErrorOf(const std::string& text) : Error(kKind, text) {}
};

using InvalidArgument = ErrorOf<ErrorKind::kInvalidArgument>;
using BundleError = ErrorOf<ErrorKind::kBundle>;
using PoolError = ErrorOf<ErrorKind::kPool>;
using ProviderError = ErrorOf<ErrorKind::kProvider>;
using RuntimeFailure = ErrorOf<ErrorKind::kRuntime>;
using OutOfDeviceMemory = ErrorOf<ErrorKind::kMemory>;
using DeviceLost = ErrorOf<ErrorKind::kDevice>;
using Cancelled = ErrorOf<ErrorKind::kCancelled>;

}  // namespace ziprerank

#endif  // ZIPRERANK_ERRORS_HPP_
