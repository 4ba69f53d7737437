// The C ABI: opaque handles over the C++ API. No exception leaves a function.
#include <algorithm>
#include <cstring>
#include <string>

#include "base/text.hpp"
#include "ziprerank/engine.hpp"
#include "ziprerank/ziprerank.h"

struct zr_error {
  std::string text;
};
struct zr_engine {
  ziprerank::Engine engine;
  std::string provider;  // "cuda:1", of which zr_info shows a view
};
struct zr_window {
  ziprerank::Window window;
};
struct zr_scores {
  ziprerank::WindowScores scores;
};

namespace {

using ziprerank::InvalidArgument;
using ziprerank::Text;

zr_status Report(zr_status status, const char* text, zr_error** error) noexcept {
  if (error != nullptr) {
    try {
      *error = new zr_error{text};
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

}  // namespace

extern "C" {

const char* zr_version(void) { return ZIPRERANK_VERSION; }

const char* zr_error_message(const zr_error* error) { return error == nullptr ? "" : error->text.c_str(); }

void zr_error_free(zr_error* error) { delete error; }

zr_status zr_engine_create(const zr_options* options, zr_engine** engine, zr_error** error) {
  return Guard(error, [&] {
    Require(engine, "engine");
    *engine = nullptr;
    Require(options, "options");
    zr_options given =
        ZR_OPTIONS_INIT;  // a caller of an older version knows fewer fields, of a newer one more
    if (options->struct_size <= offsetof(zr_options, runtime_library)) {
      throw InvalidArgument(
          Text("options.struct_size is ", options->struct_size, ": start from ZR_OPTIONS_INIT"));
    }
    std::memcpy(&given, options, std::min(options->struct_size, sizeof given));
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
    ziprerank::Engine made(out);
    std::string provider = ziprerank::ProviderText({made.info().provider, made.info().device_index});
    *engine = new zr_engine{std::move(made), std::move(provider)};
  });
}

void zr_engine_free(zr_engine* engine) { delete engine; }

zr_status zr_engine_info(const zr_engine* engine, zr_info* info, zr_error** error) {
  return Guard(error, [&] {
    Require(engine, "engine");
    Require(info, "info");
    const ziprerank::EngineInfo& from = engine->engine.info();
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
    out.provider = engine->provider.c_str();
    out.device = from.device.c_str();
    out.prune_kernel = from.prune_kernel.c_str();
    out.row_bytes = from.row_bytes;
    out.drop_blank = from.drop_blank ? 1 : 0;
    std::memcpy(info, &out, std::min(info->struct_size, sizeof out));
  });
}

zr_status zr_window_open(zr_engine* engine, const zr_page_size* sizes, size_t count, zr_window** window,
                         zr_error** error) {
  return Guard(error, [&] {
    Require(window, "window");
    *window = nullptr;
    Require(engine, "engine");
    if (count != 0) Require(sizes, "sizes");
    std::vector<ziprerank::PageSize> pages;
    for (size_t i = 0; i < count; ++i) pages.push_back({sizes[i].height, sizes[i].width});
    *window = new zr_window{engine->engine.window(pages)};
  });
}

void zr_window_free(zr_window* window) { delete window; }

zr_status zr_window_encode(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height,
                           int32_t width, int32_t* hit, zr_error** error) {
  return Guard(error, [&] {
    Require(window, "window");
    const bool found = window->window.encode(slot, {pixels, height, width});
    if (hit != nullptr) *hit = found ? 1 : 0;
  });
}

zr_status zr_window_find(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height, int32_t width,
                         int32_t* found, zr_error** error) {
  return Guard(error, [&] {
    Require(window, "window");
    Require(found, "found");
    *found = window->window.find(slot, {pixels, height, width}) ? 1 : 0;
  });
}

zr_status zr_window_restore(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height,
                            int32_t width, const void* features, size_t bytes, int32_t* hit,
                            zr_error** error) {
  return Guard(error, [&] {
    Require(window, "window");
    Require(features, "features");
    const bool found = window->window.restore(slot, {pixels, height, width},
                                              {static_cast<const std::byte*>(features), bytes});
    if (hit != nullptr) *hit = found ? 1 : 0;
  });
}

zr_status zr_window_features(zr_window* window, size_t slot, void* features, size_t bytes, zr_error** error) {
  return Guard(error, [&] {
    Require(window, "window");
    Require(features, "features");
    window->window.features(slot, {static_cast<std::byte*>(features), bytes});
  });
}

zr_status zr_window_tokens(zr_window* window, size_t slot, int64_t* tokens, zr_error** error) {
  return Guard(error, [&] {
    Require(window, "window");
    Require(tokens, "tokens");
    *tokens = window->window.tokens(slot);
  });
}

zr_status zr_window_score(zr_window* window, const int64_t* ids, const uint8_t* query_mask, size_t count,
                          double keep_ratio, zr_scores** scores, zr_error** error) {
  return Guard(error, [&] {
    Require(scores, "scores");
    *scores = nullptr;
    Require(window, "window");
    if (count != 0) Require(ids, "ids");
    ziprerank::Prompt prompt;
    prompt.ids.assign(ids, ids + count);
    if (query_mask != nullptr) prompt.query_mask.assign(query_mask, query_mask + count);
    *scores = new zr_scores{window->window.score(prompt, keep_ratio)};
  });
}

void zr_scores_free(zr_scores* scores) { delete scores; }

size_t zr_scores_count(const zr_scores* scores) { return scores->scores.scores.size(); }

const float* zr_scores_values(const zr_scores* scores) { return scores->scores.scores.data(); }

const int64_t* zr_scores_kept(const zr_scores* scores, size_t slot, size_t* count) {
  const bool there = slot < scores->scores.kept.size();
  *count = there ? scores->scores.kept[slot].size() : 0;
  return there ? scores->scores.kept[slot].data() : nullptr;
}

}  // extern "C"
