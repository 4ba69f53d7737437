// The Python module `ziprerank._engine`: Engine, Window, WindowScores, and what else the package asks of the
// library. nanobind's stub generator makes _engine.pyi from the signatures and docstrings here
// (tests/engine/test_stub.py says how).
#include <dlfcn.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <ziprerank/ziprerank.h>

#include <cstring>
#include <ziprerank/device_code.hpp>
#include <ziprerank/engine.hpp>

#include "calls.hpp"

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
    case ziprerank::ErrorKind::kMemory:
      return "DeviceMemoryError";
    case ziprerank::ErrorKind::kDevice:
      return "DeviceLost";
    case ziprerank::ErrorKind::kCancelled:
      return "Cancelled";
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
  out["provider"] = ziprerank::ProviderText({info.provider, info.device_index});
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
  out["scoring"] = info.scoring;
  out["image_pad_id"] = info.image_pad_id;
  out["vision_start_id"] = info.vision_start_id;
  out["vision_end_id"] = info.vision_end_id;
  out["video_pad_id"] = info.video_pad_id;
  out["keep_ratio"] = info.keep_ratio;
  out["window"] = info.window;
  out["stride"] = info.stride;
  out["drop_blank"] = info.drop_blank;
  out["relates"] = info.relates;
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

ziprerank::Window OpenWindow(ziprerank::Engine& engine, const std::vector<std::pair<int, int>>& sizes,
                             const std::string& owner) {
  const ziprerank::Call call;
  std::vector<ziprerank::PageSize> pages;
  for (const auto& [height, width] : sizes) pages.push_back({height, width});
  const nb::gil_scoped_release release;
  try {
    return engine.window(
        pages,
        [] {
          ziprerank::interpreter.CheckOver();
          const nb::gil_scoped_acquire acquire;
          if (PyErr_CheckSignals() != 0) throw nb::python_error();  // Ctrl-C ends the wait
        },
        owner);
  } catch (const ziprerank::Interpreter::IsOver&) {
    call.Stop();
  }
}

ziprerank::ImageView View(const Pixels& pixels) {
  return {pixels.data(), static_cast<int>(pixels.shape(0)), static_cast<int>(pixels.shape(1))};
}

bool Encode(ziprerank::Window& window, std::size_t slot, const Pixels& pixels) {
  const ziprerank::Call call;
  const ziprerank::ImageView image = View(pixels);
  const nb::gil_scoped_release release;
  return window.encode(slot, image);
}

bool Find(ziprerank::Window& window, std::size_t slot, const Pixels& pixels) {
  const ziprerank::Call call;
  const ziprerank::ImageView image = View(pixels);
  const nb::gil_scoped_release release;
  return window.find(slot, image);
}

// A name as bytes: its two halves, then the page's height and width.
constexpr std::size_t kNameBytes = 2 * sizeof(std::uint64_t) + 2 * sizeof(std::int32_t);

ziprerank::PageName Parse(const nb::bytes& name) {
  if (name.size() != kNameBytes) {
    throw ziprerank::InvalidArgument("a page's name has " + std::to_string(kNameBytes) + " bytes, got " +
                                     std::to_string(name.size()) + ": give what name() returned");
  }
  ziprerank::PageName page;
  std::int32_t size[2];
  const auto* bytes = static_cast<const char*>(name.data());
  std::memcpy(&page.low, bytes, sizeof page.low);
  std::memcpy(&page.high, bytes + sizeof page.low, sizeof page.high);
  std::memcpy(size, bytes + 2 * sizeof page.low, sizeof size);
  page.size = {size[0], size[1]};
  return page;
}

bool FindNamed(ziprerank::Window& window, std::size_t slot, const nb::bytes& name) {
  const ziprerank::Call call;
  const ziprerank::PageName page = Parse(name);
  const nb::gil_scoped_release release;
  return window.find(slot, page);
}

nb::bytes Name(ziprerank::Window& window, std::size_t slot) {
  const ziprerank::Call call;
  const ziprerank::PageName page = window.name(slot);
  const std::int32_t size[2] = {page.size.height, page.size.width};
  char bytes[kNameBytes];
  std::memcpy(bytes, &page.low, sizeof page.low);
  std::memcpy(bytes + sizeof page.low, &page.high, sizeof page.high);
  std::memcpy(bytes + 2 * sizeof page.low, size, sizeof size);
  return nb::bytes(bytes, kNameBytes);
}

nb::ndarray<nb::numpy, float, nb::ndim<1>> Relate(ziprerank::Window& window, const Ids& ids) {
  const ziprerank::Call call;
  std::vector<float> relevance;
  {
    const nb::gil_scoped_release release;
    relevance = window.relate({ids.data(), ids.size()});
  }
  return ToArray(std::move(relevance));
}

