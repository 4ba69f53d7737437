// The operators of the domain `ziprerank` for the CPU, for any session of any ONNX Runtime in the process.
#ifndef ZIPRERANK_CUSTOM_OP_HPP_
#define ZIPRERANK_CUSTOM_OP_HPP_

#include "ort/ort.hpp"

namespace ziprerank {

// Adds the domain to session options of the runtime that `api` belongs to.
OrtStatus* AddCpuOps(OrtSessionOptions* options, const OrtApi* api);

}  // namespace ziprerank

#endif  // ZIPRERANK_CUSTOM_OP_HPP_
