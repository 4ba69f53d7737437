// Where the page features [R, L, H] live: memory of the device that the graphs run on.
#ifndef ZIPRERANK_POOL_STORAGE_HPP_
#define ZIPRERANK_POOL_STORAGE_HPP_

#include <cstddef>

namespace ziprerank {

class PoolStorage {
 public:
  virtual ~PoolStorage() = default;
  virtual void* data() = 0;
  // Copies `bytes` bytes of device memory at `source` to `offset`, after all work enqueued before.
  virtual void Write(std::size_t offset, const void* source, std::size_t bytes) = 0;
  // Copies between host memory and `offset`, after all work enqueued before; returns when the copy is done.
  virtual void Import(std::size_t offset, const void* host, std::size_t bytes) = 0;
  virtual void Export(std::size_t offset, void* host, std::size_t bytes) = 0;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_POOL_STORAGE_HPP_
