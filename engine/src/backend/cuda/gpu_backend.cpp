#include "backend/cuda/gpu_backend.hpp"

#include "base/capability.hpp"
#include "base/text.hpp"

namespace ziprerank {
namespace {

class CudaStorage : public PoolStorage {
 public:
  CudaStorage(const CudaContext& context, const CudaStream& compute, std::size_t bytes)
      : context_(context), compute_(compute), memory_(context, CudaBuffer::Kind::kDevice) {
    try {
      memory_.Reserve(bytes);
    } catch (const RuntimeFailure& error) {
      std::size_t free = 0;
      std::size_t total = 0;
      const CudaContext::Use use(context);
      context.driver().memory_info(&free, &total);
      throw PoolError(Text("no room for a pool of ", bytes, " bytes on ", context.name(), ", where ", free,
                           " of ", total, " bytes are free (", error.what(), "): lower pool_bytes"));
    }
  }
  void* data() override { return memory_.data(); }
  void Write(std::size_t offset, const void* source, std::size_t bytes) override {
    const CudaContext::Use use(context_);
    context_.driver().copy_on_device(memory_.address() + offset, reinterpret_cast<cuda::Address>(source),
                                     bytes, compute_.get());
  }
  void Import(std::size_t offset, const void* host, std::size_t bytes) override {
    const CudaContext::Use use(context_);
    context_.driver().copy_to_device(memory_.address() + offset, host, bytes, compute_.get());
    context_.driver().wait_for_stream(compute_.get());
  }
  void Export(std::size_t offset, void* host, std::size_t bytes) override {
    const CudaContext::Use use(context_);
    context_.driver().copy_to_host(host, memory_.address() + offset, bytes, compute_.get());
    context_.driver().wait_for_stream(compute_.get());
  }

 private:
  const CudaContext& context_;
  const CudaStream& compute_;
  CudaBuffer memory_;
};

}  // namespace

GpuBackend::GpuBackend(const Runtime& runtime, int index)
    : runtime_(runtime),
      context_(CudaDriver::Library(), index),
      compute_(context_),
      feeds_(context_, compute_) {}

void GpuBackend::Describe(EngineInfo* info) const {
  info->provider = provider();
  info->device_index = context_.index();
  info->device = context_.name();
  info->compute_capability = CapabilityText(context_.capability());
  info->driver_library = context_.driver().library();
}

Ort::MemoryInfo GpuBackend::memory() const {
  return Ort::MemoryInfo("Cuda", OrtDeviceAllocator, context_.index(), OrtMemTypeDefault);
}

std::unique_ptr<PoolStorage> GpuBackend::MakeStorage(std::size_t bytes) const {
  return std::make_unique<CudaStorage>(context_, compute_, bytes);
}

std::unique_ptr<PageFeed> GpuBackend::Feed(std::size_t patches, std::size_t patch_bytes) {
  return feeds_.Next(patches, patch_bytes);
}

Ort::RunOptions GpuBackend::EncodeOptions() const {
  Ort::RunOptions options;
  options.AddConfigEntry("disable_synchronize_execution_providers", "1");
  return options;
}

void GpuBackend::Finish() {
  const CudaContext::Use use(context_);
  context_.driver().wait_for_stream(compute_.get());
}

std::optional<DeviceMemory> GpuBackend::Probe() {
  Finish();
  DeviceMemory memory{Text("GPU ", context_.index(), " (", context_.name(), ")")};
  const CudaContext::Use use(context_);
  context_.driver().memory_info(&memory.free, &memory.total);
  return memory;
}

}  // namespace ziprerank
