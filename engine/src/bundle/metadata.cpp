#include "bundle/metadata.hpp"

#include <algorithm>
#include <charconv>
#include <locale>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/text.hpp"

namespace ziprerank {
namespace {

constexpr int kFormatVersion = 2;
constexpr std::int64_t kMostId = INT32_MAX;

template <typename T>
bool ReadNumber(const char* first, const char* last, T* value) {
  const auto [end, error] = std::from_chars(first, last, *value);
  return error == std::errc() && end == last;
}

// std::from_chars reads no floating-point number in libc++ before version 20.
bool ReadNumber(const char* first, const char* last, double* value) {
  std::istringstream stream(std::string(first, last));
  stream.imbue(std::locale::classic());
  stream >> std::noskipws >> *value;
  return !stream.fail() && stream.peek() == std::istringstream::traits_type::eof();
}

// The `ziprerank.*` metadata of one graph.
class Metadata {
 public:
  Metadata(const std::string& file, const Ort::Session& session)
      : file_(file), model_(session.GetModelMetadata()) {}

  std::string Text(const char* key) const {
    const std::string name = std::string("ziprerank.") + key;
    const auto value = model_.LookupCustomMetadataMapAllocated(name.c_str(), allocator_);
    if (value == nullptr) {
      throw BundleError(ziprerank::Text(file_, " has no metadata ", name,
                                        ": it is not a ziprerank bundle, or a damaged one"));
    }
    return value.get();
  }

  template <typename T>
  T Number(const char* key) const {
    const std::string text = Text(key);
    return Parse<T>(key, text.data(), text.data() + text.size());
  }

  bool Has(const char* key) const {
    const std::string name = std::string("ziprerank.") + key;
    return model_.LookupCustomMetadataMapAllocated(name.c_str(), allocator_) != nullptr;
  }

  std::vector<std::int64_t> Numbers(const char* key) const {
    const std::string text = Text(key);
    std::vector<std::int64_t> values;
    const char* const end = text.data() + text.size();
    for (const char* first = text.data();;) {
      const char* last = std::find(first, end, ',');
      values.push_back(Parse<std::int64_t>(key, first, last));
      if (last == end) return values;
      first = last + 1;
    }
  }

 private:
  template <typename T>
  T Parse(const char* key, const char* first, const char* last) const {
    T value{};
    if (!ReadNumber(first, last, &value)) {
      throw BundleError(ziprerank::Text(file_, ": metadata ziprerank.", key, " is '",
                                        Excerpt(std::string(first, last)), "', not a number"));
    }
    return value;
  }

