#include "backend/cuda/cuda_context.hpp"

#include "base/text.hpp"

namespace ziprerank {

CudaContext::CudaContext(const std::string& library, int index) : driver_(library), index_(index) {
  try {
    int count = 0;
    driver_.device_count(&count);
    if (index < 0 || index >= count) {
      throw ProviderError(Text("there is no cuda:", index, ": the driver shows ", count,
                               count == 1 ? " device" : " devices", ", counted from 0"));
    }
    driver_.device(&device_, index);
    char name[256] = "";
    driver_.device_name(name, sizeof name, device_);
    name_ = name;
    int major = 0;
    int minor = 0;
    driver_.device_attribute(&major, cuda::kCapabilityMajor, device_);
    driver_.device_attribute(&minor, cuda::kCapabilityMinor, device_);
    capability_ = 10 * major + minor;
    driver_.retain_context(&context_, device_);
  } catch (const RuntimeFailure& error) {
    throw ProviderError(Text("cuda:", index, " cannot be used: ", error.what()));
  }
}

CudaContext::~CudaContext() { driver_.release_context.Quietly(device_); }

CudaContext::Use::Use(const CudaContext& context) : context_(context) {
  context_.driver_.push_context(context_.context_);
}

CudaContext::Use::~Use() {
  cuda::Context popped = nullptr;
  context_.driver_.pop_context.Quietly(&popped);
}

std::byte* CudaBuffer::Reserve(std::size_t bytes) {
  if (bytes <= bytes_) return data_;
  Free();
  const CudaContext::Use use(context_);
  if (kind_ == Kind::kDevice) {
    cuda::Address address = 0;
    context_.driver().allocate(&address, bytes);
    data_ = reinterpret_cast<std::byte*>(address);
  } else {
    void* memory = nullptr;
    context_.driver().allocate_host(&memory, bytes, cuda::kHostPortable);
    data_ = static_cast<std::byte*>(memory);
  }
  bytes_ = bytes;
  return data_;
}

void CudaBuffer::Free() noexcept {
  if (data_ == nullptr) return;
  context_.Quietly([this](const CudaDriver& driver) {
    if (kind_ == Kind::kDevice) {
      driver.free.Quietly(address());  // waits for what still uses it
    } else {
      driver.free_host.Quietly(data_);
    }
  });
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace ziprerank
