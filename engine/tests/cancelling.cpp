// Calls that end in the middle of a graph's run, because their window is cancelled from another thread.
//
//   cancelling BUNDLE FAKE_ONNXRUNTIME
//
// With FAKE_RUNS_WAIT, which this program sets, each run of that library (fakes/onnxruntime.c) waits until it
// is told to end. Prints what was wrong and ends with 1, or prints nothing. tests/engine/test_build.py runs
// it, under sanitizers too.
#include <dlfcn.h>
#include <ziprerank/ziprerank.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>
#include <ziprerank/engine.hpp>

#include "one_page.hpp"

namespace {

void AreCancelled(int line, const std::function<void()>& call) {
  try {
    call();
    Fail(__FILE__, line, "no error");
  } catch (const ziprerank::Error& error) {
    if (error.kind() != ziprerank::ErrorKind::kCancelled ||
        std::string(error.what()) != "the window was cancelled: open another one") {
      Fail(__FILE__, line, error.what());
    }
  }
}
#define CANCELLED(call) AreCancelled(__LINE__, [&] { call; })

ziprerank::Window Opened(ziprerank::Engine& engine) {
  ziprerank::Window window = engine.window({{kSide, kSide}});
  window.encode(0, kPage);
  return window;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  ziprerank::EngineOptions options;
  options.bundle = argv[1];
  options.runtime_library = argv[2];
  options.pool_bytes = 1 << 20;
  options.blank = ziprerank::Blank::kKeep;
  ziprerank::Engine engine(options);
  void* const library = dlopen(argv[2], RTLD_NOW | RTLD_NOLOAD);
  const auto await_runs = reinterpret_cast<void (*)(int)>(dlsym(library, "fake_await_runs"));
  const ziprerank::Prompt prompt{.ids = {1, engine.info().image_pad_id, 1}, .query_mask = {}};
  ziprerank::Window untouched = Opened(engine);
  const std::vector<float> wanted = untouched.score(prompt, 0.5).scores;

  ziprerank::Window window = Opened(engine), other = engine.window({{kSide, 2 * kSide}});
  const std::vector<std::uint8_t> pixels(6 * kSide * kSide, 90);
  const ziprerank::ImageView page{pixels.data(), kSide, 2 * kSide};
  setenv("FAKE_RUNS_WAIT", "1", 1);
  std::thread encode([&] { CANCELLED(other.encode(0, page)); });
  await_runs(1);
  other.cancel();
  encode.join();
  std::vector<std::thread> scores;
  for (int i = 0; i < 2; ++i) scores.emplace_back([&] { CANCELLED(window.score(prompt, 0.5)); });
  await_runs(2);
  window.cancel();
  for (std::thread& score : scores) score.join();
  unsetenv("FAKE_RUNS_WAIT");

  CANCELLED(window.score(prompt, 0.5));  // for good
  CANCELLED(other.encode(0, page));
  CHECK(window.tokens(0) == 4);
  CHECK(untouched.score(prompt, 0.5).scores == wanted);
  const ziprerank::PoolStats pool = engine.pool_stats();
  CHECK(pool.pages == 1);  // the page that was not encoded to its end is none
  window.close();
  other.close();
  window.cancel();  // nothing is left to end
  ziprerank::Window again = engine.window({{kSide, 2 * kSide}});
  CHECK(!again.encode(0, page));
  CHECK(again.score(prompt, 0.5).scores.size() == 1);

  zr_error* error = nullptr;
  CHECK(zr_window_cancel(nullptr, &error) == ZR_INVALID_ARGUMENT);
  CHECK(std::string(zr_error_message(error)) == "window is NULL");
  zr_error_free(error);
  return failures == 0 ? 0 : 1;
}
