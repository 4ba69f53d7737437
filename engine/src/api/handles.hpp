// The handles of the C ABI: numbers that look like pointers and are never given out twice, so that one that
// was freed is known to be gone.
#ifndef ZIPRERANK_HANDLES_HPP_
#define ZIPRERANK_HANDLES_HPP_

#include <pthread.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace ziprerank {

// The lock of all tables, which a fork waits for, and the last number given out.
struct HandleNumbers {
  std::mutex mutex;
  std::uintptr_t last = 1;

  static HandleNumbers& All() {
    static HandleNumbers& numbers =
        *new HandleNumbers;  // never destroyed: a program may free handles at its end
    static const int watched = pthread_atfork([] { All().mutex.lock(); }, [] { All().mutex.unlock(); },
                                              [] { All().mutex.unlock(); });
    static_cast<void>(watched);
    return numbers;
  }
};

// What the handles of one type stand for. A call holds the object that it uses, so that another thread may
// free the handle meanwhile.
template <typename Handle, typename Object>
class Handles {
 public:
  Handle* Add(std::shared_ptr<Object> object) {
    HandleNumbers& numbers = HandleNumbers::All();
    const std::lock_guard lock(numbers.mutex);
    numbers.last += 2;  // odd: no pointer that anybody allocated
    objects_.emplace(numbers.last, std::move(object));
    return reinterpret_cast<Handle*>(numbers.last);
  }

  // Null for a handle that was freed, or never given out.
  std::shared_ptr<Object> Find(const Handle* handle) const {
    const std::lock_guard lock(HandleNumbers::All().mutex);
    const auto found = objects_.find(reinterpret_cast<std::uintptr_t>(handle));
    return found == objects_.end() ? nullptr : found->second;
  }

  // The object of a handle, which is gone from now on; null as for Find.
  std::shared_ptr<Object> Remove(const Handle* handle) {
    const std::lock_guard lock(HandleNumbers::All().mutex);
    const auto found = objects_.extract(reinterpret_cast<std::uintptr_t>(handle));
    return found.empty() ? nullptr : std::move(found.mapped());
  }

 private:
  std::map<std::uintptr_t, std::shared_ptr<Object>> objects_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_HANDLES_HPP_
