// One NVIDIA GPU as a device: ONNX Runtime's CUDA provider on a stream of ours, the page pool in its memory,
// and the kernels of the bundle.
//
// Two streams. On the compute stream both graphs run, in the order in which they are given to it; on the
// other one patches are copied. encode() returns when its page is enqueued, so the next page is cut into
// patches and copied while the GPU still works on this one.
#ifndef ZIPRERANK_CUDA_DEVICE_HPP_
#define ZIPRERANK_CUDA_DEVICE_HPP_

#include "cuda_feed.hpp"
#include "cuda_op.hpp"
#include "device.hpp"

namespace ziprerank {

class CudaDevice : public Device {
 public:
  // ProviderError says whether ONNX Runtime, the driver or the GPU is missing; BundleError that the bundle
  // has no kernels for this GPU.
  CudaDevice(const Runtime& runtime, int index, const std::string& bundle);
  ~CudaDevice() override;

  void Configure(Ort::SessionOptions* options) const override;
  void Describe(EngineInfo* info) const override;
  Ort::MemoryInfo memory() const override;
  std::unique_ptr<PoolStorage> MakeStorage(std::size_t bytes) const override;
  std::unique_ptr<PageFeed> Feed(std::size_t patches, std::size_t patch_bytes) override;
  Ort::RunOptions EncodeOptions() const override;
  void Finish() override;

 private:
  const Runtime& runtime_;
  CudaContext context_;
  CudaPrune prune_;
  CudaPruneOp op_;
  Ort::CustomOpDomain domain_;
  CudaStream compute_;
  CudaFeeds feeds_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_CUDA_DEVICE_HPP_
