#include "ziprerank/engine.hpp"

#include "api/page_count.hpp"
#include "base/fork.hpp"
#include "core/core.hpp"
#include "core/window_state.hpp"

namespace ziprerank {

Engine::Engine(const EngineOptions& options) : core_(Core::Make(options)) {
  info_ = core_->info;
  forks_ = core_->forks;
}
Engine::Engine(Engine&& other) noexcept
    : info_(std::move(other.info_)), forks_(other.forks_), core_(other.Take()) {}
Engine& Engine::operator=(Engine&& other) noexcept {
  if (this != &other) {
    close();
    info_ = std::move(other.info_);
    forks_ = other.forks_;
    core_ = other.Take();
  }
  return *this;
}
Engine::~Engine() = default;

void Engine::close() { Take(); }

std::shared_ptr<Engine::Core> Engine::Take() {
  if (forks_ != ForkCount()) return nullptr;  // the lock may be one that a thread of the parent holds
  const std::lock_guard lock(mutex_);
  return std::exchange(core_, nullptr);
}

std::shared_ptr<Engine::Core> Engine::Open() const {
  CheckSameProcess(forks_);
  std::shared_ptr<Core> core;
  {
    const std::lock_guard lock(mutex_);
    core = core_;
  }
  if (core == nullptr) throw InvalidArgument("the engine is closed: make another one");
  return core;
}

Window Engine::window(const std::vector<PageSize>& sizes, const std::function<void()>& while_waiting,
                      std::string_view owner) {
  const std::shared_ptr<Core> core = Open();
  CheckPageCount(sizes.size(), core->info);
  auto state = std::make_unique<Window::State>();
  state->core = core;
  state->sizes = sizes;
  state->owner = owner;
  state->slots.resize(sizes.size(), Window::State::Slot::kEmpty);
  state->pages.resize(sizes.size(), nullptr);
  std::vector<std::int64_t> tokens;
  for (const PageSize& size : sizes) {
    state->grids.push_back(GridOf(size, core->info.patch_size * core->info.merge_size));
    tokens.push_back(state->grids.back().tokens());
  }
  state->blocks = core->pool->Admit(tokens, while_waiting);
  return Window(std::move(state));
}

PoolStats Engine::pool_stats() const { return Open()->pool->stats(); }

bool Engine::holds(const PageName& name) const { return Open()->pool->Holds({name.low, name.high}); }

EngineProfile Engine::end_profile() {
  const std::shared_ptr<Core> open = Open();
  Core& core = *open;
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
