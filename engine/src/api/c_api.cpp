// The C ABI: opaque handles over the C++ API. No exception leaves a function.
#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "api/handles.hpp"
#include "api/page_count.hpp"
#include "base/text.hpp"
#include "ziprerank/engine.hpp"
#include "ziprerank/ziprerank.h"

namespace {

using ziprerank::Engine;
using ziprerank::Handles;
using ziprerank::InvalidArgument;
using ziprerank::Text;
using ziprerank::Window;
using ziprerank::WindowScores;

constexpr size_t kMostTokens = size_t{1} << 20;  // of a prompt, which no model reads

struct OpenEngine {
  Engine engine;
  std::string provider;  // "cuda:1", of which zr_info shows a view
};

// The tables are never destroyed: a program may free handles at its end.
auto& kErrors = *new Handles<zr_error, std::string>;
auto& kEngines = *new Handles<zr_engine, OpenEngine>;
auto& kWindows = *new Handles<zr_window, Window>;
auto& kScores = *new Handles<zr_scores, WindowScores>;

zr_status Report(zr_status status, const char* text, zr_error** error) noexcept {
  if (error != nullptr) {
    try {
      *error = kErrors.Add(std::make_shared<std::string>(text));
    } catch (...) {
      *error = nullptr;  // no memory for the text: the status still tells
    }
  }
  return status;
}

template <typename Body>
zr_status Guard(zr_error** error, Body&& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    body();
    return ZR_OK;
  } catch (const ziprerank::Error& failure) {
    return Report(static_cast<zr_status>(failure.kind()), failure.what(), error);
  } catch (const std::exception& failure) {
    return Report(ZR_INTERNAL, failure.what(), error);
  } catch (...) {
    return Report(ZR_INTERNAL, "unknown failure", error);
  }
}

void Require(const void* pointer, const char* name) {
  if (pointer == nullptr) throw InvalidArgument(Text(name, " is NULL"));
}

// What a handle stands for.
template <typename Handle, typename Object>
std::shared_ptr<Object> Use(const Handles<Handle, Object>& handles, const Handle* handle, const char* name) {
  Require(handle, name);
  std::shared_ptr<Object> object = handles.Find(handle);
  if (object == nullptr) throw InvalidArgument(Text(name, " is no open handle: it was freed, or never made"));
  return object;
}

// `known`: the sizes that the struct has had, the oldest first.
void CheckStructSize(const char* name, size_t size, std::initializer_list<size_t> known) {
  if (std::find(known.begin(), known.end(), size) != known.end()) return;
  std::string sizes;
  for (const size_t one : known) sizes += Text(sizes.empty() ? "" : ", ", one);
  throw InvalidArgument(Text(name, ".struct_size is ", size, ", this library knows ", sizes,
                             ": set it to sizeof(zr_", name, "), and load a library as new as the header"));
}

}  // namespace

