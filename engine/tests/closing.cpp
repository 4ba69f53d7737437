// What the C++ API makes of engines and windows that are closed, moved from, or of a process that was forked.
//
//   closing BUNDLE LIBONNXRUNTIME
//
// Prints what was wrong and ends with 1, or prints nothing. tests/engine/test_build.py runs it, under
// sanitizers too.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <ziprerank/engine.hpp>

#include "one_page.hpp"

namespace {

using ziprerank::ErrorKind;

template <typename Call>
void Refused(int line, ErrorKind kind, const std::string& part, Call&& call) {
  try {
    call();
    Fail(__FILE__, line, "no error");
  } catch (const ziprerank::Error& error) {
    if (error.kind() != kind || std::string(error.what()).find(part) == std::string::npos) {
      Fail(__FILE__, line, error.what());
    }
  }
}
#define REFUSED(kind, part, call) Refused(__LINE__, kind, part, [&] { call; })

void EveryCall(ziprerank::Window& window, ErrorKind kind, const std::string& part) {
  std::vector<std::byte> bytes(8);
  REFUSED(kind, part, window.encode(0, kPage));
  REFUSED(kind, part, window.find(0, kPage));
  REFUSED(kind, part, window.restore(0, kPage, bytes));
  REFUSED(kind, part, window.tokens(0));
  REFUSED(kind, part, window.features(0, bytes));
  REFUSED(kind, part, window.score({}, 0.5));
  window.close();
  window.close();
}

void Closed(const ziprerank::EngineOptions& options) {
  ziprerank::Engine engine(options);
  ziprerank::Window window = engine.window({{kSide, kSide}});
  window.encode(0, kPage);
  ziprerank::Window moved = std::move(window);
  EveryCall(window, ErrorKind::kInvalidArgument, "moved from");
  CHECK(window.size() == 0 && moved.size() == 1 && moved.tokens(0) > 0);

  ziprerank::Engine other = std::move(engine);
  REFUSED(ErrorKind::kInvalidArgument, "the engine is closed", engine.window({{kSide, kSide}}));
  other.close();
  other.close();
  REFUSED(ErrorKind::kInvalidArgument, "the engine is closed", other.window({{kSide, kSide}}));
  REFUSED(ErrorKind::kInvalidArgument, "the engine is closed", other.pool_stats());
  REFUSED(ErrorKind::kInvalidArgument, "the engine is closed", other.end_profile());
  CHECK(other.info().patch_size == 16);
  CHECK(moved.tokens(0) > 0);  // windows outlive their engine
  moved.close();
  EveryCall(moved, ErrorKind::kInvalidArgument, "the window is closed");
}

// Closing while other threads open windows and wait for room: each call ends, by an error or with a window.
void ClosedMeanwhile(ziprerank::EngineOptions options) {
  options.pool_bytes = 64 << 10;
  for (int round = 0; round < 8; ++round) {
    ziprerank::Engine engine(options);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&engine] {
        try {
          for (;;) engine.window({{kSide, kSide}}).encode(0, kPage);
        } catch (const ziprerank::Error& error) {
          if (error.kind() != ErrorKind::kInvalidArgument) std::abort();
        }
      });
    }
    engine.close();
    for (std::thread& thread : threads) thread.join();
  }
}

void Forked(const ziprerank::EngineOptions& options) {
  ziprerank::Engine engine(options);
  ziprerank::Window window = engine.window({{kSide, kSide}});
  window.encode(0, kPage);
  const pid_t child = fork();
  if (child == 0) {
    failures = 0;
    EveryCall(window, ErrorKind::kRuntime, "was forked");
    REFUSED(ErrorKind::kRuntime, "was forked", engine.window({{kSide, kSide}}));
    REFUSED(ErrorKind::kRuntime, "was forked", engine.pool_stats());
    ziprerank::Engine own(options);
    own.window({{kSide, kSide}}).encode(0, kPage);
    return;  // takes everything apart
  }
  int status = 0;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  CHECK(window.tokens(0) > 0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  ziprerank::EngineOptions options;
  options.bundle = argv[1];
  options.runtime_library = argv[2];
  options.pool_bytes = 1 << 20;
  const pid_t parent = getpid();
  Forked(options);
  if (getpid() == parent) {
    Closed(options);
    ClosedMeanwhile(options);
  }
  return failures == 0 ? 0 : 1;
}
