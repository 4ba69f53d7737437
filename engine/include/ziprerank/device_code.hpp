// For which GPUs a shared library holds code, such as ONNX Runtime's CUDA provider.
#ifndef ZIPRERANK_DEVICE_CODE_HPP_
#define ZIPRERANK_DEVICE_CODE_HPP_

#include <string>
#include <vector>

#include "ziprerank/errors.hpp"

namespace ziprerank {

// Compute capabilities, 90 for 9.0, ascending.
struct DeviceCode {
  std::vector<int> machine;  // of machine code
  std::vector<int> ptx;      // of PTX, which the driver compiles for newer GPUs

  // Whether a GPU of `capability` can run some of it; true where there is none, since nothing is known then.
  // Machine code runs on its own capability and on newer ones of the same major version, but on Jetson (7.2
  // and 8.7) only on its own; PTX runs on its own capability and on all newer ones.
  ZIPRERANK_API bool runs_on(int capability) const;
  // "8.0, 9.0 and PTX of 11.0"; "none".
  ZIPRERANK_API std::string text() const;
  // Where GPU `index` of `capability` cannot run it, what an onnxruntime-gpu with this code lacks, and the
  // way out; else empty.
  ZIPRERANK_API std::string lack(int capability, int index) const;
};

// What `library` holds; nothing where it cannot be read, is no 64-bit ELF file or has no code for GPUs.
ZIPRERANK_API DeviceCode ReadDeviceCode(const std::string& library);

}  // namespace ziprerank

#endif  // ZIPRERANK_DEVICE_CODE_HPP_
