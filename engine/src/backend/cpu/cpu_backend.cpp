#include "backend/cpu/cpu_backend.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "base/text.hpp"
#include "ops/custom_op.hpp"
#include "ops/prune.hpp"

namespace ziprerank {
namespace {

// Address space taken from the system, zeroed; memory is used as rows are first written.
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
  void Import(std::size_t offset, const void* host, std::size_t bytes) override {
    Write(offset, host, bytes);
  }
  void Export(std::size_t offset, void* host, std::size_t bytes) override {
    std::memcpy(host, static_cast<const std::byte*>(data_) + offset, bytes);
  }

 private:
  std::size_t bytes_;
  void* data_;
};

class HostFeed : public PageFeed {
 public:
  HostFeed(std::size_t patches, std::size_t patch_bytes)
      : pixels_(patches * patch_bytes), rows_(patches), cols_(patches) {}
  PatchMemory host() override { return {pixels_.data(), rows_.data(), cols_.data()}; }
  PatchMemory Send() override { return host(); }
  void* Scratch(std::size_t bytes) override {
    scratch_.resize(bytes);
    return scratch_.data();
  }

 private:
  std::vector<std::uint8_t> pixels_;
  std::vector<std::int64_t> rows_;
  std::vector<std::int64_t> cols_;
  std::vector<std::byte> scratch_;
};

}  // namespace

void CpuBackend::Configure(Ort::SessionOptions* options, const std::string&) {
  Ort::ThrowOnError(AddCpuOps(*options, runtime_.api()));
}

void CpuBackend::Describe(EngineInfo* info) const {
  info->provider = Provider::kCpu;
  info->prune_kernel = PruneKernels().back()->name;
}

Ort::MemoryInfo CpuBackend::memory() const {
  return Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
}

std::unique_ptr<PoolStorage> CpuBackend::MakeStorage(std::size_t bytes) const {
  return std::make_unique<HostStorage>(bytes);
}

std::unique_ptr<PageFeed> CpuBackend::Feed(std::size_t patches, std::size_t patch_bytes) {
  return std::make_unique<HostFeed>(patches, patch_bytes);
}

}  // namespace ziprerank
