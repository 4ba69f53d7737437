// Buffers on the way to the GPU, on the driver without one: what arrives, and what waits for what.
#include "backend/cuda/cuda_feed.hpp"

#include <cstring>
#include <sstream>
#include <thread>

#include "check.hpp"
#include "fake_driver.hpp"

namespace ziprerank {

using check::Fake;
using check::Hex;
using check::Lines;

TEST(cuda_feeds_bring_patches_and_wait_for_what_reads_them) {
  Fake fake;
  const CudaContext context(FAKE_CUDA_DRIVER, 0);
  const CudaStream compute(context);
  CudaFeeds feeds(context, compute);
  const std::string encode = Hex(compute.get());
  Lines first_events;
  for (std::size_t page = 0; page < 7; ++page) {
    const std::size_t patches = 4 * (1 + page % 3);
    fake.Clear();
    {
      const std::unique_ptr<PageFeed> feed = feeds.Next(patches, 12);
      const PatchMemory host = feed->host();
      for (std::size_t i = 0; i < patches; ++i) {
        std::memset(host.pixels + 12 * i, static_cast<int>(page + i), 12);
        host.rows[i] = static_cast<std::int64_t>(100 * page + i);
        host.cols[i] = -host.rows[i];
      }
      const PatchMemory sent = feed->Send();
      CHECK(sent.pixels != host.pixels);
      CHECK(std::memcmp(sent.pixels, host.pixels, 12 * patches) == 0);
      CHECK(std::equal(host.rows, host.rows + patches, sent.rows));
      CHECK(std::equal(host.cols, host.cols + patches, sent.cols));
      CHECK(reinterpret_cast<std::uintptr_t>(sent.pixels) % 8 == 0);
      CHECK(feed->Scratch(100) != nullptr);
    }
    const Lines calls = fake.Calls({"cuEventSynchronize", "cuMemcpyHtoDAsync", "cuEventRecord",
                                    "cuStreamWaitEvent", "cuStreamSynchronize"});
    CHECK(calls.size() == 5);
    if (calls.size() != 5) return;
    std::vector<Lines> words;
    for (const std::string& call : calls) {
      std::istringstream line(call);
      words.emplace_back();
      for (std::string word; line >> word;) words.back().push_back(word);
    }
    // wait until the buffers are free; copy; the compute stream waits for the copy; after the page they are
    // free again
    const std::string& copies = words[1].back();
    CHECK(words[0][0] == "cuEventSynchronize" && words[1][0] == "cuMemcpyHtoDAsync" && copies != encode);
    CHECK(words[2] == Lines{"cuEventRecord", words[2][1], copies});
    CHECK(words[3] == Lines{"cuStreamWaitEvent", encode, words[2][1], "0"});
    CHECK(words[4] == Lines{"cuEventRecord", words[0][1], encode});
    CHECK(words[0][1] != words[2][1]);
    // three sets in turn: page 3 waits for what page 0 has recorded
    if (page < 3) {
      CHECK(std::find(first_events.begin(), first_events.end(), words[0][1]) == first_events.end());
      first_events.push_back(words[0][1]);
    } else {
      CHECK(words[0][1] == first_events[page % 3]);
    }
  }
}

TEST(cuda_feeds_serve_many_threads) {
  const Fake fake;
  const CudaContext context(FAKE_CUDA_DRIVER, 0);
  const CudaStream compute(context);
  CudaFeeds feeds(context, compute);
  std::vector<int> wrong(8);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (int page = 0; page < 20; ++page) {
        const std::unique_ptr<PageFeed> feed = feeds.Next(4, 12);
        std::memset(feed->host().pixels, 10 * thread + page, 48);
        const std::uint8_t* sent = feed->Send().pixels;
        wrong[static_cast<std::size_t>(thread)] +=
            !std::all_of(sent, sent + 48, [&](std::uint8_t value) { return value == 10 * thread + page; });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(std::all_of(wrong.begin(), wrong.end(), [](int count) { return count == 0; }));
}

}  // namespace ziprerank
