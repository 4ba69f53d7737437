// The C++ API of ziprerank: a bundle in, the scores of up to 20 pages for one prompt out.
//
//   ziprerank::Engine engine({.bundle = "bundle", .runtime_library = "libonnxruntime.so"});
//   ziprerank::Window window = engine.window({{1024, 800}, {1024, 800}});
//   window.encode(0, first_page);
//   window.encode(1, second_page);
//   ziprerank::WindowScores scores = window.score(prompt, 0.5);
//
// A process that was forked has no engine of its parent: every call on one, or on its windows, is
// RuntimeFailure there, and closing them does nothing. It may make its own, unless a thread of the parent
// used ONNX Runtime at the time of the fork, which is ProviderError.
//
// Every function may be called from any thread. Every error is a `ziprerank::Error`; errors.hpp lists the
// kinds. Times called `_ms` are milliseconds, `_ns` nanoseconds since the epoch. Letters in shapes: K pages,
// T text tokens, N visual tokens that the model reads, M visual tokens that pruning keeps.
#ifndef ZIPRERANK_ENGINE_HPP_
#define ZIPRERANK_ENGINE_HPP_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ziprerank/errors.hpp"

namespace ziprerank {

// What runs the graphs.
enum class Provider {
  kAuto,         // kCuda where it can run, else kCpu; EngineInfo says which
  kCpu,          // ONNX Runtime's CPU provider
  kCuda,         // its CUDA provider
  kTensorRt,     // its TensorRT provider, with the CUDA provider for the rest
  kTensorRtRtx,  // NVIDIA's TensorRT-RTX provider, on plans that `ziprerank build` wrote
};

// A provider and the GPU that it runs on.
struct ProviderChoice {
  Provider provider = Provider::kCpu;
  int device_index = 0;  // as the NVIDIA driver counts GPUs, from 0; 0 for kAuto and kCpu
};

// Reads "auto", "cpu", "cuda", "tensorrt" or "tensorrt-rtx"; the last three may name a GPU, as in "cuda:1".
// ProviderError for any other text.
ZIPRERANK_API ProviderChoice ParseProvider(std::string_view text);

// The text that ParseProvider reads; without the index where it is 0.
ZIPRERANK_API std::string ProviderText(const ProviderChoice& choice);

// What happens to visual tokens of blank paper.
enum class Blank {
  kRecommended,  // what the bundle recommends
  kDrop,         // they never reach the model
  kKeep,         // the model reads them too
};

// Reads "drop" or "keep"; an empty text is kRecommended. InvalidArgument for any other text.
ZIPRERANK_API Blank ParseBlank(std::string_view text);

// CPUs that this process may use, at least 1: those that the calling thread may run on (sched_getaffinity, or
// all where the system has no such mask), at most the CPU quota of the control group (v1 or v2), rounded up.
ZIPRERANK_API int UsableCpus();

struct EngineOptions {
  std::string bundle;                  // path of the bundle's directory (docs/bundle.md), whose files are not
                                       // compared with the digests of its manifest: only Python does that
  std::string runtime_library;         // path of libonnxruntime, 1.23 or newer; one per process
  Provider provider = Provider::kCpu;  // ProviderError if it cannot run here
  int device_index = 0;                // the GPU, counted from 0; must be 0 for kAuto and kCpu
  int threads = 0;                     // threads of one graph run on the CPU; 0: UsableCpus()
  std::size_t pool_bytes = std::size_t{1}
                           << 30;     // size of the page pool; on the CPU, untouched memory costs nothing
  std::string profile;                // prefix of the profiles that ONNX Runtime writes; empty: no profile
  std::string provider_library;       // kTensorRtRtx: path of libonnxruntime_providers_nv_tensorrt_rtx
  std::string cache;                  // kTensorRt: folder for engines, empty: the bundle's tensorrt/;
                                      // kTensorRtRtx: folder for compiled kernels, empty: none are kept
  Blank blank = Blank::kRecommended;  // visual tokens of blank paper
};

// A page's size in pixels. Both sides are positive multiples of `patch_size * merge_size` of EngineInfo (32).
struct PageSize {
  int height = 0;
  int width = 0;
};

// A page's pixels: RGB uint8 [height, width, 3], contiguous; read during the call only.
struct ImageView {
  const std::uint8_t* pixels = nullptr;
  int height = 0;
  int width = 0;
};

// A tokenised prompt.
struct Prompt {
  std::vector<std::int64_t> ids;  // exactly one image_pad token for each page, in the order of the slots
  std::vector<std::uint8_t>
      query_mask;  // one per id: not 0 for the text tokens that pages are pruned by; empty:
                   // every token before the first image_pad but the vision markers
};

// The result of Window::score.
struct WindowScores {
  std::vector<float> scores;  // [K] letter logits, in slot order; log-odds, one, where `pointwise()`
  std::vector<std::vector<std::int64_t>> kept;  // per page, ascending indices into its own visual tokens
  std::int64_t text_tokens = 0;                 // T
  std::int64_t visual_tokens = 0;               // of all pages, blank ones included
  std::int64_t blank_tokens = 0;                // those of them that were dropped as blank; the rest is N
  std::int64_t kept_tokens = 0;                 // M
  double layout_ms = 0;                         // computing positions, packing and the table of pool rows
  double encode_ms = 0;                         // waiting for pages that a GPU was still encoding
  double rerank_ms = 0;                         // the run of rerank.onnx: pruning and decoder
};

// What the engine runs, and what its bundle holds.
struct EngineInfo {
  std::string bundle;                  // as in EngineOptions
  std::string bundle_id;               // made by the export; the same in both graphs
  std::string precision;               // fp32 | fp16 | bf16
  Provider provider = Provider::kCpu;  // never kAuto
  int device_index = 0;
  std::string runtime_library;  // as in EngineOptions
  std::string runtime_version;  // of ONNX Runtime, "1.23.2"
  std::string prune_kernel;  // CPU: baseline, avx2, avx512 or neon; GPU: "sm_90 cubin", "sm_90 ptx" or "plan"
  std::string plan;          // what built the plan, and for which GPUs; empty without a plan
  std::string device;        // the GPU's name; empty on the CPU, like the next two
  std::string compute_capability;  // "9.0"
  std::string driver_library;      // the CUDA driver's library, as it was opened
  int threads = 0;                 // of one graph run on the CPU, never 0
  std::int64_t hidden_size = 0;    // of the decoder
  std::int64_t levels = 0;  // feature vectors of a visual token: the last layer's and the deepstack layers'
  int patch_size = 0;       // side of a patch in pixels
  int merge_size = 0;       // side of a visual token in patches
  std::int64_t vocab_size = 0;
  std::vector<std::int64_t>
      letter_ids;                   // token of each slot's letter; a window takes at most this many pages
  std::string scoring = "letters";  // letters | yes_no, which scores one page, or a text without one
  std::int64_t image_pad_id = 0;
  std::int64_t vision_start_id = 0;
  std::int64_t vision_end_id = 0;
  std::int64_t video_pad_id = 0;
  double keep_ratio = 0;       // recommended by the bundle, as the next two are
  int window = 0;              // pages of one pass
  int stride = 0;              // pages between the starts of two passes
  bool drop_blank = false;     // whether visual tokens of blank paper are dropped
  bool relates = false;        // whether there is a relate.onnx for this provider: Window::relate
  std::int64_t pool_rows = 0;  // visual tokens that the page pool holds
  std::size_t pool_bytes = 0;  // pool_rows * row_bytes
  std::size_t row_bytes = 0;   // features of one visual token: levels * hidden_size numbers of the precision

