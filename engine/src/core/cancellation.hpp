// Ends a window's runs of graphs from another thread.
#ifndef ZIPRERANK_CANCELLATION_HPP_
#define ZIPRERANK_CANCELLATION_HPP_

#include <mutex>
#include <vector>

#include "ort/ort.hpp"

namespace ziprerank {

// Once cancelled, it stays so: a run that begins later is refused, since nobody can tell from outside whether
// a run had begun.
class Cancellation {
 public:
  // A run under way with these options, which Cancel ends before its next operator.
  class Run {
   public:
    // Cancelled if Cancel was called before.
    Run(Cancellation* cancellation, Ort::RunOptions* options);
    ~Run();
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

   private:
    Cancellation& cancellation_;
    Ort::RunOptions* options_;
  };

  void Cancel();
  bool cancelled() const;
  // Throws Cancelled.
  [[noreturn]] static void Refuse();

 private:
  mutable std::mutex mutex_;
  bool cancelled_ = false;
  std::vector<Ort::RunOptions*> runs_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_CANCELLATION_HPP_
