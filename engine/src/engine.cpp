#include "ziprerank/engine.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "bundle.hpp"
#include "device.hpp"
#include "digest.hpp"
#include "graph_run.hpp"
#include "layout.hpp"
#include "page_pool.hpp"
#include "patchify.hpp"
#include "stage_log.hpp"
#include "text.hpp"

namespace ziprerank {
namespace {

using Clock = std::chrono::steady_clock;

double MsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

const Runtime& LoadRuntime(const EngineOptions& options) {
  if (options.threads < 0) {
    throw InvalidArgument(
        Text("threads is ", options.threads, ": give 0 (ONNX Runtime's choice) or a positive number"));
  }
  return Runtime::Load(options.runtime_library);
}

}  // namespace

struct Engine::Core {
  explicit Core(const EngineOptions& options);

  Digest Name(const ImageView& image) const;
  void Fill(const PagePool::Page* page, const ImageView& image);
  // body(offset in the pool, offset in the page's features, bytes) for each stretch of rows that is one in
  // both.
  template <typename Body>
  void ForEachStretch(const PagePool::Page* page, Body&& body) const;
  WindowScores Score(const std::vector<Grid>& grids, const std::vector<PagePool::Page*>& pages,
                     const Prompt& prompt, double keep_ratio);

  StageLog::Stage Stage(const char* name) const { return {log.get(), name}; }