extern "C" {

const char* zr_version(void) { return ZIPRERANK_VERSION; }

const char* zr_error_message(const zr_error* error) {
  const std::shared_ptr<std::string> text = kErrors.Find(error);
  return text == nullptr ? "" : text->c_str();
}

void zr_error_free(zr_error* error) { kErrors.Remove(error); }

zr_status zr_engine_create(const zr_options* options, zr_engine** engine, zr_error** error) {
  return Guard(error, [&] {
    Require(engine, "engine");
    *engine = nullptr;
    Require(options, "options");
    CheckStructSize("options", options->struct_size,
                    {offsetof(zr_options, provider_library), offsetof(zr_options, blank), sizeof *options});
    zr_options given = ZR_OPTIONS_INIT;  // a caller of an older version knows fewer fields
    std::memcpy(&given, options, options->struct_size);
    Require(given.bundle, "options.bundle");
    Require(given.runtime_library, "options.runtime_library");
    ziprerank::EngineOptions out;
    out.bundle = given.bundle;
    out.runtime_library = given.runtime_library;
    if (given.provider != nullptr) {
      const ziprerank::ProviderChoice choice = ziprerank::ParseProvider(given.provider);
      out.provider = choice.provider;
      out.device_index = choice.device_index;
    }
    out.threads = given.threads;
    if (given.pool_bytes != 0) out.pool_bytes = given.pool_bytes;
    if (given.provider_library != nullptr) out.provider_library = given.provider_library;
    if (given.cache != nullptr) out.cache = given.cache;
    if (given.blank != nullptr) out.blank = ziprerank::ParseBlank(given.blank);
    Engine made(out);
    std::string provider = ziprerank::ProviderText({made.info().provider, made.info().device_index});
    *engine = kEngines.Add(std::shared_ptr<OpenEngine>(new OpenEngine{std::move(made), std::move(provider)}));
  });
}

void zr_engine_free(zr_engine* engine) {
  if (const auto open = kEngines.Remove(engine)) open->engine.close();
}

zr_status zr_engine_info(const zr_engine* engine, zr_info* info, zr_error** error) {
  return Guard(error, [&] {
    const auto open = Use(kEngines, engine, "engine");
    Require(info, "info");
    CheckStructSize("info", info->struct_size,
                    {offsetof(zr_info, provider), offsetof(zr_info, row_bytes), offsetof(zr_info, drop_blank),
                     sizeof *info});
    const ziprerank::EngineInfo& from = open->engine.info();
    zr_info out;
    std::memset(&out, 0, sizeof out);
    out.struct_size = info->struct_size;
    out.size_unit = from.patch_size * from.merge_size;
    out.max_pages = static_cast<int32_t>(from.letter_ids.size());
    out.image_pad_id = from.image_pad_id;
    out.keep_ratio = from.keep_ratio;
    out.window = from.window;
    out.stride = from.stride;
    out.pool_rows = from.pool_rows;
    out.provider = open->provider.c_str();
    out.device = from.device.c_str();
    out.prune_kernel = from.prune_kernel.c_str();
    out.row_bytes = from.row_bytes;
    out.drop_blank = from.drop_blank ? 1 : 0;
    std::memcpy(info, &out, info->struct_size);
  });
}

zr_status zr_window_open(zr_engine* engine, const zr_page_size* sizes, size_t count, zr_window** window,
                         zr_error** error) {
  return Guard(error, [&] {
    Require(window, "window");
    *window = nullptr;
    const auto open = Use(kEngines, engine, "engine");
    ziprerank::CheckPageCount(count, open->engine.info());
    Require(sizes, "sizes");
    std::vector<ziprerank::PageSize> pages;
    for (size_t i = 0; i < count; ++i) pages.push_back({sizes[i].height, sizes[i].width});
    *window = kWindows.Add(std::make_shared<Window>(open->engine.window(pages)));
  });
}

void zr_window_free(zr_window* window) {
  if (const auto open = kWindows.Remove(window)) open->close();
}

zr_status zr_window_encode(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height,
                           int32_t width, int32_t* hit, zr_error** error) {
  return Guard(error, [&] {
    const auto open = Use(kWindows, window, "window");
    const bool found = open->encode(slot, {pixels, height, width});
    if (hit != nullptr) *hit = found ? 1 : 0;
  });
}

zr_status zr_window_find(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height, int32_t width,
                         int32_t* found, zr_error** error) {
  return Guard(error, [&] {
    const auto open = Use(kWindows, window, "window");
    Require(found, "found");
    *found = open->find(slot, {pixels, height, width}) ? 1 : 0;
  });
}

zr_status zr_window_restore(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height,
                            int32_t width, const void* features, size_t bytes, int32_t* hit,
                            zr_error** error) {
  return Guard(error, [&] {
    const auto open = Use(kWindows, window, "window");
    Require(features, "features");
    const bool found =
        open->restore(slot, {pixels, height, width}, {static_cast<const std::byte*>(features), bytes});
    if (hit != nullptr) *hit = found ? 1 : 0;
  });
}

zr_status zr_window_features(zr_window* window, size_t slot, void* features, size_t bytes, zr_error** error) {
  return Guard(error, [&] {
    const auto open = Use(kWindows, window, "window");
    Require(features, "features");
    open->features(slot, {static_cast<std::byte*>(features), bytes});
  });
}

zr_status zr_window_tokens(zr_window* window, size_t slot, int64_t* tokens, zr_error** error) {
  return Guard(error, [&] {
    const auto open = Use(kWindows, window, "window");
    Require(tokens, "tokens");
    *tokens = open->tokens(slot);
  });
}

zr_status zr_window_score(zr_window* window, const int64_t* ids, const uint8_t* query_mask, size_t count,
                          double keep_ratio, zr_scores** scores, zr_error** error) {
  return Guard(error, [&] {
    Require(scores, "scores");
    *scores = nullptr;
    const auto open = Use(kWindows, window, "window");
    if (count > kMostTokens) throw InvalidArgument(Text(count, " ids, at most ", kMostTokens));
    if (count != 0) Require(ids, "ids");
    ziprerank::Prompt prompt;
    prompt.ids.assign(ids, ids + count);
    if (query_mask != nullptr) prompt.query_mask.assign(query_mask, query_mask + count);
    *scores = kScores.Add(std::make_shared<WindowScores>(open->score(prompt, keep_ratio)));
  });
}

zr_status zr_window_relate(zr_window* window, const int64_t* ids, size_t count, float* values,
                           zr_error** error) {
  return Guard(error, [&] {
    const auto open = Use(kWindows, window, "window");
    if (count > kMostTokens) throw InvalidArgument(Text(count, " ids, at most ", kMostTokens));
    if (count != 0) Require(ids, "ids");
    Require(values, "values");
    const std::vector<float> relevance = open->relate({ids, count});
    std::copy(relevance.begin(), relevance.end(), values);
  });
}

zr_status zr_window_cancel(zr_window* window, zr_error** error) {
  return Guard(error, [&] { Use(kWindows, window, "window")->cancel(); });
}

void zr_scores_free(zr_scores* scores) { kScores.Remove(scores); }

size_t zr_scores_count(const zr_scores* scores) {
  const auto result = kScores.Find(scores);
  return result == nullptr ? 0 : result->scores.size();
}

const float* zr_scores_values(const zr_scores* scores) {
  const auto result = kScores.Find(scores);
  return result == nullptr ? nullptr : result->scores.data();
}

const int64_t* zr_scores_kept(const zr_scores* scores, size_t slot, size_t* count) {
  const auto result = kScores.Find(scores);
  const bool there = result != nullptr && slot < result->kept.size();
  if (count != nullptr) *count = there ? result->kept[slot].size() : 0;
  return there ? result->kept[slot].data() : nullptr;
}

}  // extern "C"
