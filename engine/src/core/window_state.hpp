// A window's slots, and the count of calls that use them.
#ifndef ZIPRERANK_WINDOW_STATE_HPP_
#define ZIPRERANK_WINDOW_STATE_HPP_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "core/cancellation.hpp"
#include "core/core.hpp"

namespace ziprerank {

// Slots go from empty over filling to filled, once. Calls count themselves in and out, so that close() can
// leave the release to the last one.
struct Window::State {
  enum class Slot { kEmpty, kFilling, kFilled };

  std::shared_ptr<Engine::Core> core;
  std::vector<PageSize> sizes;
  std::vector<Grid> grids;
  std::string owner;
  std::int64_t blocks = 0;
  Cancellation cancellation;

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
      state_.core->CheckProcess();
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
    const RuntimeUse runtime_;
  };

  void CheckSlot(std::size_t slot) const {
    if (slot < sizes.size()) return;
    throw InvalidArgument(
        Text("slot ", slot, " in a window of ", sizes.size(), " pages: slots count from 0"));
  }

  // Marks an empty slot as being filled with this page.
  void Begin(std::size_t slot, const ImageView& image) {
    Begin(slot, PageSize{image.height, image.width}, image.pixels == nullptr ? " without pixels" : "");
  }
  // The same for a page of this size, of which `lacking` says what it should have.
  void Begin(std::size_t slot, const PageSize& got, std::string_view lacking = {}) {
    CheckSlot(slot);
    const PageSize& size = sizes[slot];
    if (!lacking.empty() || got.height != size.height || got.width != size.width) {
      throw InvalidArgument(Text("slot ", slot, " was opened for a page of ", size.height, " x ", size.width,
                                 " px, got ", got.height, " x ", got.width, lacking));
    }
    const std::lock_guard lock(mutex);
    if (slots[slot] != Slot::kEmpty) {
      throw InvalidArgument(
          Text("slot ", slot, " has its page already: open another window for other pages"));
    }
    slots[slot] = Slot::kFilling;
  }

  // The page of a filled slot.
  PagePool::Page* Filled(std::size_t slot) {
    CheckSlot(slot);
    const std::lock_guard lock(mutex);
    if (slots[slot] == Slot::kFilled) return pages[slot];
    throw InvalidArgument(Text("slot ", slot, " has no page yet: encode it first"));
  }

  // The pages of all slots, in their order. InvalidArgument unless every slot is filled.
  std::vector<PagePool::Page*> AllFilled() {
    const std::lock_guard lock(mutex);
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
      if (slots[slot] != Slot::kFilled) {
        throw InvalidArgument(
            Text("slot ", slot, " has no page yet: encode all ", slots.size(), " pages first"));
      }
    }
    return pages;
  }

  // Fills an empty slot. `fill` gets the page's pin and fills the rows where that is no hit. True for a hit.
  template <typename Body>
  bool Fill(std::size_t slot, const ImageView& image, Body&& fill) {
    const Use use(this);
    Begin(slot, image);
    PagePool::Pin pin;
    try {
      const Digest name = core->Name(image, owner);
      pin = {core->pool->Find(name), true};
      if (pin.page == nullptr) pin = core->pool->Acquire(name, core->TokensOf(image));
      fill(pin);
      if (!pin.hit) core->pool->Commit(pin.page);
    } catch (...) {
      if (pin.page != nullptr && pin.hit) core->pool->Unpin(pin.page);
      if (pin.page != nullptr && !pin.hit) core->pool->Abandon(pin.page);
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

}  // namespace ziprerank

#endif  // ZIPRERANK_WINDOW_STATE_HPP_
