// The process's ONNX Runtime: loaded from a path, checked for its version, one environment for all engines.
#ifndef ZIPRERANK_RUNTIME_HPP_
#define ZIPRERANK_RUNTIME_HPP_

#include <string>
#include <vector>

#include "ort.hpp"

namespace ziprerank {

class Runtime {
 public:
  // Loads `library` (the C++ wrappers hold one API pointer, so later calls must name the same library).
  // ProviderError when it cannot be loaded, is too old, or is not the one that this process runs already.
  static const Runtime& Load(const std::string& library);

  const OrtApi* api() const { return api_; }
  const Ort::Env& env() const { return env_; }
  const std::string& library() const { return library_; }
  const std::string& version() const { return version_; }
  std::vector<std::string> providers() const;

 private:
  Runtime(const OrtApiBase* base, const OrtApi* api, std::string library);

  const OrtApiBase* base_;
  const OrtApi* api_;
  std::string library_;
  std::string version_;
  Ort::Env env_{nullptr};
};

}  // namespace ziprerank

#endif  // ZIPRERANK_RUNTIME_HPP_
