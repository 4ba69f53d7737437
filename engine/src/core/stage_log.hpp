// When the stages inside an engine ran, for an engine that profiles.
#ifndef ZIPRERANK_STAGE_LOG_HPP_
#define ZIPRERANK_STAGE_LOG_HPP_

#if defined(__APPLE__)
#include <pthread.h>
#else
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <chrono>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "ziprerank/engine.hpp"

namespace ziprerank {

class StageLog {
 public:
  // Measures from its construction to its destruction; without a log it does nothing.
  class Stage {
   public:
    Stage(StageLog* log, const char* name)
        : log_(log),
          name_(name),
          start_(log == nullptr ? 0 : Now()),
          thread_(log == nullptr ? 0 : Thread()) {}
    Stage(const Stage&) = delete;
    Stage& operator=(const Stage&) = delete;
    ~Stage() {
      if (log_ == nullptr) return;
      const std::int64_t end = Now();
      const std::lock_guard lock(log_->mutex_);
      log_->stages_.push_back({name_, start_, end, thread_});
    }

   private:
    StageLog* log_;
    const char* name_;
    std::int64_t start_;
    std::int64_t thread_;
  };

  // What was measured since the last call.
  std::vector<StageTime> Take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(stages_, {});
  }

 private:
  // ONNX Runtime's profiler reads the same clock.
  static std::int64_t Now() {
    const auto now = std::chrono::high_resolution_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  }
#if defined(__APPLE__)
  static std::int64_t Thread() {
    std::uint64_t id = 0;
    pthread_threadid_np(nullptr, &id);
    return static_cast<std::int64_t>(id);
  }
#else
  static std::int64_t Thread() { return syscall(SYS_gettid); }
#endif

  std::mutex mutex_;
  std::vector<StageTime> stages_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_STAGE_LOG_HPP_
