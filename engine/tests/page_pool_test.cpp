#include "pages/page_pool.hpp"

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <utility>

#include "check.hpp"
#include "pages/blank.hpp"

namespace ziprerank {
namespace {

constexpr std::int64_t kBlock = PagePool::kBlockRows;

Digest Key(std::uint64_t number) { return {number, ~number}; }

std::vector<std::int32_t> Tokens(std::int64_t count) { return AllTokens({1, count}); }

// A page filled and left pinned.
PagePool::Page* Fill(PagePool* pool, std::uint64_t key, std::int64_t rows) {
  const PagePool::Pin pin = pool->Acquire(Key(key), Tokens(rows));
  CHECK(!pin.hit);
  pool->Commit(pin.page);
  return pin.page;
}

bool IsCached(PagePool* pool, std::uint64_t key, std::int64_t rows) {
  const PagePool::Pin pin = pool->Acquire(Key(key), Tokens(rows));
  if (pin.hit) {
    pool->Unpin(pin.page);
  } else {
    pool->Abandon(pin.page);
  }
  return pin.hit;
}

}  // namespace

TEST(page_pool_rows_and_counts) {
  PagePool pool(10 * kBlock + 5);
  CHECK(pool.rows() == 10 * kBlock);
  PagePool::Page* first = Fill(&pool, 1, kBlock + 1);
  PagePool::Page* second = Fill(&pool, 2, 3);
  std::vector<std::int64_t> rows;
  pool.AppendRows(first, &rows);
  pool.AppendRows(second, &rows);
  CHECK(std::ssize(rows) == kBlock + 4);
  CHECK(rows.front() == 0 && rows[static_cast<std::size_t>(kBlock)] == kBlock &&
        rows.back() == 2 * kBlock + 2);
  CHECK(pool.FirstOfRun(second) == 2 * kBlock);
  pool.Unpin(second);
  const PoolStats stats = pool.stats();
  CHECK(stats.used_rows == 3 * kBlock && stats.pinned_rows == 2 * kBlock && stats.pages == 2);
  CHECK(stats.misses == 2 && stats.hits == 0 && stats.evictions == 0);
}

TEST(page_pool_remembers_which_tokens_have_rows) {
  PagePool pool(4 * kBlock);
  const std::vector<std::int32_t> tokens = {1, 4, 9};
  const PagePool::Pin pin = pool.Acquire(Key(1), tokens);
  pool.Commit(pin.page);
  const auto held = pool.Tokens(pool.Find(Key(1)));
  CHECK(std::vector<std::int32_t>(held.begin(), held.end()) == tokens);
  std::vector<std::int64_t> rows;
  pool.AppendRows(pin.page, &rows);
  CHECK(rows == std::vector<std::int64_t>({0, 1, 2}));
}

TEST(page_pool_longest_unused_page_goes_first) {
  PagePool pool(3 * kBlock);
  for (std::uint64_t key = 1; key <= 3; ++key) pool.Unpin(Fill(&pool, key, kBlock));
  CHECK(IsCached(&pool, 1, kBlock));  // used again: now 2 is the oldest
  pool.Unpin(Fill(&pool, 4, kBlock));
  CHECK(pool.stats().evictions == 1);
  CHECK(IsCached(&pool, 1, kBlock) && IsCached(&pool, 3, kBlock) && IsCached(&pool, 4, kBlock));
  CHECK(!IsCached(&pool, 2, kBlock));
}

TEST(page_pool_find_pins_what_is_there) {
  PagePool pool(2 * kBlock);
  CHECK(pool.Find(Key(1)) == nullptr);
  PagePool::Page* page = Fill(&pool, 1, kBlock);
  CHECK(pool.Find(Key(1)) == page);
  pool.Unpin(page);
  CHECK(pool.stats().pinned_rows == kBlock);  // the second pin
  pool.Unpin(page);
  CHECK(pool.stats().pinned_rows == 0 && pool.stats().hits == 1 && pool.stats().misses == 1);
}

TEST(page_pool_find_waits_for_a_page_that_is_being_filled) {
  for (const bool given_up : {false, true}) {
    PagePool pool(2 * kBlock);
    const PagePool::Pin pin = pool.Acquire(Key(1), Tokens(kBlock));
    std::atomic<bool> ended = false;
    PagePool::Page* found = nullptr;
    std::thread finder([&] {
      found = pool.Find(Key(1));
      ended = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK(!ended);
    if (given_up) {
      pool.Abandon(pin.page);
    } else {
      pool.Commit(pin.page);
    }
    finder.join();
    CHECK(found == (given_up ? nullptr : pin.page));
  }
}

TEST(page_pool_pinned_pages_stay) {
  PagePool pool(2 * kBlock);
  Fill(&pool, 1, kBlock);
  pool.Unpin(Fill(&pool, 2, kBlock));
  Fill(&pool, 3, kBlock);  // takes the place of 2
  CHECK(IsCached(&pool, 1, kBlock));
  CHECK_THROWS(kPool, "open windows use the rest", pool.Acquire(Key(4), Tokens(kBlock)));
}

TEST(page_pool_scattered_blocks) {
  PagePool pool(5 * kBlock);
  std::vector<PagePool::Page*> pages;
  for (std::uint64_t key = 0; key < 5; ++key) pages.push_back(Fill(&pool, key, kBlock));
  pool.Unpin(pages[1]);
  pool.Unpin(pages[3]);
  PagePool::Page* page = Fill(&pool, 9, 2 * kBlock);
  CHECK(pool.FirstOfRun(page) == -1);
  std::vector<std::int64_t> rows;
  pool.AppendRows(page, &rows);
  CHECK(rows.front() == kBlock && rows[static_cast<std::size_t>(kBlock)] == 3 * kBlock);
}

TEST(page_pool_a_run_is_preferred) {
  PagePool pool(6 * kBlock);
  std::vector<PagePool::Page*> pages;
  for (std::uint64_t key = 0; key < 6; ++key) pages.push_back(Fill(&pool, key, kBlock));
  for (const std::size_t free : {0u, 2u, 3u}) {
    pool.Unpin(pages[free]);
  }
  pool.Unpin(Fill(&pool, 10, 3 * kBlock));  // evicts all three, scattered
  CHECK(!IsCached(&pool, 0, kBlock));       // and this one puts its blocks back to the free ones
  PagePool::Page* page = Fill(&pool, 11, 2 * kBlock);
  CHECK(pool.FirstOfRun(page) == 2 * kBlock);
}

TEST(page_pool_window_larger_than_the_pool) {
  PagePool pool(4 * kBlock);
  CHECK_THROWS(kPool, "a window of 2 pages needs 160 pool rows, the pool has 128: raise pool_bytes",
               pool.Admit({3 * kBlock, kBlock + 1}, {}));
}

TEST(page_pool_windows_wait_in_order) {
  PagePool pool(4 * kBlock);
  const std::int64_t held = pool.Admit({3 * kBlock}, {});
  std::vector<int> order;
  std::atomic<int> waiting = 0;
  // The second window would fit at once, but the first one came before it.
  std::thread large([&] {
    bool counted = false;
    const std::int64_t blocks = pool.Admit({4 * kBlock}, [&] { waiting += !std::exchange(counted, true); });
    order.push_back(1);  // alone in the pool: nobody else writes
    pool.Dismiss(blocks);
  });
  while (waiting < 1) std::this_thread::yield();
  std::thread small([&] {
    bool counted = false;
    const std::int64_t blocks = pool.Admit({kBlock}, [&] { waiting += !std::exchange(counted, true); });
    order.push_back(2);
    pool.Dismiss(blocks);
  });
  while (waiting < 2) std::this_thread::yield();
  CHECK(order.empty());
  pool.Dismiss(held);
  large.join();
  small.join();
  CHECK(order == std::vector<int>{1, 2});
}

TEST(page_pool_a_waiting_window_may_give_up) {
  PagePool pool(2 * kBlock);
  const std::int64_t held = pool.Admit({2 * kBlock}, {});
  CHECK_THROWS(kInvalidArgument, "enough", pool.Admit({kBlock}, [] { throw InvalidArgument("enough"); }));
  pool.Dismiss(held);
  CHECK(pool.Admit({2 * kBlock}, {}) == 2);  // the queue is empty again
}

TEST(page_pool_one_fills_the_other_waits) {
  PagePool pool(4 * kBlock);
  const PagePool::Pin pin = pool.Acquire(Key(1), Tokens(kBlock));
  std::atomic<bool> hit = false;
  std::thread other([&] {
    const PagePool::Pin second = pool.Acquire(Key(1), Tokens(kBlock));
    hit = second.hit && second.page == pin.page;
    pool.Unpin(second.page);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(!hit);
  pool.Commit(pin.page);
  other.join();
  CHECK(hit);
}

TEST(page_pool_a_waiter_takes_over_when_filling_fails) {
  PagePool pool(4 * kBlock);
  const PagePool::Pin pin = pool.Acquire(Key(1), Tokens(kBlock));
  std::atomic<bool> filled = false;
  std::thread other([&] {
    const PagePool::Pin second = pool.Acquire(Key(1), Tokens(kBlock));
    filled = !second.hit;
    pool.Commit(second.page);
    pool.Unpin(second.page);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  pool.Abandon(pin.page);
  other.join();
  CHECK(filled);
  CHECK(IsCached(&pool, 1, kBlock));
}

// Eight threads open windows of random pages over a pool that holds few of them. Each row carries its page's
// number; a reader that ever sees another one has been evicted while it was pinned.
TEST(page_pool_under_load) {
  constexpr std::int64_t kBlocks = 24;
  PagePool pool(kBlocks * kBlock);
  std::vector<std::atomic<std::uint64_t>> memory(static_cast<std::size_t>(kBlocks * kBlock));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 8; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      for (int round = 0; round < 300; ++round) {
        std::vector<std::uint64_t> keys(1 + random() % 4);
        std::vector<std::int64_t> sizes;
        for (std::uint64_t& key : keys) {
          key = 1 + random() % 12;
          sizes.push_back(static_cast<std::int64_t>(20 * key));  // 20 to 240 rows; a key always has one size
        }
        std::int64_t need = 0;
        for (const std::int64_t size : sizes) need += PagePool::BlocksFor(size);
        if (need > kBlocks) continue;
        const std::int64_t blocks = pool.Admit(sizes, {});
        std::vector<PagePool::Page*> pages;
        for (std::size_t i = 0; i < keys.size(); ++i) {
          PagePool::Pin pin = pool.Acquire(Key(keys[i]), Tokens(sizes[i]));
          std::vector<std::int64_t> rows;
          pool.AppendRows(pin.page, &rows);
          if (!pin.hit && random() % 8 == 0) {  // filling fails now and then
            pool.Abandon(pin.page);
            continue;
          }
          if (!pin.hit) {
            for (const std::int64_t row : rows) memory[static_cast<std::size_t>(row)] = keys[i];
            pool.Commit(pin.page);
          }
          for (const std::int64_t row : rows) wrong += memory[static_cast<std::size_t>(row)] != keys[i];
          pages.push_back(pin.page);
        }
        for (PagePool::Page* page : pages) pool.Unpin(page);
        pool.Dismiss(blocks);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  const PoolStats stats = pool.stats();
  CHECK(stats.pinned_rows == 0 && stats.evictions > 0 && stats.hits > 0);
}

}  // namespace ziprerank