  bool pointwise() const { return scoring == "yes_no"; }  // whether each page is scored by itself
};

// One stage inside the engine.
struct StageTime {
  std::string stage;  // digest | blank | patchify | vision.onnx | copy | layout | wait | rerank.onnx |
                      // relate.onnx
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  std::int64_t thread = 0;  // the system's thread id
};

// ONNX Runtime's own profile of one graph. Its events count microseconds since `start_ns`.
struct GraphProfile {
  std::string graph;  // "vision.onnx" or "rerank.onnx"
  std::string file;   // path of the JSON file
  std::int64_t start_ns = 0;
};

// What an engine with EngineOptions::profile recorded.
struct EngineProfile {
  std::vector<StageTime> stages;  // in the order in which they ended
  std::vector<GraphProfile> graphs;
};

// State of the page pool. Rows are counted in whole blocks.
struct PoolStats {
  std::int64_t rows = 0;         // capacity, in visual tokens
  std::int64_t used_rows = 0;    // held by cached pages
  std::int64_t pinned_rows = 0;  // those of them that open windows use
  std::int64_t pages = 0;        // cached pages
  std::int64_t hits = 0;         // pages found in the pool since the engine was made
  std::int64_t misses = 0;       // pages that were put into it
  std::int64_t evictions = 0;    // pages that made room for others
};

// Finds a page's features again without its pixels, in the engine that gave the name and for the same owner.
struct PageName {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  PageSize size;
};

// The pages of one pass. A window reserves room in the page pool for all its pages when it is opened; they
// stay in the pool until it is closed.
class ZIPRERANK_API Window {
 public:
  Window(Window&&) noexcept;
  Window& operator=(Window&&) noexcept;
  ~Window();  // closes

  std::size_t size() const;  // pages; 0 once it was moved from

  // Fills slot `slot` with a page: puts its features into the pool, by a run of vision.onnx unless they are
  // there already. True if they were. `image` has the size that the window was opened with; each slot is
  // filled once; several threads may fill slots at the same time. On a GPU the call returns once the work is
  // enqueued: score() waits for it and reports its errors. InvalidArgument for a wrong slot or size;
  // RuntimeFailure if the graph fails; OutOfDeviceMemory, DeviceLost.
  bool encode(std::size_t slot, const ImageView& image);

