#include "core/core.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/text.hpp"
#include "core/make_backend.hpp"
#include "ort/graph_run.hpp"
#include "pages/blank.hpp"
#include "pages/patchify.hpp"

namespace ziprerank {
namespace {

using Clock = std::chrono::steady_clock;

double MsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

const Runtime& LoadRuntime(const EngineOptions& options) {
  if (options.threads < 0) {
    throw InvalidArgument(
        Text("threads is ", options.threads,
             ": give 0 (as many as the CPUs that this process may use) or a positive number"));
  }
  return Runtime::Load(options.runtime_library);
}

}  // namespace

Engine::Core::Core(const EngineOptions& options) : runtime(LoadRuntime(options)) {
  backend = MakeBackend(runtime, options);
  info.threads = options.threads > 0 ? options.threads : UsableCpus();
  bundle = OnDevice(
      [&] { return LoadBundle(runtime, *backend, options.bundle, info.threads, options.profile, &info); },
      [&] {
        return Request{
            Text("loading the bundle ", options.bundle),
            "use a bundle of a smaller precision (int8 or int4), or end what else uses this memory"};
      });
  if (!options.profile.empty()) log = std::make_unique<StageLog>();
  backend->Describe(&info);
  if (options.blank != Blank::kRecommended) info.drop_blank = options.blank == Blank::kDrop;
  info.bundle = options.bundle;
  info.runtime_library = runtime.library();
  info.runtime_version = runtime.version();

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
  storage = backend->MakeStorage(info.pool_bytes);
}

std::shared_ptr<Engine::Core> Engine::Core::Make(const EngineOptions& options) {
  const RuntimeUse use;
  return {new Core(options), [](const Core* core) {
            if (core->forks != ForkCount()) return;
            const RuntimeUse last_use;
            delete core;
          }};
}

Digest Engine::Core::Name(const ImageView& image, std::string_view owner) const {
  const StageLog::Stage stage = Stage("digest");
  SipHash128 hash(digest_key);  // the pool and its key are this engine's, and so is all that runs: pixels
                                // suffice
  const std::uint64_t owner_size = owner.size();
  hash.Update(&owner_size, sizeof owner_size);
  hash.Update(owner.data(), owner.size());
  const std::int32_t size[2] = {image.height, image.width};
  hash.Update(size, sizeof size);
  hash.Update(image.pixels,
              3 * static_cast<std::size_t>(image.height) * static_cast<std::size_t>(image.width));
  return hash.Finish();
}

std::vector<std::int32_t> Engine::Core::TokensOf(const ImageView& image) const {
  const int unit = info.patch_size * info.merge_size;
  if (!info.drop_blank) return AllTokens(GridOf({image.height, image.width}, unit));
  const StageLog::Stage stage = Stage("blank");
  return PrintedTokens(image, unit);
}

void Engine::Core::CheckSize(const PagePool::Page* page, std::size_t bytes) const {
  const std::size_t tokens = pool->Tokens(page).size();
  if (bytes == tokens * info.row_bytes) return;
  throw InvalidArgument(Text("features of ", bytes, " bytes for a page of which ", tokens,
                             " visual tokens are read, of ", info.row_bytes, " bytes each"));
}

void Engine::Core::Fill(const PagePool::Page* page, const ImageView& image, Cancellation* cancellation) {
  OnDevice([&] { Encode(page, image, cancellation); },
           [&] {
             return Request{
                 Text("encoding a page of ", image.height, " x ", image.width, " px"),
                 "use smaller pages, load the engine with a lower pool_bytes, use a bundle of a smaller "
                 "precision (int8 or int4), or end what else uses this memory"};
           });
}

void Engine::Core::Run(Ort::Session& session, const Bindings& inputs, const Bindings& outputs,
                       const char* graph, Ort::RunOptions options, Cancellation* cancellation) {
  const Cancellation::Run run(cancellation, &options);
  try {
    RunGraph(session, inputs, outputs, graph, options);
  } catch (const RuntimeFailure&) {
    if (!cancellation->cancelled()) throw;
    backend->Probe();  // waits for what the device was given, whose memory goes back after this
    Cancellation::Refuse();
  }
}

void Engine::Core::Encode(const PagePool::Page* page, const ImageView& image, Cancellation* cancellation) {
  const std::span<const std::int32_t> read = pool->Tokens(page);
  const std::int64_t tokens = std::ssize(read);
  const std::int64_t count = tokens * info.merge_size * info.merge_size;
  const std::int64_t patch_bytes = 3 * std::int64_t{info.patch_size} * info.patch_size;
  const std::unique_ptr<PageFeed> feed =
      backend->Feed(static_cast<std::size_t>(count), static_cast<std::size_t>(patch_bytes));
  const PatchMemory patches = [&] {
    const StageLog::Stage stage = Stage("patchify");
    Patchify(image, info.patch_size, info.merge_size, read, feed->host());
    return feed->Send();
  }();

  const std::size_t row_bytes = info.row_bytes;
  const std::int64_t first = pool->FirstOfRun(page);
  std::byte* const features =
      first < 0 ? static_cast<std::byte*>(feed->Scratch(static_cast<std::size_t>(tokens) * row_bytes))
                : static_cast<std::byte*>(storage->data()) + static_cast<std::size_t>(first) * row_bytes;
  const Ort::MemoryInfo memory = backend->memory();
  constexpr auto kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  Bindings inputs;
  inputs.emplace_back(
      "patches", View(memory, patches.pixels, {1, count, patch_bytes}, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8));
  inputs.emplace_back("patch_rows", View(memory, patches.rows, {count}, kInt64));
  inputs.emplace_back("patch_cols", View(memory, patches.cols, {count}, kInt64));
  Bindings outputs;
  outputs.emplace_back("features",
                       View(memory, features, {1, tokens, info.levels, info.hidden_size}, bundle.dtype));
  backend->CheckSizes("vision.onnx", inputs);
  {
    const StageLog::Stage stage = Stage("vision.onnx");
    Run(bundle.vision, inputs, outputs, "vision.onnx", backend->EncodeOptions(), cancellation);
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

void Engine::Core::ForEachStretch(
    const PagePool::Page* page,
    const std::function<void(std::size_t, std::size_t, std::size_t)>& body) const {
  std::vector<std::int64_t> rows;
  pool->AppendRows(page, &rows);
  const auto asked = [] { return Request{"copying a page's features", "use smaller pages"}; };
  for (std::size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    for (end = begin + 1; end < rows.size() && rows[end] == rows[end - 1] + 1;) ++end;
    const std::size_t to = static_cast<std::size_t>(rows[begin]) * info.row_bytes;
    OnDevice([&] { body(to, begin * info.row_bytes, (end - begin) * info.row_bytes); }, asked);
  }
}

WindowScores Engine::Core::Score(const std::vector<Grid>& grids, const std::vector<PagePool::Page*>& pages,
                                 const Prompt& prompt, double keep_ratio, Cancellation* cancellation) {
  std::optional<StageLog::Stage> stage;
  stage.emplace(log.get(), "layout");
  const Clock::time_point start = Clock::now();
  std::vector<PageTokens> read;
  for (std::size_t p = 0; p < pages.size(); ++p) read.push_back({grids[p], pool->Tokens(pages[p])});
  Layout layout = MakeLayout(
      prompt, read, keep_ratio,
      {info.vocab_size, info.image_pad_id, info.vision_start_id, info.vision_end_id, info.video_pad_id});
  std::vector<std::int64_t> rows;
  for (const PagePool::Page* page : pages) pool->AppendRows(page, &rows);
  const std::int64_t text = std::ssize(layout.text_ids);
  const std::int64_t read_tokens = std::ssize(rows);
  if (pages.empty()) {  // the graph has at least one page: any row of the pool, which the packing leaves out
    rows = {0};
    layout.page_offsets = {0, 1};
    layout.keep = {1};
    layout.visual_positions = {0, 0, 0};
  }
  const std::int64_t visual = std::ssize(rows);

  WindowScores result;
  result.text_tokens = text;
  for (const Grid& grid : grids) result.visual_tokens += grid.tokens();
  result.blank_tokens = result.visual_tokens - read_tokens;
  result.kept_tokens = layout.kept;
  result.layout_ms = MsSince(start);

  stage.emplace(log.get(), "wait");
  const Clock::time_point wait = Clock::now();
  const auto asked = [&] {
    return Request{
        Text("scoring ", pages.size(), " pages of ", visual, " visual tokens at keep ratio ", keep_ratio),
        "rank fewer pages at a time (window), lower keep_ratio, load the engine with a lower pool_bytes, "
        "use a bundle of a smaller precision (int8 or int4), or end what else uses this memory"};
  };
  OnDevice([&] { backend->Finish(); }, asked);
  result.encode_ms = MsSince(wait);

  const auto host = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  constexpr auto kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  const auto numbers = [&host](const std::vector<std::int64_t>& values) {
    return View(host, values.data(), {std::ssize(values)}, kInt64);
  };
  std::vector<float> scores(info.letter_ids.size());
  std::vector<std::int64_t> kept(static_cast<std::size_t>(pages.empty() ? 1 : layout.kept));
  Bindings inputs;
  inputs.emplace_back("pool", View(backend->memory(), storage->data(),
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
  backend->CheckSizes("rerank.onnx", inputs);
  stage.emplace(log.get(), "rerank.onnx");
  const Clock::time_point run = Clock::now();
  OnDevice([&] { Run(bundle.rerank, inputs, outputs, "rerank.onnx", Ort::RunOptions(), cancellation); },
           asked);
  result.rerank_ms = MsSince(run);
  stage.reset();

  auto next = kept.begin();
  scores.resize(std::max<std::size_t>(1, pages.size()));
  for (std::size_t p = 0; p < scores.size(); ++p) {
    if (!std::isfinite(scores[p])) {
      throw RuntimeFailure(Text("the score of page ", p, " is ", scores[p],
                                ": the model overflowed at precision ", info.precision,
                                ", use a bundle of fp32 or bf16"));
    }
  }
  for (std::size_t p = 0; p < pages.size(); ++p) {
    result.kept.emplace_back(next, next + layout.keep[p]);
    next += layout.keep[p];
    for (std::int64_t& token : result.kept.back()) {
      token = read[p].read[static_cast<std::size_t>(token - layout.page_offsets[p])];
    }
  }
  result.scores = std::move(scores);
  return result;
}

std::vector<float> Engine::Core::Relate(const std::vector<PagePool::Page*>& pages,
                                        std::span<const std::int64_t> ids, Cancellation* cancellation) {
  if (pages.empty())
    throw InvalidArgument("a window without pages has nothing to relate: open one with pages");
  if (ids.empty()) throw InvalidArgument("no token ids to relate pages to: give at least one");
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= info.vocab_size) {
      throw InvalidArgument(Text("token id ", id, " is outside 0 to ", info.vocab_size - 1));
    }
  }
  const auto asked = [&] {
    return Request{Text("relating ", pages.size(), " pages to ", ids.size(), " tokens"),
                   "relate fewer pages at a time, or end what else uses this memory"};
  };
  {
    const std::lock_guard lock(relating);
    if (!relate) {
      relate = OnDevice([&] { return LoadRelate(runtime, *backend, info, bundle.dtype); }, asked);
    }
  }
  std::vector<std::int64_t> rows;
  std::vector<std::int64_t> offsets{0};
  for (const PagePool::Page* page : pages) {
    pool->AppendRows(page, &rows);
    offsets.push_back(std::ssize(rows));
  }
  OnDevice([&] { backend->Finish(); }, asked);

  const auto host = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto numbers = [&host](std::span<const std::int64_t> values) {
    return View(host, values.data(), {std::ssize(values)}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
  };
  std::vector<float> relevance(pages.size());
  Bindings inputs;
  inputs.emplace_back("pool", View(backend->memory(), storage->data(),
                                   {info.pool_rows, info.levels, info.hidden_size}, bundle.dtype));
  inputs.emplace_back("rows", numbers(rows));
  inputs.emplace_back("page_offsets", numbers(offsets));
  inputs.emplace_back("text_ids", numbers(ids));
  Bindings outputs;
  outputs.emplace_back("relevance", View(host, relevance.data(), {std::ssize(relevance)},
                                         ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT));
  {
    const StageLog::Stage stage = Stage("relate.onnx");
    OnDevice([&] { Run(relate, inputs, outputs, "relate.onnx", Ort::RunOptions(), cancellation); }, asked);
  }
  for (std::size_t p = 0; p < relevance.size(); ++p) {
    if (!std::isfinite(relevance[p])) {
      throw RuntimeFailure(Text("the relevance of page ", p, " is ", relevance[p],
                                ": the vision tower overflowed at precision ", info.precision,
                                ", use a bundle of fp32 or bf16"));
    }
  }
  return relevance;
}

}  // namespace ziprerank
