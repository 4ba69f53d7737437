// ONNX Runtime's headers as this library uses them: nothing is linked, the API pointer is set by hand
// (runtime.cpp).
#ifndef ZIPRERANK_ORT_HPP_
#define ZIPRERANK_ORT_HPP_

#ifndef ORT_API_MANUAL_INIT
#define ORT_API_MANUAL_INIT
#endif
#include <onnxruntime_cxx_api.h>

#endif  // ZIPRERANK_ORT_HPP_
