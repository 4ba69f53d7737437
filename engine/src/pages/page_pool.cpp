#include "pages/page_pool.hpp"

#include <algorithm>
#include <chrono>

#include "base/text.hpp"

namespace ziprerank {

struct PagePool::Page {
  Digest key;
  std::vector<std::int32_t> tokens;  // one row each
  std::vector<std::int32_t> blocks;
  std::int64_t pins = 0;
  bool filled = false;
  std::list<Page*>::iterator idle;  // valid while filled and unpinned
};

PagePool::PagePool(std::int64_t rows)
    : blocks_(rows / kBlockRows), free_(blocks_), taken_(static_cast<std::size_t>(blocks_), false) {}

PagePool::~PagePool() = default;

std::int64_t PagePool::Admit(const std::vector<std::int64_t>& page_rows,
                             const std::function<void()>& while_waiting) {
  std::int64_t need = 0;
  for (const std::int64_t rows : page_rows) need += BlocksFor(rows);
  if (need > blocks_) {
    throw PoolError(Text("a window of ", page_rows.size(), " pages needs ", need * kBlockRows,
                         " pool rows, the pool has ", rows(),
                         ": raise pool_bytes, or use a smaller window or smaller pages"));
  }
  std::unique_lock lock(mutex_);
  const std::uint64_t ticket = next_ticket_++;
  queue_.push_back(ticket);
  try {
    while (queue_.front() != ticket || admitted_ + need > blocks_) {
      room_.wait_for(lock, std::chrono::milliseconds(100));
      if (while_waiting) {
        lock.unlock();  // it may take long, or a lock of the caller's
        while_waiting();
        lock.lock();
      }
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    queue_.erase(std::find(queue_.begin(), queue_.end(), ticket));
    room_.notify_all();
    throw;
  }
  queue_.pop_front();
  admitted_ += need;
  room_.notify_all();  // the next one may fit as well
  return need;
}

void PagePool::Dismiss(std::int64_t blocks) {
  const std::lock_guard lock(mutex_);
  admitted_ -= blocks;
  room_.notify_all();
}

PagePool::Pin PagePool::Acquire(const Digest& key, std::vector<std::int32_t> tokens) {
  std::unique_lock lock(mutex_);
  if (Page* found = PinFilled(key, &lock)) return {found, true};
  const std::int64_t count = BlocksFor(std::ssize(tokens));
  EvictUntilFree(count);
  auto page = std::make_unique<Page>();
  page->key = key;
  page->tokens = std::move(tokens);
  page->blocks = TakeBlocks(count);
  page->pins = 1;
  pinned_ += count;
  ++counts_.misses;
  Page* made = page.get();
  pages_.emplace(key, std::move(page));
  return {made, false};
}

PagePool::Page* PagePool::Find(const Digest& key) {
  std::unique_lock lock(mutex_);
  return PinFilled(key, &lock);
}

bool PagePool::Holds(const Digest& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = pages_.find(key);
  return found != pages_.end() && found->second->filled;
}

void PagePool::Commit(Page* page) {
  const std::lock_guard lock(mutex_);
  page->filled = true;
  filled_.notify_all();
}

void PagePool::Abandon(Page* page) {
  const std::lock_guard lock(mutex_);
  pinned_ -= static_cast<std::int64_t>(page->blocks.size());
  Forget(page);
  filled_.notify_all();
}

void PagePool::Unpin(Page* page) {
  const std::lock_guard lock(mutex_);
  if (--page->pins > 0) return;
  pinned_ -= static_cast<std::int64_t>(page->blocks.size());
  page->idle = idle_.insert(idle_.end(), page);
}

// A pinned page's key, tokens and blocks do not change: no lock.
const Digest& PagePool::Key(const Page* page) const { return page->key; }

std::span<const std::int32_t> PagePool::Tokens(const Page* page) const { return page->tokens; }

void PagePool::AppendRows(const Page* page, std::vector<std::int64_t>* rows) const {
  for (std::int64_t row = 0; row < std::ssize(page->tokens); ++row) {
    const std::int64_t block = page->blocks[static_cast<std::size_t>(row / kBlockRows)];
    rows->push_back(block * kBlockRows + row % kBlockRows);
  }
}

std::int64_t PagePool::FirstOfRun(const Page* page) const {
  for (std::size_t i = 1; i < page->blocks.size(); ++i) {
    if (page->blocks[i] != page->blocks[i - 1] + 1) return -1;
  }
  return page->blocks.front() * kBlockRows;
}

PoolStats PagePool::stats() const {
  const std::lock_guard lock(mutex_);
  PoolStats stats = counts_;
  stats.rows = rows();
  stats.used_rows = (blocks_ - free_) * kBlockRows;
  stats.pinned_rows = pinned_ * kBlockRows;
  stats.pages = static_cast<std::int64_t>(pages_.size());
  return stats;
}

PagePool::Page* PagePool::PinFilled(const Digest& key, std::unique_lock<std::mutex>* lock) {
  for (;;) {
    const auto found = pages_.find(key);
    if (found == pages_.end()) return nullptr;
    Page* page = found->second.get();
    if (!page->filled) {  // looked up again afterwards: it may be gone
      filled_.wait(*lock);
      continue;
    }
    if (page->pins++ == 0) {
      idle_.erase(page->idle);
      pinned_ += static_cast<std::int64_t>(page->blocks.size());
    }
    ++counts_.hits;
    return page;
  }
}

void PagePool::EvictUntilFree(std::int64_t blocks) {
  while (free_ < blocks) {
    if (idle_.empty()) {  // a page larger than its window was admitted for
      throw PoolError(Text("a page needs ", blocks * kBlockRows, " pool rows, ", free_ * kBlockRows,
                           " are free and open windows use the rest: raise pool_bytes"));
    }
    Page* page = idle_.front();
    idle_.pop_front();
    ++counts_.evictions;
    Forget(page);
  }
}

// One run when there is one (vision.onnx then writes straight into the pool), else whatever is free.
std::vector<std::int32_t> PagePool::TakeBlocks(std::int64_t count) {
  std::vector<std::int32_t> blocks;
  blocks.reserve(static_cast<std::size_t>(count));
  std::int64_t run = 0;
  for (std::int64_t block = 0; block < blocks_ && run < count; ++block) {
    run = taken_[static_cast<std::size_t>(block)] ? 0 : run + 1;
    if (run == count) {
      for (std::int64_t b = block - count + 1; b <= block; ++b)
        blocks.push_back(static_cast<std::int32_t>(b));
    }
  }
  for (std::int64_t block = 0; std::ssize(blocks) < count; ++block) {
    if (!taken_[static_cast<std::size_t>(block)]) blocks.push_back(static_cast<std::int32_t>(block));
  }
  for (const std::int32_t block : blocks) taken_[static_cast<std::size_t>(block)] = true;
  free_ -= count;
  return blocks;
}

void PagePool::Forget(Page* page) {
  for (const std::int32_t block : page->blocks) taken_[static_cast<std::size_t>(block)] = false;
  free_ += static_cast<std::int64_t>(page->blocks.size());
  pages_.erase(Digest(page->key));  // a copy: the page dies with its entry
}

}  // namespace ziprerank
