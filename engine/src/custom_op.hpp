// ziprerank::QueryImagePrune as an ONNX Runtime custom op, for any session of any ONNX Runtime in the
// process.
#ifndef ZIPRERANK_CUSTOM_OP_HPP_
#define ZIPRERANK_CUSTOM_OP_HPP_

#include "ort.hpp"

namespace ziprerank {

// The lowest ONNX Runtime: API 23 is ORT 1.23. Nothing newer is called, whatever headers this is built with.
inline constexpr std::uint32_t kApiVersion = 23;

// Adds the op's domain to session options of the runtime that `api` belongs to.
OrtStatus* AddPruneOp(OrtSessionOptions* options, const OrtApi* api);

}  // namespace ziprerank

#endif  // ZIPRERANK_CUSTOM_OP_HPP_
