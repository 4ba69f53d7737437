// One GPU: its primary context, shared with ONNX Runtime, and buffers of its memory that free themselves.
#ifndef ZIPRERANK_CUDA_CONTEXT_HPP_
#define ZIPRERANK_CUDA_CONTEXT_HPP_

#include <cstddef>
#include <string>

#include "backend/cuda/cuda_driver.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {

class CudaContext {
 public:
  // ProviderError when the driver has no device `index`.
  CudaContext(const std::string& library, int index);
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;
  ~CudaContext();

  // Makes the context the thread's current one for a scope; every other call to the driver needs it. The
  // thread's own context comes back afterwards: it may be a host program's.
  class Use {
   public:
    explicit Use(const CudaContext& context);
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use();

   private:
    const CudaContext& context_;
  };

  // For destructors: calls `body` to free something, and ignores the error of a context that is broken
  // already.
  template <typename Body>
  void Quietly(Body&& body) const noexcept {
    try {
      const Use use(*this);
      body(driver_);
    } catch (const Error&) {
    }
  }

  const CudaDriver& driver() const { return driver_; }
  int index() const { return index_; }
  const std::string& name() const { return name_; }  // "NVIDIA H100 80GB HBM3"
  int capability() const { return capability_; }     // 90 is 9.0
  cuda::Device device() const { return device_; }

 private:
  CudaDriver driver_;
  int index_;
  cuda::Device device_ = 0;
  cuda::Context context_ = nullptr;
  std::string name_;
  int capability_ = 0;
};

// Device memory, or pinned host memory, that grows when more is reserved; growing loses its content.
class CudaBuffer {
 public:
  enum class Kind { kDevice, kPinnedHost };
  CudaBuffer(const CudaContext& context, Kind kind) : context_(context), kind_(kind) {}
  CudaBuffer(const CudaBuffer&) = delete;
  CudaBuffer& operator=(const CudaBuffer&) = delete;
  ~CudaBuffer() { Free(); }

  std::byte* Reserve(std::size_t bytes);
  std::byte* data() const { return data_; }
  cuda::Address address() const { return reinterpret_cast<cuda::Address>(data_); }

 private:
  void Free() noexcept;

  const CudaContext& context_;
  const Kind kind_;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_CUDA_CONTEXT_HPP_
