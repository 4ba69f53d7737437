// The C++ API of ziprerank: a bundle in, the scores of up to 20 pages for one prompt out.
//
//   ziprerank::Engine engine({.bundle = "bundle", .runtime_library = "libonnxruntime.so"});
//   ziprerank::Window window = engine.window({{1024, 800}, {1024, 800}});
//   window.encode(0, first_page);
//   window.encode(1, second_page);
//   ziprerank::WindowScores scores = window.score(prompt, 0.5);
//
// Every function may be called from any thread. All errors are `ziprerank::Error` (see errors.hpp).
#ifndef ZIPRERANK_ENGINE_HPP_
#define ZIPRERANK_ENGINE_HPP_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ziprerank/errors.hpp"

namespace ziprerank {

struct EngineOptions {
  std::string bundle;           // the bundle's directory (docs/bundle.md)
  std::string runtime_library;  // path of libonnxruntime, 1.23 or newer; one per process
  // "cpu", "cuda", "tensorrt" or "tensorrt-rtx", the last three also with a device, "cuda:1"; or "auto":
  // cuda where it can run, else cpu
  std::string provider = "cpu";
  int threads = 0;                                // threads inside one graph run; 0: ONNX Runtime's choice
  std::size_t pool_bytes = std::size_t{1} << 30;  // page features kept; untouched memory costs nothing
  std::string profile;  // not empty: record a profile; the prefix of the files that ONNX Runtime writes
  std::string provider_library;  // tensorrt-rtx: path of libonnxruntime_providers_nv_tensorrt_rtx
  std::string cache;             // tensorrt: folder for engines, empty is the bundle's tensorrt/;
                                 // tensorrt-rtx: folder for compiled kernels, empty keeps none
  std::string blank;  // "drop": visual tokens of blank paper never reach the model; "keep": all do; empty:
                      // what the bundle recommends
};

// A page's size in pixels. Both sides are multiples of `patch_size * merge_size` (32).
struct PageSize {
  int height = 0;
  int width = 0;
};

// A page's pixels: RGB uint8 [height, width, 3], contiguous; borrowed for the time of the call.
struct ImageView {
  const std::uint8_t* pixels = nullptr;
  int height = 0;
  int width = 0;
};

// A tokenised prompt. `ids` [n] holds exactly one image_pad token for each page, in the order of the window's
// slots. `query_mask` [n] marks the text tokens that pages are pruned by; empty means all_before_image: every
// token before the first image pad but the vision markers.
struct Prompt {
  std::vector<std::int64_t> ids;
  std::vector<std::uint8_t> query_mask;
};

struct WindowScores {
  std::vector<float> scores;                    // [K] letter logits, in slot order
  std::vector<std::vector<std::int64_t>> kept;  // per page, ascending indices into its own visual tokens
  std::int64_t text_tokens = 0;                 // T
  std::int64_t visual_tokens = 0;               // of all pages, before anything is left out
  std::int64_t blank_tokens = 0;                // the part of them that was dropped as blank: N is the rest
  std::int64_t kept_tokens = 0;                 // M
  double layout_ms = 0;                         // positions, packing, row table
  double encode_ms = 0;                         // waiting for pages that a GPU was still encoding
  double rerank_ms = 0;                         // the run of rerank.onnx: prune + decode
};

// What the engine runs and what its bundle holds.
struct EngineInfo {
  std::string bundle;
  std::string bundle_id;
  std::string precision;  // fp32 | fp16 | bf16
  std::string provider;   // "cpu", "cuda", "cuda:1", "tensorrt", "tensorrt-rtx"
  std::string runtime_library;
  std::string runtime_version;
  std::string prune_kernel;        // baseline | avx2 | avx512; on a GPU the file, "sm_90 cubin", or "plan"
  std::string plan;                // what built the plan and for which GPUs; empty without one
  std::string device;              // the GPU's name; empty on the CPU, as the next two are
  std::string compute_capability;  // "9.0"
  std::string driver_library;
  int threads = 0;  // as asked for; 0: ONNX Runtime's choice
  std::int64_t hidden_size = 0;
  std::int64_t levels = 0;
  int patch_size = 0;
  int merge_size = 0;
  std::int64_t vocab_size = 0;
  std::vector<std::int64_t> letter_ids;  // one per page of a window, so its size is the longest window
  std::int64_t image_pad_id = 0;
  std::int64_t vision_start_id = 0;
  std::int64_t vision_end_id = 0;
  std::int64_t video_pad_id = 0;
  double keep_ratio = 0;  // the bundle's recommended defaults
  int window = 0;
  int stride = 0;
  bool drop_blank = false;  // whether visual tokens of blank paper are left out
  std::int64_t pool_rows = 0;
  std::size_t pool_bytes = 0;
  std::size_t row_bytes = 0;  // features of one visual token: levels * hidden_size numbers of the precision
};

// A stage inside the engine: nanoseconds since the epoch, and the system's id of the thread.
struct StageTime {
  std::string stage;  // digest | blank | patchify | vision.onnx | copy | layout | wait | rerank.onnx
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  std::int64_t thread = 0;
};

// ONNX Runtime's profile of one graph, as it writes it: events in microseconds since `start_ns`, which is by
// the clock of StageTime.
struct GraphProfile {
  std::string graph;  // "vision.onnx"
  std::string file;
  std::int64_t start_ns = 0;
};

struct EngineProfile {
  std::vector<StageTime> stages;  // in the order in which they ended
  std::vector<GraphProfile> graphs;
};

struct PoolStats {
  std::int64_t rows = 0;         // capacity, in visual tokens
  std::int64_t used_rows = 0;    // rows of cached pages, whole blocks
  std::int64_t pinned_rows = 0;  // the part of them that open windows use
  std::int64_t pages = 0;
  std::int64_t hits = 0;
  std::int64_t misses = 0;
  std::int64_t evictions = 0;
};

// A reservation of pool room for a list of pages. Its pages stay in the pool until it is closed.
class ZIPRERANK_API Window {
 public:
  Window(Window&&) noexcept;
  Window& operator=(Window&&) noexcept;
  ~Window();  // closes

