// The inputs and outputs that a bundle's graphs must have (docs/bundle.md, graphs).
#ifndef ZIPRERANK_SIGNATURE_HPP_
#define ZIPRERANK_SIGNATURE_HPP_

#include <string>

#include "ort/ort.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {

// BundleError unless vision.onnx, loaded from `file`, has the contract's tensors: their names, types, ranks
// and fixed sizes. `dtype` is the bundle's precision.
void CheckVisionSignature(const std::string& file, const Ort::Session& session, const EngineInfo& info,
                          ONNXTensorElementDataType dtype);

// The same for relate.onnx.
void CheckRelateSignature(const std::string& file, const Ort::Session& session, const EngineInfo& info,
                          ONNXTensorElementDataType dtype);

// The same for rerank.onnx.
void CheckRerankSignature(const std::string& file, const Ort::Session& session, const EngineInfo& info,
                          ONNXTensorElementDataType dtype);

}  // namespace ziprerank

#endif  // ZIPRERANK_SIGNATURE_HPP_
