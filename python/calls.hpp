// Calls into the engine by Python's threads, at the end of the interpreter. There a thread that wants the
// interpreter's lock back is unwound or stopped, which frames of C++ do not survive. So the end waits for the
// calls under way, and lets daemon threads begin no other.
#ifndef ZIPRERANK_CALLS_HPP_
#define ZIPRERANK_CALLS_HPP_

#include <nanobind/nanobind.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace ziprerank {

struct Interpreter {
  std::atomic<int> calls{0};
  std::atomic<bool> ending{false};
  std::thread::id ended_by;

  // Whether the end has come, for a thread other than the one that carries it out.
  bool Over() const { return ending && std::this_thread::get_id() != ended_by; }

  struct IsOver {};
  void CheckOver() const {
    if (Over()) throw IsOver();
  }

  // Called once by atexit, with the interpreter's lock.
  void End() {
    ended_by = std::this_thread::get_id();
    ending = true;
    const nanobind::gil_scoped_release release;
    for (int left = calls; left > 0; left = calls) calls.wait(left);
  }
};

inline Interpreter interpreter;

// One call, from before it gives the interpreter's lock up until it has that back.
class Call {
 public:
  Call() {
    interpreter.calls += 1;
    if (interpreter.Over()) {
      PyEval_SaveThread();
      Stop();
    }
  }
  ~Call() { Leave(); }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Ends the call, and with it this thread's part in the program; without the interpreter's lock.
  [[noreturn]] void Stop() const {
    Leave();
    for (;;) pause();
  }

 private:
  static void Leave() {
    interpreter.calls -= 1;
    interpreter.calls.notify_all();
  }
};

// Registers what the end of the interpreter and a fork have to do with calls.
inline void WatchInterpreter() {
  const nanobind::object handler = nanobind::cpp_function([] { interpreter.End(); });
  nanobind::module_::import_("atexit").attr("register")(handler);
  pthread_atfork(nullptr, nullptr, [] { interpreter.calls = 0; });  // those of the parent's other threads
}

}  // namespace ziprerank

#endif  // ZIPRERANK_CALLS_HPP_
