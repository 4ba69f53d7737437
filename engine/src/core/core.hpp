// What an engine and its windows share: a bundle on its backend, and the pool of page features.
#ifndef ZIPRERANK_CORE_HPP_
#define ZIPRERANK_CORE_HPP_

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "backend/backend.hpp"
#include "base/fork.hpp"
#include "core/bundle.hpp"
#include "core/cancellation.hpp"
#include "core/failure.hpp"
#include "core/stage_log.hpp"
#include "ort/runtime.hpp"
#include "pages/digest.hpp"
#include "pages/layout.hpp"
#include "pages/page_pool.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {

struct Engine::Core {
  explicit Core(const EngineOptions& options);

  // A core that is left alone where it cannot be taken apart: in a process that was forked since, where its
  // sessions would wait for threads that are not there.
  static std::shared_ptr<Core> Make(const EngineOptions& options);

  // RuntimeFailure in a process that was forked since.
  void CheckProcess() const { CheckSameProcess(forks); }

  Digest Name(const ImageView& image, std::string_view owner) const;
  // The visual tokens of a page that the model reads.
  std::vector<std::int32_t> TokensOf(const ImageView& image) const;
  // InvalidArgument unless so many bytes are a page's features.
  void CheckSize(const PagePool::Page* page, std::size_t bytes) const;
  void Fill(const PagePool::Page* page, const ImageView& image, Cancellation* cancellation);
  // Runs `body` on the device. A failure in it is OutOfDeviceMemory, with what was `asked()` for, or
  // DeviceLost, where it is one; after a lost device nothing is run.
  template <typename Body, typename Asked>
  auto OnDevice(Body&& body, Asked&& asked) const {
    failures.CheckUsable();
    try {
      return body();
    } catch (const RuntimeFailure& error) {
      failures.Explain(error, backend.get(), asked());
    }
  }
  // body(offset in the pool, offset in the page's features, bytes) for each stretch of rows that is one in
  // both.
  void ForEachStretch(const PagePool::Page* page,
                      const std::function<void(std::size_t, std::size_t, std::size_t)>& body) const;
  // RunGraph, which `cancellation` ends: it is Cancelled then, and the device has done what it was given.
  void Run(Ort::Session& session, const Bindings& inputs, const Bindings& outputs, const char* graph,
           Ort::RunOptions options, Cancellation* cancellation);
  void Encode(const PagePool::Page* page, const ImageView& image, Cancellation* cancellation);
  WindowScores Score(const std::vector<Grid>& grids, const std::vector<PagePool::Page*>& pages,
                     const Prompt& prompt, double keep_ratio, Cancellation* cancellation);

  // Relates pages in the pool to the text `ids`; see Window::relate.
  std::vector<float> Relate(const std::vector<PagePool::Page*>& pages, std::span<const std::int64_t> ids,
                            Cancellation* cancellation);

  StageLog::Stage Stage(const char* name) const { return {log.get(), name}; }

  const unsigned forks = ForkCount();
  const Runtime& runtime;  // first: without a runtime nothing below can even be taken apart
  EngineInfo info;
  std::unique_ptr<Backend> backend;
  mutable Failures failures;
  Bundle bundle;
  std::mutex relating;           // of the next one
  Ort::Session relate{nullptr};  // relate.onnx, once it was asked for
  std::unique_ptr<PoolStorage> storage;
  std::optional<PagePool> pool;
  DigestKey digest_key = RandomDigestKey();
  std::unique_ptr<StageLog> log;  // null unless the engine profiles
};

}  // namespace ziprerank

#endif  // ZIPRERANK_CORE_HPP_
