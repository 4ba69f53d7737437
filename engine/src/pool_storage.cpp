#include "pool_storage.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

class HostStorage : public PoolStorage {
 public:
  explicit HostStorage(std::size_t bytes) : bytes_(bytes) {
    data_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data_ == MAP_FAILED) {
      throw PoolError(Text("no address space for a pool of ", bytes, " bytes (", std::strerror(errno),
                           "): lower pool_bytes"));
    }
  }
  HostStorage(const HostStorage&) = delete;
  HostStorage& operator=(const HostStorage&) = delete;
  ~HostStorage() override { munmap(data_, bytes_); }

  void* data() override { return data_; }
  void Write(std::size_t offset, const void* source, std::size_t bytes) override {
    std::memcpy(static_cast<std::byte*>(data_) + offset, source, bytes);
  }

 private:
  std::size_t bytes_;
  void* data_;
};

}  // namespace

std::unique_ptr<PoolStorage> MakeHostStorage(std::size_t bytes) {
  return std::make_unique<HostStorage>(bytes);
}

}  // namespace ziprerank
