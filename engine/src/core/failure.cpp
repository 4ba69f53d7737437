#include "core/failure.hpp"

#include "base/text.hpp"

namespace ziprerank {

bool IsOutOfMemory(std::string_view text) {
  // of the driver and CUDA's runtime; of ONNX Runtime's arena, in two versions of its words
  for (const std::string_view words :
       {"out of memory", "Failed to allocate memory", "cudaErrorMemoryAllocation", "CUDA failure 2:"}) {
    if (text.find(words) != std::string_view::npos) return true;
  }
  return false;
}

void Failures::CheckUsable() const {
  const std::lock_guard lock(mutex_);
  if (!lost_.empty()) throw DeviceLost(lost_);
}

void Failures::Explain(const RuntimeFailure& error, Backend* backend, const Request& request) {
  std::optional<DeviceMemory> memory;
  try {
    memory = backend->Probe();
  } catch (const RuntimeFailure& probe) {
    const std::lock_guard lock(mutex_);
    if (lost_.empty()) {
      lost_ =
          Text("the GPU is lost since ", request.what, " (", error.what(), "), and answers ", probe.what(),
               ": start the process again; where that fails too, see nvidia-smi and the kernel's log");
    }
    throw DeviceLost(lost_);
  }
  if (!IsOutOfMemory(error.what())) throw error;
  const std::string room =
      memory ? Text(memory->device, " has, where ", memory->free, " of ", memory->total, " bytes are free")
             : std::string("there is");
  throw OutOfDeviceMemory(
      Text(request.what, " needs more memory than ", room, " (", error.what(), "): ", request.way_out));
}

}  // namespace ziprerank