  std::string file_;
  Ort::ModelMetadata model_;
  Ort::AllocatorWithDefaultOptions allocator_;
};

void CheckVersion(const Metadata& metadata, const std::string& file) {
  const int version = metadata.Number<int>("format_version");
  if (version < 1 || version > kFormatVersion) {
    throw BundleError(Text(file, " has format version ", version, ", this engine reads 1 to ", kFormatVersion,
                           ": upgrade ziprerank, or export the bundle again"));
  }
}

void CheckRange(const std::string& file, const char* key, std::int64_t value, std::int64_t least,
                std::int64_t most) {
  if (value >= least && value <= most) return;
  throw BundleError(Text(file, ": metadata ziprerank.", key, " is ", value, ", outside ", least, " to ", most,
                         ": export the bundle again"));
}

void CheckInfo(const std::string& file, const EngineInfo& info) {
  CheckRange(file, "hidden_size", info.hidden_size, 1, 1 << 20);
  CheckRange(file, "levels", info.levels, 1, 256);
  CheckRange(file, "patch_size", info.patch_size, 1, 1024);
  CheckRange(file, "merge_size", info.merge_size, 1, 64);
  CheckRange(file, "vocab_size", info.vocab_size, 1, 1 << 24);
  const auto letters = static_cast<std::int64_t>(info.letter_ids.size());
  CheckRange(file, "letter_ids (how many)", letters, 1, info.pointwise() ? 1 : 26);
  for (const std::int64_t id : info.letter_ids) CheckRange(file, "letter_ids", id, 0, kMostId);
  CheckRange(file, "image_pad_id", info.image_pad_id, 0, kMostId);
  CheckRange(file, "vision_start_id", info.vision_start_id, 0, kMostId);
  CheckRange(file, "vision_end_id", info.vision_end_id, 0, kMostId);
  CheckRange(file, "video_pad_id", info.video_pad_id, 0, kMostId);
  CheckRange(file, "window", info.window, 1, letters);
  CheckRange(file, "stride", info.stride, 1, info.window);
  if (!(info.keep_ratio > 0 && info.keep_ratio <= 1)) {  // nor NaN
    throw BundleError(Text(file, ": metadata ziprerank.keep_ratio is ", info.keep_ratio,
                           ", outside 0 (excluded) to 1: export the bundle again"));
  }
}

void ReadInfo(const Metadata& metadata, const std::string& file, EngineInfo* info) {
  info->bundle_id = metadata.Text("bundle_id");
  info->precision = metadata.Text("precision");
  info->hidden_size = metadata.Number<std::int64_t>("hidden_size");
  info->levels = metadata.Number<std::int64_t>("levels");
  info->patch_size = metadata.Number<int>("patch_size");
  info->merge_size = metadata.Number<int>("merge_size");
  info->vocab_size = metadata.Number<std::int64_t>("vocab_size");
  info->letter_ids = metadata.Numbers("letter_ids");
  info->image_pad_id = metadata.Number<std::int64_t>("image_pad_id");
  info->vision_start_id = metadata.Number<std::int64_t>("vision_start_id");
  info->vision_end_id = metadata.Number<std::int64_t>("vision_end_id");
  info->video_pad_id = metadata.Number<std::int64_t>("video_pad_id");
  info->keep_ratio = metadata.Number<double>("keep_ratio");
  info->window = metadata.Number<int>("window");
  info->stride = metadata.Number<int>("stride");
  if (metadata.Has("blank")) {  // newer than format 1's first bundles, which keep all
    const std::string blank = metadata.Text("blank");
    if (blank != "drop" && blank != "keep") {
      throw BundleError(
          Text(file, ": metadata ziprerank.blank is '", Excerpt(blank), "', neither drop nor keep"));
    }
    info->drop_blank = blank == "drop";
  }
  if (metadata.Has("scoring")) {  // of format 2; without it, letters
    info->scoring = metadata.Text("scoring");
    if (info->scoring != "letters" && info->scoring != "yes_no") {
      throw BundleError(Text(file, ": metadata ziprerank.scoring is '", Excerpt(info->scoring),
                             "', neither letters nor yes_no"));
    }
  }
  CheckInfo(file, *info);
}

}  // namespace

void ReadMetadata(const std::string& vision_file, const Ort::Session& vision, const std::string& rerank_file,
                  const Ort::Session& rerank, EngineInfo* info) {
  const Metadata of_vision(vision_file, vision);
  const Metadata of_rerank(rerank_file, rerank);
  CheckVersion(of_vision, vision_file);
  CheckVersion(of_rerank, rerank_file);
  ReadInfo(of_rerank, rerank_file, info);
  if (of_vision.Text("bundle_id") != info->bundle_id) {
    throw BundleError(Text(vision_file, " is of bundle ", of_vision.Text("bundle_id"), ", ", rerank_file,
                           " of bundle ", info->bundle_id, ": the graphs of two exports were mixed"));
  }
}

void CheckSameBundle(const std::string& file, const Ort::Session& session, const EngineInfo& info) {
  const Metadata metadata(file, session);
  CheckVersion(metadata, file);
  if (metadata.Text("bundle_id") != info.bundle_id) {
    throw BundleError(Text(file, " is of bundle ", metadata.Text("bundle_id"),
                           ", its other graphs of bundle ", info.bundle_id,
                           ": the graphs of two exports were mixed"));
  }
}

}  // namespace ziprerank
