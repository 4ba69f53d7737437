// What the backends on an NVIDIA GPU share, whichever of ONNX Runtime's providers runs the graphs: our
// stream, the page pool in the GPU's memory, and pinned buffers for patches.
//
// There are two streams. Both graphs run on the compute stream, in the order in which they were enqueued; the
// other one copies patches. encode() returns when its page is enqueued, so the next page is cut into patches
// and copied while the GPU still works on this one.
#ifndef ZIPRERANK_GPU_BACKEND_HPP_
#define ZIPRERANK_GPU_BACKEND_HPP_

#include "backend/backend.hpp"
#include "backend/cuda/cuda_feed.hpp"

namespace ziprerank {

class GpuBackend : public Backend {
 public:
  void Describe(EngineInfo* info) const override;
  Ort::MemoryInfo memory() const override;
  std::unique_ptr<PoolStorage> MakeStorage(std::size_t bytes) const override;
  std::unique_ptr<PageFeed> Feed(std::size_t patches, std::size_t patch_bytes) override;
  Ort::RunOptions EncodeOptions() const override;
  void Finish() override;
  std::optional<DeviceMemory> Probe() override;

 protected:
  // ProviderError when the driver or the GPU is missing.
  GpuBackend(const Runtime& runtime, int index);

  virtual Provider provider() const = 0;
  const Runtime& runtime() const { return runtime_; }
  const CudaContext& context() const { return context_; }
  cuda::Stream stream() const { return compute_.get(); }

 private:
  const Runtime& runtime_;
  CudaContext context_;
  CudaStream compute_;
  CudaFeeds feeds_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_GPU_BACKEND_HPP_
