// The Python module `ziprerank._engine`: Engine, Window and WindowScores, and nothing else (_engine.pyi).
#include <dlfcn.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <ziprerank/ziprerank.h>

#include <ziprerank/engine.hpp>

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Pixels = nb::ndarray<const std::uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using WritableBytes = nb::ndarray<std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Ids = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Mask = nb::ndarray<const bool, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

const char* ClassOf(ziprerank::ErrorKind kind) {
  switch (kind) {
    case ziprerank::ErrorKind::kInvalidArgument:
      return "InvalidInput";
    case ziprerank::ErrorKind::kBundle:
      return "BundleError";
    case ziprerank::ErrorKind::kPool:
      return "PoolError";
    case ziprerank::ErrorKind::kProvider:
      return "ProviderError";
    case ziprerank::ErrorKind::kRuntime:
      return "EngineError";
  }
  return "EngineError";
}

// An engine's error as the class of the same meaning in ziprerank.errors, looked up when it is thrown.
void Translate(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const ziprerank::Error& error) {
    const nb::object type = nb::module_::import_("ziprerank.errors").attr(ClassOf(error.kind()));
    PyErr_SetString(type.ptr(), error.what());
  }
}

// A NumPy array that owns `values`.
template <typename T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> ToArray(std::vector<T> values) {
  auto* kept = new std::vector<T>(std::move(values));
  const nb::capsule owner(kept, [](void* data) noexcept { delete static_cast<std::vector<T>*>(data); });
  return {kept->data(), {kept->size()}, owner};
}

nb::dict ToDict(const ziprerank::EngineInfo& info) {
  nb::dict out;
  out["bundle"] = info.bundle;
  out["bundle_id"] = info.bundle_id;
  out["precision"] = info.precision;
  out["provider"] = info.provider;
  out["runtime_library"] = info.runtime_library;
  out["runtime_version"] = info.runtime_version;
  out["prune_kernel"] = info.prune_kernel;
  out["plan"] = info.plan;
  out["device"] = info.device;
  out["compute_capability"] = info.compute_capability;
  out["driver_library"] = info.driver_library;
  out["threads"] = info.threads;
  out["hidden_size"] = info.hidden_size;
  out["levels"] = info.levels;
  out["patch_size"] = info.patch_size;
  out["merge_size"] = info.merge_size;
  out["vocab_size"] = info.vocab_size;
  out["letter_ids"] = info.letter_ids;
  out["image_pad_id"] = info.image_pad_id;
  out["vision_start_id"] = info.vision_start_id;
  out["vision_end_id"] = info.vision_end_id;
  out["video_pad_id"] = info.video_pad_id;
  out["keep_ratio"] = info.keep_ratio;
  out["window"] = info.window;
  out["stride"] = info.stride;
  out["drop_blank"] = info.drop_blank;
  out["pool_rows"] = info.pool_rows;
  out["pool_bytes"] = info.pool_bytes;
  out["row_bytes"] = info.row_bytes;
  return out;
}

nb::dict ToDict(const ziprerank::PoolStats& stats) {
  nb::dict out;
  out["rows"] = stats.rows;
  out["used_rows"] = stats.used_rows;
  out["pinned_rows"] = stats.pinned_rows;
  out["pages"] = stats.pages;
  out["hits"] = stats.hits;
  out["misses"] = stats.misses;
  out["evictions"] = stats.evictions;
  return out;
}

nb::dict ToDict(const ziprerank::EngineProfile& profile) {
  nb::list stages;
  for (const auto& stage : profile.stages) {
    stages.append(nb::make_tuple(stage.stage, stage.start_ns, stage.end_ns, stage.thread));
  }
  nb::list graphs;
  for (const auto& graph : profile.graphs) {
    graphs.append(nb::make_tuple(graph.graph, graph.file, graph.start_ns));
  }
  nb::dict out;
  out["stages"] = stages;
  out["graphs"] = graphs;
  return out;
}

ziprerank::Window OpenWindow(ziprerank::Engine& engine, const std::vector<std::pair<int, int>>& sizes) {
  std::vector<ziprerank::PageSize> pages;
  for (const auto& [height, width] : sizes) pages.push_back({height, width});
  const nb::gil_scoped_release release;
  return engine.window(pages, [] {  // Ctrl-C ends the wait
    const nb::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  });
}

ziprerank::ImageView View(const Pixels& pixels) {
  return {pixels.data(), static_cast<int>(pixels.shape(0)), static_cast<int>(pixels.shape(1))};
}

bool Encode(ziprerank::Window& window, std::size_t slot, const Pixels& pixels) {
  const ziprerank::ImageView image = View(pixels);
  const nb::gil_scoped_release release;
  return window.encode(slot, image);
}