bool Restore(ziprerank::Window& window, std::size_t slot, const Pixels& pixels, const Bytes& features) {
  const ziprerank::Call call;
  const ziprerank::ImageView image = View(pixels);
  const std::span bytes(reinterpret_cast<const std::byte*>(features.data()), features.size());
  const nb::gil_scoped_release release;
  return window.restore(slot, image, bytes);
}

void Features(ziprerank::Window& window, std::size_t slot, const WritableBytes& out) {
  const ziprerank::Call call;
  const std::span bytes(reinterpret_cast<std::byte*>(out.data()), out.size());
  const nb::gil_scoped_release release;
  window.features(slot, bytes);
}

ziprerank::WindowScores Score(ziprerank::Window& window, const Ids& ids, const std::optional<Mask>& mask,
                              double keep_ratio) {
  const ziprerank::Call call;
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

void Cancel(ziprerank::Window& window) {
  const ziprerank::Call call;
  const nb::gil_scoped_release release;
  window.cancel();
}

template <typename Closable>
void Close(Closable& self) {
  const ziprerank::Call call;
  const nb::gil_scoped_release release;
  self.close();
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
  using ziprerank::DeviceCode;
  using ziprerank::Engine;
  using ziprerank::Window;
  using ziprerank::WindowScores;
  nb::set_leak_warnings(false);  // a program may keep its engine in a global until it ends
  nb::register_exception_translator(Translate);
  ziprerank::WatchInterpreter();

  nb::class_<WindowScores>(module, "WindowScores", R"(Result of Window.score for K pages.)")
      .def_prop_ro(
          "scores", [](const WindowScores& self) { return nb::cast(ToArray(self.scores)); },
          nb::sig("def scores(self) -> numpy.typing.NDArray[numpy.float32]"),
          "Letter logits, float32 [K], in slot order.")
      .def_prop_ro(
          "kept",
          [](const WindowScores& self) {
            nb::list pages;
            for (const auto& page : self.kept) pages.append(ToArray(page));
            return pages;
          },
          nb::sig("def kept(self) -> list[numpy.typing.NDArray[numpy.int64]]"),
          "Visual tokens that pruning kept, per page: ascending indices into the page's own, int64.")
      .def_ro("text_tokens", &WindowScores::text_tokens, "Text tokens of the prompt.")
      .def_ro("visual_tokens", &WindowScores::visual_tokens,
              "Visual tokens of all pages, blank ones included.")
      .def_ro("blank_tokens", &WindowScores::blank_tokens, "Visual tokens that were dropped as blank.")
      .def_ro("kept_tokens", &WindowScores::kept_tokens, "Visual tokens that pruning kept.")
      .def_ro("layout_ms", &WindowScores::layout_ms,
              "Milliseconds for positions, packing and the table of pool rows.")
      .def_ro("encode_ms", &WindowScores::encode_ms,
              "Milliseconds of waiting for pages that a GPU was still encoding.")
      .def_ro("rerank_ms", &WindowScores::rerank_ms, "Milliseconds of rerank.onnx: pruning and decoder.");

  nb::class_<Window>(module, "Window", R"(The pages of one pass, in numbered slots.

A window reserves room in the page pool when it is opened, and keeps its pages there until it is closed.
Its methods may be called from several threads at once.)")
      .def("encode", Encode, "slot"_a, "pixels"_a.noconvert(),
           nb::sig("def encode(self, slot: int, pixels: numpy.typing.NDArray[numpy.uint8]) -> bool"),
           R"(Fills a slot with a page: runs vision.onnx unless the pool has the page's features.

On a GPU the call returns once the work is enqueued; score waits for it.

Args:
    slot: Index of the slot, from 0; each is filled once.
    pixels: RGB, uint8 [height, width, 3], C-contiguous, of the size that the window was opened with.

Returns:
    True if the pool had the page.

Raises:
    InvalidInput: The slot is filled or does not exist, or the page has another size.
    EngineError: The graph failed.)")
      .def("find", Find, "slot"_a, "pixels"_a.noconvert(),
           nb::sig("def find(self, slot: int, pixels: numpy.typing.NDArray[numpy.uint8]) -> bool"),
           R"(Fills a slot if the pool has the page; otherwise the slot stays empty.

Args:
    slot: Index of an empty slot.
    pixels: As encode takes them.

Returns:
    True if the pool had the page.)")
      .def("find_named", FindNamed, "slot"_a, "name"_a,
           R"(Fills a slot if the pool has the page of this name; otherwise the slot stays empty.

Args:
    slot: Index of an empty slot.
    name: What name returned in a window of the same engine and owner.

Returns:
    True if the pool had the page.

Raises:
    InvalidInput: The name is of a page of another size, or none.)")
      .def("name", Name, "slot"_a, "What finds the page of a filled slot again without its pixels.")
      .def("restore", Restore, "slot"_a, "pixels"_a.noconvert(), "features"_a.noconvert(),
           nb::sig("def restore(self, slot: int, pixels: numpy.typing.NDArray[numpy.uint8], "
                   "features: numpy.typing.NDArray[numpy.uint8]) -> bool"),
           R"(Fills a slot with features that were read before, where encode would run vision.onnx.

Args:
    slot: Index of an empty slot.
    pixels: As encode takes them.
    features: uint8 [tokens(slot), info["row_bytes"]], read from the same pixels, bundle, provider and
        drop_blank; only the size is checked.

Returns:
    True if the pool had the page.

Raises:
    InvalidInput: As for encode, or the features have another size.)")
      .def("tokens", &Window::tokens, "slot"_a, "Visual tokens of a filled slot that the model reads.")
      .def("features", Features, "slot"_a, "out"_a.noconvert(),
           nb::sig("def features(self, slot: int, out: numpy.typing.NDArray[numpy.uint8]) -> None"),
           R"(Copies the features of a filled slot; waits if a GPU is still encoding the page.

Args:
    slot: Index of a filled slot.
    out: Receives them: uint8 [tokens(slot), info["row_bytes"]], C-contiguous.)")
      .def(
          "score", Score, "text_ids"_a.noconvert(), nb::arg("query_mask").noconvert().none(), "keep_ratio"_a,
          nb::sig("def score(self, text_ids: numpy.typing.NDArray[numpy.int64], "
                  "query_mask: numpy.typing.NDArray[numpy.bool_] | None, keep_ratio: float) -> WindowScores"),
          R"(Scores all pages for one prompt; every slot must be filled.

Args:
    text_ids: Token ids, int64 [n], with one image_pad token for each page in slot order.
    query_mask: bool [n], True for the text tokens that pages are pruned by; None selects every token before
        the first image_pad but the vision markers.
    keep_ratio: Share of each page's visual tokens that pruning keeps, in (0, 1].

Raises:
    InvalidInput: A slot is empty, the prompt does not fit the window, or keep_ratio is out of range.
    EngineError: A graph failed, or a score is not finite.)")
      .def("relate", Relate, "text_ids"_a.noconvert(),
           nb::sig("def relate(self, text_ids: numpy.typing.NDArray[numpy.int64]) -> "
                   "numpy.typing.NDArray[numpy.float32]"),
           R"(Relates all pages to a text by late interaction; every slot must be filled.

Args:
    text_ids: The text's token ids, int64 [n].

Returns:
    float32 [K], in slot order: the sum over the tokens of the largest cosine of the token's embedding with one
    of the page's visual tokens.

Raises:
    BundleError: The bundle has no relate.onnx for this provider.
    InvalidInput: A slot is empty, there is no token, or a token that does not exist.
    EngineError: The graph failed, or a value is not finite.)")
      .def("cancel", Cancel,
           R"(Ends encode, relate and score under way in other threads, without waiting for them.

Each raises Cancelled once the operator that it is in has ended, and so does every later one that runs a graph.
The engine and its other windows go on.)")
      .def("close", Close<Window>,
           "Gives the reservation back, once all calls under way have returned. May be called twice.");

  nb::class_<Engine>(module, "Engine", "A bundle's graphs on one provider, and the pool of page features.")
      .def(
          "__init__",
          [](Engine* self, std::string bundle, std::string runtime_library, const std::string& provider,
             int threads, std::size_t pool_bytes, std::string profile, std::string provider_library,
             std::string cache, const std::string& blank) {
            const ziprerank::Call call;
            const nb::gil_scoped_release release;
            const ziprerank::ProviderChoice choice = ziprerank::ParseProvider(provider);
            new (self) Engine({.bundle = std::move(bundle),
                               .runtime_library = std::move(runtime_library),
                               .provider = choice.provider,
                               .device_index = choice.device_index,
                               .threads = threads,
                               .pool_bytes = pool_bytes,
                               .profile = std::move(profile),
                               .provider_library = std::move(provider_library),
                               .cache = std::move(cache),
                               .blank = ziprerank::ParseBlank(blank)});
          },
          "bundle"_a, "runtime_library"_a, nb::kw_only(), "provider"_a = "cpu", "threads"_a = 0,
          "pool_bytes"_a = std::size_t{1} << 30, "profile"_a = "", "provider_library"_a = "", "cache"_a = "",
          "blank"_a = "",
          nb::sig("def __init__(self, bundle: str, runtime_library: str, *, provider: str = 'cpu', "
                  "threads: int = 0, pool_bytes: int = 1073741824, profile: str = '', "
                  "provider_library: str = '', cache: str = '', blank: str = '') -> None"),
          R"(Loads ONNX Runtime and a bundle.

Args:
    bundle: Path of the bundle's directory.
    runtime_library: Path of libonnxruntime, 1.23 or newer; one per process.
    provider: cpu, cuda, tensorrt or tensorrt-rtx, the last three also with a GPU (cuda:1); auto is cuda where
        it can run, else cpu.
    threads: Threads of one graph run on the CPU; 0 is as many as usable_cpus().
    pool_bytes: Size of the page pool.
    profile: Prefix of the profiles that ONNX Runtime writes; empty records none.
    provider_library: For tensorrt-rtx, path of libonnxruntime_providers_nv_tensorrt_rtx.
    cache: For tensorrt, folder for engines, empty for the bundle's tensorrt/; for tensorrt-rtx, folder for
        compiled kernels, empty keeps none.
    blank: drop or keep visual tokens of blank paper; empty is what the bundle recommends.

Raises:
    ProviderError: ONNX Runtime or the provider cannot be used here.
    BundleError: The bundle is missing, damaged, or not made for this provider.
    PoolError: The pool does not fit into memory, or pool_bytes is too small.
    InvalidInput: Any other option is wrong.)")
      .def(
          "window", OpenWindow, "sizes"_a, nb::kw_only(), "owner"_a = "",
          nb::sig("def window(self, sizes: collections.abc.Sequence[tuple[int, int]], *, owner: str = '') -> "
                  "Window"),
          R"(Opens a window; waits, first come first served, while other windows fill the pool.

Args:
    sizes: Height and width of each page in pixels, multiples of 32; at most one per letter_ids of info.
        None is a text alone, where scoring of info is yes_no.
    owner: Pages are found in the pool by windows of the same owner only.

Raises:
    PoolError: The pages could never fit into the pool.
    InvalidInput: A size or the number of pages is wrong.)")
      .def(
          "holds",
          [](const Engine& self, const nb::bytes& name) {
            const ziprerank::Call call;
            return self.holds(Parse(name));
          },
          "name"_a,
          R"(Returns whether the pool has a page now, by the name that a window's name gave.

Raises:
    InvalidInput: The name is none.)")
      .def(
          "close", Close<Engine>,
          R"(Gives graphs, threads and memory back, once the last open window is closed too. May be called twice.

Every other method but info then raises InvalidInput.)")
      .def(
          "end_profile", [](Engine& self) { return ToDict(self.end_profile()); },
          nb::sig("def end_profile(self) -> EngineProfile"),
          R"(Ends the profile that the option `profile` began, and returns it. May be called once.

Raises:
    InvalidInput: There is no profile to end.)")
      .def_prop_ro(
          "info", [](const Engine& self) { return ToDict(self.info()); },
          nb::sig("def info(self) -> dict[str, typing.Any]"),
          "What the engine runs and what its bundle holds: the fields of EngineInfo in engine.hpp.")
      .def_prop_ro(
          "pool", [](const Engine& self) { return ToDict(self.pool_stats()); },
          nb::sig("def pool(self) -> dict[str, int]"),
          R"(State of the page pool: rows, used_rows and pinned_rows in visual tokens; pages; hits, misses and
evictions since the engine was made.)");

  nb::class_<DeviceCode>(module, "DeviceCode",
                         "For which GPUs a library holds code: compute capabilities, 90 for 9.0.")
      .def(
          "__init__",
          [](DeviceCode* self, std::vector<int> machine, std::vector<int> ptx) {
            new (self) DeviceCode{std::move(machine), std::move(ptx)};
          },
          "machine"_a, "ptx"_a, "Code of these capabilities.")
      .def_ro("machine", &DeviceCode::machine, "Of machine code, ascending.")
      .def_ro("ptx", &DeviceCode::ptx, "Of PTX, which the driver compiles for newer GPUs, ascending.")
      .def(
          "runs_on", &DeviceCode::runs_on, "capability"_a,
          R"(Whether a GPU of `capability` can run some of it; True where there is none, since nothing is known then.

Machine code runs on its own capability and on newer ones of the same major version, but on Jetson (7.2 and 8.7)
only on its own; PTX runs on its own capability and on all newer ones.)")
      .def(
          "lack", &DeviceCode::lack, "capability"_a, "index"_a,
          R"(What an onnxruntime-gpu with this code lacks for GPU `index`, and the way out; "" where it runs there.)")
      .def("__str__", &DeviceCode::text, R"("8.0, 9.0 and PTX of 11.0"; "none".)");
  module.def(
      "device_code", ziprerank::ReadDeviceCode, "library"_a,
      R"(What a shared library holds; nothing where it cannot be read, is no 64-bit ELF file or has no code for GPUs.)");
  module.def("library", Library,
             "Path of the loaded libziprerank.so, for register_custom_ops_library of ONNX Runtime.");
  module.def(
      "usable_cpus", ziprerank::UsableCpus,
      R"(CPUs that this process may use, by its affinity mask and its control group's quota; at least 1.)");
}