  // The next ones are for programs that keep features elsewhere, for instance on disk. Features are
  // [tokens(slot), row_bytes] bytes, and are valid for the same pixels, bundle, provider and `drop_blank`
  // only. The engine can check their size and nothing else: InvalidArgument if it is wrong.

  // Fills a slot if the pool has the page. True if it did; otherwise the slot stays empty.
  bool find(std::size_t slot, const ImageView& image);
  // The same by a name that name() gave. InvalidArgument if it is of a page of another size.
  bool find(std::size_t slot, const PageName& name);
  // What finds the page of a filled slot again.
  PageName name(std::size_t slot);
  // Fills a slot as encode() does, but copies `features` into the pool where encode() would run vision.onnx.
  bool restore(std::size_t slot, const ImageView& image, std::span<const std::byte> features);
  // Visual tokens of a filled slot that the model reads.
  std::int64_t tokens(std::size_t slot);
  // Copies the features of a filled slot to `out`; waits if a GPU is still encoding the page.
  void features(std::size_t slot, std::span<std::byte> out);

  // Scores all pages for one prompt. `keep_ratio`, in (0, 1], is the share of each page's visual tokens that
  // pruning keeps. Every slot must be filled. May be called often, and from several threads at once.
  // InvalidArgument for a prompt that does not fit the window; RuntimeFailure if a graph fails or a score is
  // not finite; OutOfDeviceMemory, DeviceLost.
  WindowScores score(const Prompt& prompt, double keep_ratio);

  // Relates all pages to a text by late interaction: [K], in slot order, the sum over the text's tokens `ids`
  // of the largest cosine of the token's embedding with one of the page's visual tokens (relate.onnx in
  // docs/bundle.md). Every slot must be filled. May be called often, and from several threads at once.
  // BundleError if the bundle has no relate.onnx for this provider, which is looked for at the first call;
  // InvalidArgument for an empty text or a token that does not exist; else as score().
  std::vector<float> relate(std::span<const std::int64_t> ids);

  // Ends the calls of encode(), relate() and score() under way, from another thread, and does not wait for
  // them: each is Cancelled once the operator that it is in has ended, unless that was the last one, and so
  // is every later one that runs a graph. The engine and its other windows go on. Does nothing to a window
  // that is closed; InvalidArgument for one that was moved from.
  void cancel();

  // Gives the reservation back, once all calls under way have returned. May be called twice; any other call
  // on a window that is closed, or was moved from, is InvalidArgument.
  void close();

 private:
  friend class Engine;
  struct ZIPRERANK_INTERNAL State;
  ZIPRERANK_INTERNAL void Drop() noexcept;
  ZIPRERANK_INTERNAL State& Open() const;
  explicit Window(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A bundle, loaded: its graphs on one provider, and the pool of page features.
class ZIPRERANK_API Engine {
 public:
  // ProviderError if ONNX Runtime or the provider cannot be used here, BundleError if the bundle is missing,
  // damaged or not made for this provider, PoolError if there is no memory for the pool or `pool_bytes` is
  // too small, InvalidArgument for any other bad option.
  explicit Engine(const EngineOptions& options);
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();  // closes

  // Opens a window for pages of these sizes, at most as many as EngineInfo::letter_ids, at least one unless
  // `pointwise()`: there a window without pages scores a text alone. Waits, first come first served, while
  // other windows fill the pool; meanwhile it calls `while_waiting` about ten times a second, which may throw
  // to give up. PoolError if the pages could never fit; InvalidArgument for a bad size or number of pages. A
  // thread that waits while it holds a window may wait for ever. Pages are found in the pool by windows of
  // the same `owner` only, so that nobody learns from the time which pages others had.
  Window window(const std::vector<PageSize>& sizes, const std::function<void()>& while_waiting = {},
                std::string_view owner = {});

  const EngineInfo& info() const { return info_; }
  PoolStats pool_stats() const;
  // Whether the pool has the page of a name that Window::name() gave now; it may be gone at the next call.
  bool holds(const PageName& name) const;

  // Gives its graphs, threads and memory back once the last open window is closed too; these stay valid. May
  // be called twice, and while others call; any other call but info() is then InvalidArgument.
  void close();

  // Ends the profile that EngineOptions::profile began, and returns it. May be called once, while no other
  // call is under way. InvalidArgument if there is no profile to end.
  EngineProfile end_profile();

 private:
  friend class Window;
  struct ZIPRERANK_INTERNAL Core;
  ZIPRERANK_INTERNAL std::shared_ptr<Core> Open() const;
  ZIPRERANK_INTERNAL std::shared_ptr<Core> Take();
  EngineInfo info_;
  unsigned forks_ = 0;          // of processes, before it was made
  mutable std::mutex mutex_;    // of the next one
  std::shared_ptr<Core> core_;  // null once closed
};

}  // namespace ziprerank

#endif  // ZIPRERANK_ENGINE_HPP_