bool Find(ziprerank::Window& window, std::size_t slot, const Pixels& pixels) {
  const ziprerank::ImageView image = View(pixels);
  const nb::gil_scoped_release release;
  return window.find(slot, image);
}

bool Restore(ziprerank::Window& window, std::size_t slot, const Pixels& pixels, const Bytes& features) {
  const ziprerank::ImageView image = View(pixels);
  const std::span bytes(reinterpret_cast<const std::byte*>(features.data()), features.size());
  const nb::gil_scoped_release release;
  return window.restore(slot, image, bytes);
}

void Features(ziprerank::Window& window, std::size_t slot, const WritableBytes& out) {
  const std::span bytes(reinterpret_cast<std::byte*>(out.data()), out.size());
  const nb::gil_scoped_release release;
  window.features(slot, bytes);
}

ziprerank::WindowScores Score(ziprerank::Window& window, const Ids& ids, const std::optional<Mask>& mask,
                              double keep_ratio) {
  ziprerank::Prompt prompt;
  prompt.ids.assign(ids.data(), ids.data() + ids.size());
  if (mask && mask->size() != ids.size()) {
    throw ziprerank::InvalidArgument("query_mask has " + std::to_string(mask->size()) + " entries for " +
                                     std::to_string(ids.size()) + " text_ids: give one per token, or None");
  }
  if (mask) prompt.query_mask.assign(mask->data(), mask->data() + mask->size());
  const nb::gil_scoped_release release;
  return window.score(prompt, keep_ratio);
}

// Where the loaded libziprerank.so is, for sessions of plain ONNX Runtime (register_custom_ops_library).
std::string Library() {
  Dl_info found;
  if (dladdr(reinterpret_cast<void*>(&zr_version), &found) == 0) {
    throw ziprerank::RuntimeFailure("libziprerank.so cannot be located in this process");
  }
  return found.dli_fname;
}

}  // namespace

NB_MODULE(_engine, module) {
  using ziprerank::Engine;
  using ziprerank::Window;
  using ziprerank::WindowScores;
  nb::set_leak_warnings(false);  // a program may keep its engine in a global until it ends
  nb::register_exception_translator(Translate);

  nb::class_<WindowScores>(module, "WindowScores")
      .def_prop_ro("scores", [](const WindowScores& self) { return nb::cast(ToArray(self.scores)); })
      .def_prop_ro("kept",
                   [](const WindowScores& self) {
                     nb::list pages;
                     for (const auto& page : self.kept) pages.append(ToArray(page));
                     return pages;
                   })
      .def_ro("text_tokens", &WindowScores::text_tokens)
      .def_ro("visual_tokens", &WindowScores::visual_tokens)
      .def_ro("blank_tokens", &WindowScores::blank_tokens)
      .def_ro("kept_tokens", &WindowScores::kept_tokens)
      .def_ro("layout_ms", &WindowScores::layout_ms)
      .def_ro("encode_ms", &WindowScores::encode_ms)
      .def_ro("rerank_ms", &WindowScores::rerank_ms);

  nb::class_<Window>(module, "Window")
      .def("encode", Encode, "slot"_a, "pixels"_a.noconvert())
      .def("find", Find, "slot"_a, "pixels"_a.noconvert())
      .def("restore", Restore, "slot"_a, "pixels"_a.noconvert(), "features"_a.noconvert())
      .def("tokens", &Window::tokens, "slot"_a)
      .def("features", Features, "slot"_a, "out"_a.noconvert())
      .def("score", Score, "text_ids"_a.noconvert(), nb::arg("query_mask").noconvert().none(), "keep_ratio"_a)
      .def("close", &Window::close, nb::call_guard<nb::gil_scoped_release>());

  nb::class_<Engine>(module, "Engine")
      .def(
          "__init__",
          [](Engine* self, std::string bundle, std::string runtime_library, std::string provider, int threads,
             std::size_t pool_bytes, std::string profile, std::string provider_library, std::string cache,
             std::string blank) {
            const nb::gil_scoped_release release;
            new (self) Engine({std::move(bundle), std::move(runtime_library), std::move(provider), threads,
                               pool_bytes, std::move(profile), std::move(provider_library), std::move(cache),
                               std::move(blank)});
          },
          "bundle"_a, "runtime_library"_a, "provider"_a = "cpu", "threads"_a = 0,
          "pool_bytes"_a = std::size_t{1} << 30, "profile"_a = "", "provider_library"_a = "", "cache"_a = "",
          "blank"_a = "")
      .def("window", OpenWindow, "sizes"_a)
      .def("end_profile", [](Engine& self) { return ToDict(self.end_profile()); })
      .def_prop_ro("info", [](const Engine& self) { return ToDict(self.info()); })
      .def_prop_ro("pool", [](const Engine& self) { return ToDict(self.pool_stats()); });

  module.def("library", Library);
}
