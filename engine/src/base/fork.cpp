#include "base/fork.hpp"

#include <pthread.h>
#include <unistd.h>

#include <atomic>

#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

struct State {
  std::atomic<unsigned> forks{0};
  std::atomic<int> uses{0};
  std::atomic<bool> locks_lost{false};
};

State& Process() {
  static State state;
  static const int watched = pthread_atfork(nullptr, nullptr, [] {
    Process().forks += 1;
    if (Process().uses.exchange(0) > 0) Process().locks_lost = true;
  });
  static_cast<void>(watched);
  return state;
}

}  // namespace

unsigned ForkCount() { return Process().forks; }

void CheckSameProcess(unsigned forks) {
  if (forks == ForkCount()) return;
  throw RuntimeFailure(
      Text("this engine was made before process ", getpid(),
           " was forked, and a fork copies no threads: make an engine after the fork, or start processes by ",
           "spawn"));
}

RuntimeUse::RuntimeUse() { Process().uses += 1; }
RuntimeUse::~RuntimeUse() { Process().uses -= 1; }

void CheckRuntimeLocks() {
  if (!Process().locks_lost) return;
  throw ProviderError(
      Text("process ", getpid(),
           " was forked while another thread used ONNX Runtime, whose locks may stay locked for ever: fork ",
           "before any thread loads an engine, or start processes by spawn"));
}

}  // namespace ziprerank
