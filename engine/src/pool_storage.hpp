// Where the page features [R, L, H] live. Host memory here; a device's memory is another implementation.
#ifndef ZIPRERANK_POOL_STORAGE_HPP_
#define ZIPRERANK_POOL_STORAGE_HPP_

#include <cstddef>
#include <memory>

namespace ziprerank {

class PoolStorage {
 public:
  virtual ~PoolStorage() = default;
  virtual void* data() = 0;
  // Copies `bytes` of a host buffer to `offset`.
  virtual void Write(std::size_t offset, const void* source, std::size_t bytes) = 0;
};

// Address space taken from the system, zeroed; memory is used as rows are first written.
std::unique_ptr<PoolStorage> MakeHostStorage(std::size_t bytes);

}  // namespace ziprerank

#endif  // ZIPRERANK_POOL_STORAGE_HPP_
