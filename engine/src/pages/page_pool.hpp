// Which pool rows hold which page: blocks of rows, an LRU over the pages that no window uses, and admission.
// Pure bookkeeping; the rows themselves are in PoolStorage.
//
// Why nothing can deadlock: a window is admitted only when the blocks of all its pages fit beside those of
// the windows admitted before. A window pins at most what it was admitted for, so pinned <= admitted <=
// capacity, and a page to be filled always finds its blocks among the free and the unpinned ones.
#ifndef ZIPRERANK_PAGE_POOL_HPP_
#define ZIPRERANK_PAGE_POOL_HPP_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "pages/digest.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {

class PagePool {
 public:
  static constexpr std::int64_t kBlockRows = 32;

  struct Page;  // a cached page, or one that is being filled

  // A pinned page. `hit`: its rows are filled; else the caller fills them, then calls Commit or Abandon.
  struct Pin {
    Page* page = nullptr;
    bool hit = false;
  };

  explicit PagePool(std::int64_t rows);  // rounded down to whole blocks
  ~PagePool();

  std::int64_t rows() const { return blocks_ * kBlockRows; }
  static std::int64_t BlocksFor(std::int64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

  // Reserves room for a window of pages; waits, in order of arrival, while other windows hold the pool.
  // Returns the blocks reserved, for Dismiss. PoolError when the pages could never fit.
  std::int64_t Admit(const std::vector<std::int64_t>& page_rows, const std::function<void()>& while_waiting);
  void Dismiss(std::int64_t blocks);

  // Finds or makes room for a page of an admitted window, a row for each of its visual tokens that the model
  // reads. When another thread is filling the same page, waits for it; should that thread give up, this one
  // fills.
  Pin Acquire(const Digest& key, std::vector<std::int32_t> tokens);
  // The pinned page when its rows are filled, waiting for a thread that fills them; null when the pool has
  // none.
  Page* Find(const Digest& key);
  void Commit(Page* page);   // filled; stays pinned
  void Abandon(Page* page);  // not filled; unpins and forgets it
  void Unpin(Page* page);

  // Whether Find would have the page now; a page that is being filled counts as none.
  bool Holds(const Digest& key) const;

  // What a pinned page is found by.
  const Digest& Key(const Page* page) const;
  // The visual tokens of a pinned page that have a row, as they were given.
  std::span<const std::int32_t> Tokens(const Page* page) const;
  // The pool rows of a pinned page, in the order of its visual tokens.
  void AppendRows(const Page* page, std::vector<std::int64_t>* rows) const;
  // The first row, when all rows stand in one run; else -1.
  std::int64_t FirstOfRun(const Page* page) const;

  PoolStats stats() const;

 private:
  Page* PinFilled(const Digest& key, std::unique_lock<std::mutex>* lock);
  void EvictUntilFree(std::int64_t blocks);
  std::vector<std::int32_t> TakeBlocks(std::int64_t count);
  void Forget(Page* page);

  const std::int64_t blocks_;
  mutable std::mutex mutex_;
  std::condition_variable room_;     // a window was dismissed, or the first in the queue has moved on
  std::condition_variable filled_;   // a page was committed or abandoned
  std::deque<std::uint64_t> queue_;  // tickets of waiting windows
  std::uint64_t next_ticket_ = 0;
  std::int64_t admitted_ = 0;
  std::int64_t free_ = 0;
  std::int64_t pinned_ = 0;  // blocks
  std::vector<bool> taken_;  // by block
  std::unordered_map<Digest, std::unique_ptr<Page>, DigestHash> pages_;
  std::list<Page*> idle_;  // filled and unpinned, the longest unused first
  PoolStats counts_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_PAGE_POOL_HPP_
