#include "core/window_state.hpp"

namespace ziprerank {

Window::Window(std::unique_ptr<State> state) : state_(std::move(state)) {}
Window::Window(Window&&) noexcept = default;
Window& Window::operator=(Window&& other) noexcept {
  if (this != &other) {
    Drop();
    state_ = std::move(other.state_);
  }
  return *this;
}
Window::~Window() { Drop(); }

void Window::Drop() noexcept {
  close();
  // a thread of the parent may have been in a call: what it left cannot even be taken apart
  if (state_ != nullptr && state_->core->forks != ForkCount()) state_.release();
}

Window::State& Window::Open() const {
  if (state_ == nullptr) throw InvalidArgument("the window was moved from: use the one that it was moved to");
  return *state_;
}

std::size_t Window::size() const { return state_ == nullptr ? 0 : state_->sizes.size(); }

bool Window::encode(std::size_t slot, const ImageView& image) {
  State& state = Open();
  Engine::Core& core = *state.core;
  return state.Fill(slot, image, [&](const PagePool::Pin& pin) {
    if (!pin.hit) core.Fill(pin.page, image, &state.cancellation);
  });
}

bool Window::restore(std::size_t slot, const ImageView& image, std::span<const std::byte> features) {
  State& state = Open();
  Engine::Core& core = *state.core;
  return state.Fill(slot, image, [&](const PagePool::Pin& pin) {
    core.CheckSize(pin.page, features.size());
    if (pin.hit) return;
    core.ForEachStretch(pin.page, [&](std::size_t to, std::size_t from, std::size_t bytes) {
      core.storage->Import(to, features.data() + from, bytes);
    });
  });
}

bool Window::find(std::size_t slot, const ImageView& image) {
  State& state = Open();
  const State::Use use(&state);
  state.Begin(slot, image);
  PagePool::Page* page = state.core->pool->Find(state.core->Name(image, state.owner));
  state.SetSlot(slot, page == nullptr ? State::Slot::kEmpty : State::Slot::kFilled, page);
  return page != nullptr;
}

bool Window::find(std::size_t slot, const PageName& name) {
  State& state = Open();
  const State::Use use(&state);
  state.Begin(slot, name.size);
  PagePool::Page* page = state.core->pool->Find({name.low, name.high});
  state.SetSlot(slot, page == nullptr ? State::Slot::kEmpty : State::Slot::kFilled, page);
  return page != nullptr;
}

PageName Window::name(std::size_t slot) {
  State& state = Open();
  const State::Use use(&state);
  const Digest& key = state.core->pool->Key(state.Filled(slot));
  return {key.low, key.high, state.sizes[slot]};
}

std::int64_t Window::tokens(std::size_t slot) {
  State& state = Open();
  const State::Use use(&state);
  return std::ssize(state.core->pool->Tokens(state.Filled(slot)));
}

void Window::features(std::size_t slot, std::span<std::byte> out) {
  State& state = Open();
  const State::Use use(&state);
  PagePool::Page* const page = state.Filled(slot);
  state.core->CheckSize(page, out.size());
  state.core->ForEachStretch(page, [&](std::size_t from, std::size_t to, std::size_t bytes) {
    state.core->storage->Export(from, out.data() + to, bytes);
  });
}

WindowScores Window::score(const Prompt& prompt, double keep_ratio) {
  State& state = Open();
  const State::Use use(&state);
  return state.core->Score(state.grids, state.AllFilled(), prompt, keep_ratio, &state.cancellation);
}

std::vector<float> Window::relate(std::span<const std::int64_t> ids) {
  State& state = Open();
  const State::Use use(&state);
  return state.core->Relate(state.AllFilled(), ids, &state.cancellation);
}

void Window::cancel() {
  State& state = Open();
  state.core->CheckProcess();
  state.cancellation.Cancel();
}

void Window::close() {
  if (state_ == nullptr) return;  // moved from
  State& state = *state_;
  if (state.core->forks != ForkCount()) return;
  std::unique_lock lock(state.mutex);
  if (state.closed) return;
  state.closed = true;
  state.ended.wait(lock, [&state] { return state.calls == 0; });
  for (PagePool::Page* page : state.pages) {
    if (page != nullptr) state.core->pool->Unpin(page);
  }
  state.core->pool->Dismiss(state.blocks);
}

}  // namespace ziprerank
