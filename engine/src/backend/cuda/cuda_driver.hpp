// The CUDA driver's API, loaded when it is first needed: no CUDA toolkit is needed to build, and no driver to
// run on the CPU. Every call is checked.
#ifndef ZIPRERANK_CUDA_DRIVER_HPP_
#define ZIPRERANK_CUDA_DRIVER_HPP_

#include <cstddef>
#include <cstdint>
#include <string>

namespace ziprerank {

// The driver's own types (cuda.h), as far as they are used here.
namespace cuda {
using Device = int;
using Address = std::uint64_t;  // CUdeviceptr
using Context = struct ContextTag*;
using Module = struct ModuleTag*;
using Function = struct FunctionTag*;
using Stream = struct StreamTag*;
using Event = struct EventTag*;

inline constexpr int kCapabilityMajor = 75;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
inline constexpr int kCapabilityMinor = 76;
inline constexpr int kMaxDynamicShared = 8;        // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
inline constexpr int kJitErrorLog = 5;             // CU_JIT_ERROR_LOG_BUFFER
inline constexpr int kJitErrorLogSize = 6;         // CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES
inline constexpr unsigned kStreamNonBlocking = 1;  // waits for no other stream
inline constexpr unsigned kEventNoTiming = 2;
inline constexpr unsigned kHostPortable = 1;  // pinned for every context
}  // namespace cuda

class CudaDriver {
 public:
  // The library that the environment variable ZIPRERANK_CUDA_DRIVER names, else "libcuda.so.1".
  static std::string Library();

  // Loads and starts it. ProviderError when it cannot be loaded, lacks a function, or finds no device.
  explicit CudaDriver(const std::string& library);
  CudaDriver(const CudaDriver&) = delete;
  CudaDriver& operator=(const CudaDriver&) = delete;

  const std::string& library() const { return library_; }

  // One function of the library. A call that fails throws RuntimeFailure with the function's name and the
  // driver's own words for the status.
  template <typename... Args>
  class Call {
   public:
    Call(const CudaDriver* driver, const char* name)
        : driver_(*driver), name_(name), function_(reinterpret_cast<int (*)(Args...)>(driver->Find(name))) {}
    void operator()(Args... args) const {
      if (const int status = function_(args...); status != 0) driver_.Fail(name_, status);
    }
    // For destructors: whatever happened, there is nothing left to do about it.
    void Quietly(Args... args) const noexcept { function_(args...); }

   private:
    const CudaDriver& driver_;
    const char* name_;
    int (*function_)(Args...);
  };

 private:
  void* Find(const char* name) const;
  [[noreturn]] void Fail(const char* name, int status) const;

  std::string library_;
  void* handle_;  // stays open: the driver is never unloaded

 public:
  const Call<unsigned> init{this, "cuInit"};
  const Call<int*> device_count{this, "cuDeviceGetCount"};
  const Call<cuda::Device*, int> device{this, "cuDeviceGet"};
  const Call<cuda::Device*, const char*> device_by_pci{this, "cuDeviceGetByPCIBusId"};
  const Call<char*, int, cuda::Device> device_name{this, "cuDeviceGetName"};
  const Call<int*, int, cuda::Device> device_attribute{this, "cuDeviceGetAttribute"};
  const Call<cuda::Context*, cuda::Device> retain_context{this, "cuDevicePrimaryCtxRetain"};
  const Call<cuda::Device> release_context{this, "cuDevicePrimaryCtxRelease_v2"};
  const Call<cuda::Context> push_context{this, "cuCtxPushCurrent_v2"};
  const Call<cuda::Context*> pop_context{this, "cuCtxPopCurrent_v2"};

  const Call<cuda::Module*, const void*, unsigned, int*, void**> load_module{this, "cuModuleLoadDataEx"};
  const Call<cuda::Module> unload_module{this, "cuModuleUnload"};
  const Call<cuda::Function*, cuda::Module, const char*> function{this, "cuModuleGetFunction"};
  const Call<cuda::Function, int, int> set_function_attribute{this, "cuFuncSetAttribute"};
  const Call<cuda::Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
             cuda::Stream, void**, void**>
      launch{this, "cuLaunchKernel"};

  const Call<cuda::Address*, std::size_t> allocate{this, "cuMemAlloc_v2"};
  const Call<cuda::Address> free{this, "cuMemFree_v2"};
  const Call<std::size_t*, std::size_t*> memory_info{this, "cuMemGetInfo_v2"};
  const Call<void**, std::size_t, unsigned> allocate_host{this, "cuMemHostAlloc"};
  const Call<void*> free_host{this, "cuMemFreeHost"};
  const Call<cuda::Address, const void*, std::size_t, cuda::Stream> copy_to_device{this,
                                                                                   "cuMemcpyHtoDAsync_v2"};
  const Call<void*, cuda::Address, std::size_t, cuda::Stream> copy_to_host{this, "cuMemcpyDtoHAsync_v2"};
  const Call<cuda::Address, cuda::Address, std::size_t, cuda::Stream> copy_on_device{this,
                                                                                     "cuMemcpyDtoDAsync_v2"};

  const Call<cuda::Stream*, unsigned> create_stream{this, "cuStreamCreate"};
  const Call<cuda::Stream> destroy_stream{this, "cuStreamDestroy_v2"};
  const Call<cuda::Stream> wait_for_stream{this, "cuStreamSynchronize"};
  const Call<cuda::Stream, cuda::Event, unsigned> stream_wait_event{this, "cuStreamWaitEvent"};
  const Call<cuda::Event*, unsigned> create_event{this, "cuEventCreate"};
  const Call<cuda::Event> destroy_event{this, "cuEventDestroy_v2"};
  const Call<cuda::Event, cuda::Stream> record_event{this, "cuEventRecord"};
  const Call<cuda::Event> wait_for_event{this, "cuEventSynchronize"};
};

}  // namespace ziprerank

#endif  // ZIPRERANK_CUDA_DRIVER_HPP_