  const Runtime& runtime;  // first: without a runtime nothing below can even be taken apart
  EngineInfo info;
  std::unique_ptr<Device> device;
  Bundle bundle;
  std::unique_ptr<PoolStorage> storage;
  std::optional<PagePool> pool;
  DigestKey digest_key = RandomDigestKey();
  std::unique_ptr<StageLog> log;  // null unless the engine profiles
};

Engine::Core::Core(const EngineOptions& options) : runtime(LoadRuntime(options)) {
  device = MakeDevice(runtime, options);
  bundle = LoadBundle(runtime, *device, options.bundle, options.threads, options.profile, &info);
  if (!options.profile.empty()) log = std::make_unique<StageLog>();
  device->Describe(&info);
  info.bundle = options.bundle;
  info.runtime_library = runtime.library();
  info.runtime_version = runtime.version();
  info.threads = options.threads;

  constexpr std::int64_t kMostRows = std::int64_t{1} << 22;  // 5,000 Letter pages at 1024 px
  info.row_bytes = static_cast<std::size_t>(info.levels * info.hidden_size) * bundle.element_bytes;
  const std::size_t row_bytes = info.row_bytes;
  const std::size_t block_bytes = row_bytes * PagePool::kBlockRows;
  if (options.pool_bytes < block_bytes) {
    throw PoolError(Text("pool_bytes ", options.pool_bytes, " holds no block of ", PagePool::kBlockRows,
                         " rows of ", row_bytes, " bytes: give at least ", block_bytes));
  }
  pool.emplace(static_cast<std::int64_t>(std::min<std::size_t>(options.pool_bytes / row_bytes, kMostRows)));
  info.pool_rows = pool->rows();
  info.pool_bytes = static_cast<std::size_t>(info.pool_rows) * row_bytes;
  storage = device->MakeStorage(info.pool_bytes);
}

Digest Engine::Core::Name(const ImageView& image) const {
  const StageLog::Stage stage = Stage("digest");
  SipHash128 hash(digest_key);
  hash.Update(info.bundle_id.data(), info.bundle_id.size());
  const std::int32_t size[2] = {image.height, image.width};
  hash.Update(size, sizeof size);
  hash.Update(image.pixels,
              3 * static_cast<std::size_t>(image.height) * static_cast<std::size_t>(image.width));
  return hash.Finish();
}

void Engine::Core::Fill(const PagePool::Page* page, const ImageView& image) {
  const std::int64_t count = std::int64_t{image.height / info.patch_size} * (image.width / info.patch_size);
  const std::int64_t patch_bytes = 3 * std::int64_t{info.patch_size} * info.patch_size;
  const std::unique_ptr<PageFeed> feed =
      device->Feed(static_cast<std::size_t>(count), static_cast<std::size_t>(patch_bytes));
  const PatchMemory patches = [&] {
    const StageLog::Stage stage = Stage("patchify");
    Patchify(image, info.patch_size, info.merge_size, feed->host());
    return feed->Send();
  }();

  const std::int64_t tokens = count / (info.merge_size * info.merge_size);
  const std::size_t row_bytes = info.row_bytes;
  const std::int64_t first = pool->FirstOfRun(page);
  std::byte* const features =
      first < 0 ? static_cast<std::byte*>(feed->Scratch(static_cast<std::size_t>(tokens) * row_bytes))
                : static_cast<std::byte*>(storage->data()) + static_cast<std::size_t>(first) * row_bytes;
  const Ort::MemoryInfo memory = device->memory();
  constexpr auto kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  Bindings inputs;
  inputs.emplace_back(
      "patches", View(memory, patches.pixels, {1, count, patch_bytes}, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8));
  inputs.emplace_back("patch_rows", View(memory, patches.rows, {count}, kInt64));
  inputs.emplace_back("patch_cols", View(memory, patches.cols, {count}, kInt64));
  Bindings outputs;
  outputs.emplace_back("features",
                       View(memory, features, {1, tokens, info.levels, info.hidden_size}, bundle.dtype));
  device->CheckSizes("vision.onnx", inputs);
  {
    const StageLog::Stage stage = Stage("vision.onnx");
    RunGraph(bundle.vision, inputs, outputs, "vision.onnx", device->EncodeOptions());
  }

  if (first >= 0) return;
  const StageLog::Stage stage = Stage("copy");
  std::vector<std::int64_t> rows;
  pool->AppendRows(page, &rows);
  for (std::size_t i = 0; i < rows.size(); i += PagePool::kBlockRows) {
    const std::size_t length = std::min<std::size_t>(PagePool::kBlockRows, rows.size() - i) * row_bytes;
    storage->Write(static_cast<std::size_t>(rows[i]) * row_bytes, features + i * row_bytes, length);
  }
}

template <typename Body>
void Engine::Core::ForEachStretch(const PagePool::Page* page, Body&& body) const {
  std::vector<std::int64_t> rows;
  pool->AppendRows(page, &rows);
  for (std::size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    for (end = begin + 1; end < rows.size() && rows[end] == rows[end - 1] + 1;) ++end;
    body(static_cast<std::size_t>(rows[begin]) * info.row_bytes, begin * info.row_bytes,
         (end - begin) * info.row_bytes);
  }
}

WindowScores Engine::Core::Score(const std::vector<Grid>& grids, const std::vector<PagePool::Page*>& pages,
                                 const Prompt& prompt, double keep_ratio) {
  std::optional<StageLog::Stage> stage;
  stage.emplace(log.get(), "layout");
  const Clock::time_point start = Clock::now();
  const Layout layout = MakeLayout(
      prompt, grids, keep_ratio,
      {info.vocab_size, info.image_pad_id, info.vision_start_id, info.vision_end_id, info.video_pad_id});
  std::vector<std::int64_t> rows;
  for (const PagePool::Page* page : pages) pool->AppendRows(page, &rows);
  const std::int64_t text = std::ssize(layout.text_ids);
  const std::int64_t visual = std::ssize(rows);

  WindowScores result;
  result.text_tokens = text;
  result.visual_tokens = visual;
  result.kept_tokens = layout.kept;
  result.layout_ms = MsSince(start);

  stage.emplace(log.get(), "wait");
  const Clock::time_point wait = Clock::now();
  device->Finish();
  result.encode_ms = MsSince(wait);

  const auto host = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  constexpr auto kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  const auto numbers = [&host](const std::vector<std::int64_t>& values) {
    return View(host, values.data(), {std::ssize(values)}, kInt64);
  };
  std::vector<float> scores(info.letter_ids.size());
  std::vector<std::int64_t> kept(static_cast<std::size_t>(layout.kept));
  Bindings inputs;
  inputs.emplace_back("pool", View(device->memory(), storage->data(),
                                   {info.pool_rows, info.levels, info.hidden_size}, bundle.dtype));
  inputs.emplace_back("rows", numbers(rows));
  inputs.emplace_back("page_offsets", numbers(layout.page_offsets));
  inputs.emplace_back("keep", numbers(layout.keep));
  inputs.emplace_back("text_ids", numbers(layout.text_ids));
  inputs.emplace_back("query_mask",
                      View(host, layout.query_mask.data(), {text}, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL));
  inputs.emplace_back("text_positions", View(host, layout.text_positions.data(), {3, text}, kInt64));
  inputs.emplace_back("visual_positions", View(host, layout.visual_positions.data(), {3, visual}, kInt64));
  inputs.emplace_back("layout", numbers(layout.packing));
  Bindings outputs;
  outputs.emplace_back("scores",
                       View(host, scores.data(), {std::ssize(scores)}, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT));
  outputs.emplace_back("kept", numbers(kept));
  device->CheckSizes("rerank.onnx", inputs);
  stage.emplace(log.get(), "rerank.onnx");
  const Clock::time_point run = Clock::now();
  RunGraph(bundle.rerank, inputs, outputs, "rerank.onnx", Ort::RunOptions());
  result.rerank_ms = MsSince(run);
  stage.reset();

  auto next = kept.begin();
  for (std::size_t p = 0; p < pages.size(); ++p) {
    if (!std::isfinite(scores[p])) {
      throw RuntimeFailure(Text("the score of page ", p, " is ", scores[p],
                                ": the model overflowed at precision ", info.precision,
                                ", use a bundle of fp32 or bf16"));
    }
    result.kept.emplace_back(next, next + layout.keep[p]);
    next += layout.keep[p];
    for (std::int64_t& token : result.kept.back()) token -= layout.page_offsets[p];
  }
  scores.resize(pages.size());
  result.scores = std::move(scores);
  return result;
}

// Slots go from empty over filling to filled, once. Calls count themselves in and out, so that close() can
// leave the release to the last one.
struct Window::State {
  enum class Slot { kEmpty, kFilling, kFilled };

