// The process's ONNX Runtime: loaded from a path, checked for its version, one environment for all engines.
#ifndef ZIPRERANK_RUNTIME_HPP_
#define ZIPRERANK_RUNTIME_HPP_

#include <string>
#include <vector>

#include "ort/ort.hpp"

namespace ziprerank {

class Runtime {
 public:
  // Loads `library` (the C++ wrappers hold one API pointer, so later calls must name the same library).
  // ProviderError when it cannot be loaded, is too old, is not the one that this process runs already, or may
  // have locks that a fork left locked.
  static const Runtime& Load(const std::string& library);

  const OrtApi* api() const { return api_; }
  Ort::Env& env() const { return env_; }  // ONNX Runtime guards it against calls side by side
  const std::string& library() const { return library_; }
  // Where the loaded library is, with the providers' own beside it; empty where the loader does not say.
  const std::string& folder() const { return folder_; }
  const std::string& version() const { return version_; }
  std::vector<std::string> providers() const;
  // Loads a library that brings the provider `name`, once in a process; the devices that it runs on.
  // Ort::Exception when it cannot be loaded.
  std::vector<Ort::ConstEpDevice> PluginDevices(const char* name, const std::string& library) const;

 private:
  Runtime(const OrtApiBase* base, const OrtApi* api, std::string library, std::string folder);

  const OrtApiBase* base_;
  const OrtApi* api_;
  std::string library_;
  std::string folder_;
  std::string version_;
  mutable Ort::Env env_{nullptr};
};

}  // namespace ziprerank

#endif  // ZIPRERANK_RUNTIME_HPP_
