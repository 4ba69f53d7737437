#include "core/cancellation.hpp"

#include "ziprerank/errors.hpp"

namespace ziprerank {

Cancellation::Run::Run(Cancellation* cancellation, Ort::RunOptions* options)
    : cancellation_(*cancellation), options_(options) {
  const std::lock_guard lock(cancellation_.mutex_);
  if (cancellation_.cancelled_) Refuse();
  cancellation_.runs_.push_back(options_);
}

Cancellation::Run::~Run() {
  const std::lock_guard lock(cancellation_.mutex_);
  std::erase(cancellation_.runs_, options_);
}

void Cancellation::Cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  for (Ort::RunOptions* run : runs_) run->SetTerminate();
}

bool Cancellation::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

void Cancellation::Refuse() { throw Cancelled("the window was cancelled: open another one"); }

}  // namespace ziprerank
