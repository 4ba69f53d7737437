// The metadata of a bundle's graphs (docs/bundle.md, metadata).
#ifndef ZIPRERANK_METADATA_HPP_
#define ZIPRERANK_METADATA_HPP_

#include <string>

#include "ort/ort.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {

// Reads the metadata `ziprerank.*` of both graphs, loaded from these files, into `info`. BundleError if an
// entry is missing or wrong, if the format is newer than this engine reads, or if the graphs are of two
// exports.
void ReadMetadata(const std::string& vision_file, const Ort::Session& vision, const std::string& rerank_file,
                  const Ort::Session& rerank, EngineInfo* info);

// BundleError unless the metadata of another graph say that it is of the bundle that `info` describes.
void CheckSameBundle(const std::string& file, const Ort::Session& session, const EngineInfo& info);

}  // namespace ziprerank

#endif  // ZIPRERANK_METADATA_HPP_
