// The slots of a window, and who uses them.
#ifndef ZIPRERANK_WINDOW_HPP_
#define ZIPRERANK_WINDOW_HPP_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "core.hpp"
#include "text.hpp"

namespace ziprerank {

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

}  // namespace ziprerank

#endif  // ZIPRERANK_WINDOW_HPP_