  std::shared_ptr<Engine::Core> core;
  std::vector<PageSize> sizes;
  std::vector<Grid> grids;
  std::int64_t blocks = 0;

  std::mutex mutex;
  std::condition_variable ended;  // the last call under way has ended
  std::vector<Slot> slots;
  std::vector<PagePool::Page*> pages;
  int calls = 0;
  bool closed = false;

  // A call under way.
  class Use {
   public:
    explicit Use(State* state) : state_(*state) {
      const std::lock_guard lock(state_.mutex);
      if (state_.closed) throw InvalidArgument("the window is closed: open another one");
      ++state_.calls;
    }
    ~Use() {
      const std::lock_guard lock(state_.mutex);
      if (--state_.calls == 0) state_.ended.notify_all();
    }

   private:
    State& state_;
  };

  void CheckSlot(std::size_t slot) const {
    if (slot < sizes.size()) return;
    throw InvalidArgument(
        Text("slot ", slot, " in a window of ", sizes.size(), " pages: slots count from 0"));
  }

  void CheckSize(std::size_t slot, std::size_t bytes) const {
    const std::int64_t tokens = grids[slot].tokens();
    const std::size_t row_bytes = core->info.row_bytes;
    if (bytes == static_cast<std::size_t>(tokens) * row_bytes) return;
    throw InvalidArgument(Text("features of ", bytes, " bytes for slot ", slot, ", whose page has ", tokens,
                               " visual tokens of ", row_bytes, " bytes"));
  }

  // Marks an empty slot as being filled with this page.
  void Begin(std::size_t slot, const ImageView& image) {
    CheckSlot(slot);
    const PageSize& size = sizes[slot];
    if (image.pixels == nullptr || image.height != size.height || image.width != size.width) {
      throw InvalidArgument(Text("slot ", slot, " was opened for a page of ", size.height, " x ", size.width,
                                 " px, got ", image.height, " x ", image.width,
                                 image.pixels == nullptr ? " without pixels" : ""));
    }
    const std::lock_guard lock(mutex);
    if (slots[slot] != Slot::kEmpty) {
      throw InvalidArgument(
          Text("slot ", slot, " has its page already: open another window for other pages"));
    }
    slots[slot] = Slot::kFilling;
  }

  // Fills an empty slot, with `fill` where the pool lacks the page; true when it had it.
  template <typename Body>
  bool Fill(std::size_t slot, const ImageView& image, Body&& fill) {
    const Use use(this);
    Begin(slot, image);
    PagePool::Pin pin;
    try {
      pin = core->pool->Acquire(core->Name(image), grids[slot].tokens());
      if (!pin.hit) {
        fill(pin.page);
        core->pool->Commit(pin.page);
      }
    } catch (...) {
      if (pin.page != nullptr) core->pool->Abandon(pin.page);
      SetSlot(slot, Slot::kEmpty, nullptr);
      throw;
    }
    SetSlot(slot, Slot::kFilled, pin.page);
    return pin.hit;
  }

