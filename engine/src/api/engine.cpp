#include "ziprerank/engine.hpp"

#include "base/text.hpp"
#include "core/core.hpp"
#include "core/window_state.hpp"

namespace ziprerank {

Engine::Engine(const EngineOptions& options) : core_(std::make_shared<Core>(options)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

Window Engine::window(const std::vector<PageSize>& sizes, const std::function<void()>& while_waiting,
                      std::string_view owner) {
  const std::size_t most = core_->info.letter_ids.size();
  if (sizes.empty()) throw InvalidArgument("a window without pages: give at least one");
  if (sizes.size() > most) {
    throw InvalidArgument(
        Text(sizes.size(), " pages, at most ", most, " in one pass: use window=", most, " or split"));
  }
  auto state = std::make_unique<Window::State>();
  state->core = core_;
  state->sizes = sizes;
  state->owner = owner;
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
