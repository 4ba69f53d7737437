// The graphs of a bundle: loaded, their metadata read, their inputs and outputs checked (docs/bundle.md).
#ifndef ZIPRERANK_BUNDLE_HPP_
#define ZIPRERANK_BUNDLE_HPP_

#include <string>

#include "backend/backend.hpp"
#include "ort/runtime.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {

struct Bundle {
  Ort::Session vision{nullptr};
  Ort::Session rerank{nullptr};
  ONNXTensorElementDataType dtype = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  std::size_t element_bytes = 0;
};

// Loads vision.onnx and rerank.onnx for a backend, which outlives the bundle, and fills in what `info` says
// about them. `threads` is not 0. `profile`, if not empty, is the prefix of the profiles that ONNX Runtime
// writes. BundleError names the file and what is wrong with it.
Bundle LoadBundle(const Runtime& runtime, Backend& backend, const std::string& directory, int threads,
                  const std::string& profile, EngineInfo* info);

// Loads relate.onnx of the same bundle. BundleError if the bundle has none for this backend.
Ort::Session LoadRelate(const Runtime& runtime, Backend& backend, const EngineInfo& info,
                        ONNXTensorElementDataType dtype);

}  // namespace ziprerank

#endif  // ZIPRERANK_BUNDLE_HPP_
