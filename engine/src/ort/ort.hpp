// ONNX Runtime's headers as this library uses them: nothing is linked, the API pointer is set by hand
// (runtime.cpp).
#ifndef ZIPRERANK_ORT_HPP_
#define ZIPRERANK_ORT_HPP_

#ifndef ORT_API_MANUAL_INIT
#define ORT_API_MANUAL_INIT
#endif
#include <onnxruntime_cxx_api.h>

namespace ziprerank {

// The lowest ONNX Runtime: API 23 is ORT 1.23. Nothing newer is called, whatever headers this is built with.
inline constexpr std::uint32_t kApiVersion = 23;

}  // namespace ziprerank

#endif  // ZIPRERANK_ORT_HPP_
