#include "ort/runtime.hpp"

#include <dlfcn.h>
#include <stdlib.h>  // setenv, which is POSIX

#include <filesystem>
#include <mutex>
#include <set>

#include "base/fork.hpp"
#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

struct Opened {
  const OrtApiBase* base;
  std::string folder;
};

Opened OpenLibrary(const std::string& library) {
  if (library.empty()) throw ProviderError("runtime_library is empty: give the path of libonnxruntime");
  // From 1.32 on its wheels report to a host unless this is set before they are loaded.
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    throw ProviderError(Text("ONNX Runtime cannot be loaded (", dlerror(),
                             "): install onnxruntime 1.23 or newer, or give its path"));
  }
  using GetApiBase = const OrtApiBase* (*)();
  const auto get_api_base = reinterpret_cast<GetApiBase>(dlsym(handle, "OrtGetApiBase"));
  if (get_api_base == nullptr) {
    dlclose(handle);
    throw ProviderError(Text(library, " is no ONNX Runtime: it has no OrtGetApiBase"));
  }
  Dl_info found{};
  const bool known = dladdr(reinterpret_cast<void*>(get_api_base), &found) != 0 && found.dli_fname != nullptr;
  // the handle stays open: ONNX Runtime is never unloaded
  return {get_api_base(), known ? std::filesystem::path(found.dli_fname).parent_path().string() : ""};
}

}  // namespace

Runtime::Runtime(const OrtApiBase* base, const OrtApi* api, std::string library, std::string folder)
    : base_(base),
      api_(api),
      library_(std::move(library)),
      folder_(std::move(folder)),
      version_(base->GetVersionString()) {
  Ort::InitApi(api);
  env_ = Ort::Env(ORT_LOGGING_LEVEL_ERROR, "ziprerank");
  // One arena for the vision and the rerank session, which never need their memory at the same time; it grows
  // by what is asked for (1), since doubling would cost up to twice the memory.
  const Ort::ArenaCfg arena(0, 1, -1, -1);
  env_.CreateAndRegisterAllocator(Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault), arena);
}

const Runtime& Runtime::Load(const std::string& library) {
  CheckRuntimeLocks();
  static std::mutex mutex;
  static const Runtime* loaded = nullptr;  // never destroyed: sessions may outlive every static object
  const std::lock_guard lock(mutex);
  const auto [base, folder] = OpenLibrary(library);
  if (loaded != nullptr && loaded->base_ == base) return *loaded;
  const OrtApi* api = base->GetApi(kApiVersion);
  if (api == nullptr) {
    throw ProviderError(
        Text("ONNX Runtime ", base->GetVersionString(), " (", library,
             ") is too old: needs 1.23 or newer, upgrade it with pip install -U onnxruntime"));
  }
  if (loaded != nullptr) {
    throw ProviderError(Text("this process runs ONNX Runtime ", loaded->version_, " from ", loaded->library_,
                             "; ", library, " cannot be used beside it: use one library per process"));
  }
  try {
    loaded = new Runtime(base, api, library, folder);
  } catch (const Ort::Exception& error) {
    throw ProviderError(Text("ONNX Runtime ", base->GetVersionString(), " does not start: ", error.what()));
  }
  return *loaded;
}

std::vector<std::string> Runtime::providers() const { return Ort::GetAvailableProviders(); }

std::vector<Ort::ConstEpDevice> Runtime::PluginDevices(const char* name, const std::string& library) const {
  static std::mutex mutex;
  static std::set<std::string> registered;
  const auto devices = [&] {
    std::vector<Ort::ConstEpDevice> found;
    for (const Ort::ConstEpDevice& device : env_.GetEpDevices()) {
      if (device.EpName() == std::string(name)) found.push_back(device);
    }
    return found;
  };
  const std::lock_guard lock(mutex);
  // the host program may have registered it itself: the environment is the process's
  if (const auto found = devices(); !found.empty() || registered.count(name) > 0) return found;
  env_.RegisterExecutionProviderLibrary(name, library);
  registered.insert(name);
  return devices();
}

}  // namespace ziprerank
