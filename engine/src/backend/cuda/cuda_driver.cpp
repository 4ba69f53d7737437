#include "backend/cuda/cuda_driver.hpp"

#include <dlfcn.h>

#include <cstdlib>

#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

constexpr const char* kVariable = "ZIPRERANK_CUDA_DRIVER";

void* Open(const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    throw ProviderError(Text("the NVIDIA driver's library cannot be loaded (", dlerror(),
                             "): install the driver, or let ", kVariable, " name the library"));
  }
  return handle;
}

}  // namespace

std::string CudaDriver::Library() {
  const char* named = std::getenv(kVariable);
  return named != nullptr && *named != '\0' ? named : "libcuda.so.1";
}

CudaDriver::CudaDriver(const std::string& library) : library_(library), handle_(Open(library)) {
  try {
    init(0);
  } catch (const RuntimeFailure& error) {
    throw ProviderError(Text("no NVIDIA GPU can be used: ", error.what()));
  }
}

void* CudaDriver::Find(const char* name) const {
  void* found = dlsym(handle_, name);
  if (found == nullptr) {
    throw ProviderError(Text(library_, " has no ", name,
                             ": it is no NVIDIA driver, or one older than CUDA 12; install a newer driver"));
  }
  return found;
}

void CudaDriver::Fail(const char* name, int status) const {
  const auto get_text = reinterpret_cast<int (*)(int, const char**)>(Find("cuGetErrorString"));
  const char* text = nullptr;
  if (get_text(status, &text) != 0 || text == nullptr) text = "a status without a text";
  throw RuntimeFailure(Text(name, " failed: ", text, " (", status, ")"));
}

}  // namespace ziprerank