  std::size_t size() const;  // pages

  // Puts the features of page `slot` into the pool; true when they were there already. Each slot is filled
  // once, with a page of the size that the window was opened with. Slots may be filled from several threads.
  // On a GPU it returns when the page's work is enqueued; score() waits for it, and reports what went wrong.
  bool encode(std::size_t slot, const ImageView& image);

  // For features that a program keeps elsewhere, on disk for one: `find` fills a slot from the pool and is
  // true when the page was there; `restore` fills it as encode does, but copies `features` to the pool where
  // encode would run vision.onnx; `features` reads a filled slot's, and waits for a GPU that is still
  // encoding it. They are [tokens(slot), row_bytes], row by row, of this bundle on this provider, with the
  // same `drop_blank`, and of the same pixels: nothing here can check that, only their size.
  bool find(std::size_t slot, const ImageView& image);
  bool restore(std::size_t slot, const ImageView& image, std::span<const std::byte> features);
  std::int64_t tokens(std::size_t slot);  // visual tokens of a filled slot that the model reads
  void features(std::size_t slot, std::span<std::byte> out);

  // Scores all pages for one prompt; `keep_ratio` in (0, 1]. Needs every slot filled; may be called often and
  // from several threads at once.
  WindowScores score(const Prompt& prompt, double keep_ratio);

  // Gives the reservation back, when the calls that are under way have ended. May be called twice.
  void close();

 private:
  friend class Engine;
  struct ZIPRERANK_INTERNAL State;
  explicit Window(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class ZIPRERANK_API Engine {
 public:
  explicit Engine(const EngineOptions& options);
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();  // open windows stay valid

  // Opens a window for pages of these sizes. Waits, first come first served, while other windows fill the
  // pool; `while_waiting` is called about ten times a second then, and may throw to give up. PoolError at
  // once when the pages could never fit. A thread that waits while it holds a window itself may wait for
  // ever.
  Window window(const std::vector<PageSize>& sizes, const std::function<void()>& while_waiting = {});

  const EngineInfo& info() const;
  PoolStats pool_stats() const;

  // Ends what EngineOptions::profile began and returns it; once, and with no call under way.
  EngineProfile end_profile();

 private:
  friend class Window;
  struct ZIPRERANK_INTERNAL Core;
  std::shared_ptr<Core> core_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_ENGINE_HPP_
