// Forks: a child has the memory of its parent and none of its threads, so it can use nothing that relies on
// them.
#ifndef ZIPRERANK_FORK_HPP_
#define ZIPRERANK_FORK_HPP_

namespace ziprerank {

// Forks between this process and the one that started the program.
unsigned ForkCount();

// RuntimeFailure when this process was forked since ForkCount() was `forks`, when an engine was made.
void CheckSameProcess(unsigned forks);

// Code that may hold a lock of ONNX Runtime, for the time of its life.
class RuntimeUse {
 public:
  RuntimeUse();
  ~RuntimeUse();
  RuntimeUse(const RuntimeUse&) = delete;
  RuntimeUse& operator=(const RuntimeUse&) = delete;
};

// ProviderError when this process, or one that it descends from, was forked during a RuntimeUse: a lock that
// its thread held then is never released here.
void CheckRuntimeLocks();

}  // namespace ziprerank

#endif  // ZIPRERANK_FORK_HPP_