  void SetSlot(std::size_t slot, Slot value, PagePool::Page* page) {
    const std::lock_guard lock(mutex);
    slots[slot] = value;
    pages[slot] = page;
  }
};

Window::Window(std::unique_ptr<State> state) : state_(std::move(state)) {}
Window::Window(Window&&) noexcept = default;
Window& Window::operator=(Window&& other) noexcept {
  if (this != &other) {
    close();
    state_ = std::move(other.state_);
  }
  return *this;
}
Window::~Window() { close(); }

std::size_t Window::size() const { return state_->sizes.size(); }

bool Window::encode(std::size_t slot, const ImageView& image) {
  Engine::Core& core = *state_->core;
  return state_->Fill(slot, image, [&](const PagePool::Page* page) { core.Fill(page, image); });
}

bool Window::restore(std::size_t slot, const ImageView& image, std::span<const std::byte> features) {
  Engine::Core& core = *state_->core;
  state_->CheckSlot(slot);
  state_->CheckSize(slot, features.size());
  return state_->Fill(slot, image, [&](const PagePool::Page* page) {
    core.ForEachStretch(page, [&](std::size_t to, std::size_t from, std::size_t bytes) {
      core.storage->Import(to, features.data() + from, bytes);
    });
  });
}

bool Window::find(std::size_t slot, const ImageView& image) {
  State& state = *state_;
  const State::Use use(&state);
  state.Begin(slot, image);
  PagePool::Page* page = state.core->pool->Find(state.core->Name(image));
  state.SetSlot(slot, page == nullptr ? State::Slot::kEmpty : State::Slot::kFilled, page);
  return page != nullptr;
}

void Window::features(std::size_t slot, std::span<std::byte> out) {
  State& state = *state_;
  const State::Use use(&state);
  state.CheckSlot(slot);
  state.CheckSize(slot, out.size());
  PagePool::Page* page = nullptr;
  {
    const std::lock_guard lock(state.mutex);
    if (state.slots[slot] == State::Slot::kFilled) page = state.pages[slot];
  }
  if (page == nullptr) throw InvalidArgument(Text("slot ", slot, " has no page yet: encode it first"));
  state.core->ForEachStretch(page, [&](std::size_t from, std::size_t to, std::size_t bytes) {
    state.core->storage->Export(from, out.data() + to, bytes);
  });
}

WindowScores Window::score(const Prompt& prompt, double keep_ratio) {
  State& state = *state_;
  const State::Use use(&state);
  std::vector<PagePool::Page*> pages;
  {
    const std::lock_guard lock(state.mutex);
    for (std::size_t slot = 0; slot < state.slots.size(); ++slot) {
      if (state.slots[slot] != State::Slot::kFilled) {
        throw InvalidArgument(
            Text("slot ", slot, " has no page yet: encode all ", state.slots.size(), " pages first"));
      }
    }
    pages = state.pages;
  }
  return state.core->Score(state.grids, pages, prompt, keep_ratio);
}

void Window::close() {
  if (state_ == nullptr) return;  // moved from
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  if (state.closed) return;
  state.closed = true;
  state.ended.wait(lock, [&state] { return state.calls == 0; });
  for (PagePool::Page* page : state.pages) {
    if (page != nullptr) state.core->pool->Unpin(page);
  }
  state.core->pool->Dismiss(state.blocks);
}

Engine::Engine(const EngineOptions& options) : core_(std::make_shared<Core>(options)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

Window Engine::window(const std::vector<PageSize>& sizes, const std::function<void()>& while_waiting) {
  const std::size_t most = core_->info.letter_ids.size();
  if (sizes.empty()) throw InvalidArgument("a window without pages: give at least one");
  if (sizes.size() > most) {
    throw InvalidArgument(
        Text(sizes.size(), " pages, at most ", most, " in one pass: use window=", most, " or split"));
  }
  auto state = std::make_unique<Window::State>();
  state->core = core_;
  state->sizes = sizes;
  state->slots.resize(sizes.size(), Window::State::Slot::kEmpty);
  state->pages.resize(sizes.size(), nullptr);
  std::vector<std::int64_t> tokens;
  for (const PageSize& size : sizes) {
    state->grids.push_back(GridOf(size, core_->info.patch_size * core_->info.merge_size));
    tokens.push_back(state->grids.back().tokens());
  }
  state->blocks = core_->pool->Admit(tokens, while_waiting);
  return Window(std::move(state));
}

const EngineInfo& Engine::info() const { return core_->info; }

PoolStats Engine::pool_stats() const { return core_->pool->stats(); }

EngineProfile Engine::end_profile() {
  Core& core = *core_;
  if (core.log == nullptr) {
    throw InvalidArgument(
        "the engine records no profile, or its profile was taken: open one with `profile` set");
  }
  EngineProfile profile;
  profile.stages = core.log->Take();
  core.log.reset();
  const Ort::AllocatorWithDefaultOptions allocator;
  const std::pair<const char*, Ort::Session*> graphs[] = {{"vision.onnx", &core.bundle.vision},
                                                          {"rerank.onnx", &core.bundle.rerank}};
  for (const auto& [graph, session] : graphs) {
    const auto start = static_cast<std::int64_t>(session->GetProfilingStartTimeNs());
    profile.graphs.push_back({graph, session->EndProfilingAllocated(allocator).get(), start});
  }
  return profile;
}

}  // namespace ziprerank
