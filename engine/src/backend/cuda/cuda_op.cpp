#include "backend/cuda/cuda_op.hpp"

namespace ziprerank {
namespace {

// Memory of the session's arena. It goes back as soon as the launches that use it are enqueued: whoever gets
// it next works on the same stream, after them.
class Scratch {
 public:
  Scratch(const OrtApi& api, OrtKernelContext* context, const OrtMemoryInfo* memory, std::size_t bytes)
      : api_(api) {
    CheckStatus(api, api.KernelContext_GetAllocator(context, memory, &allocator_));
    if (OrtStatus* status = api.AllocatorAlloc(allocator_, bytes, &data_)) {
      api.ReleaseAllocator(allocator_);
      CheckStatus(api, status);
    }
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    if (OrtStatus* status = api_.AllocatorFree(allocator_, data_)) api_.ReleaseStatus(status);
    api_.ReleaseAllocator(allocator_);
  }
  void* data() const { return data_; }

 private:
  const OrtApi& api_;
  OrtAllocator* allocator_ = nullptr;
  void* data_ = nullptr;
};

}  // namespace

CudaPruneNode::CudaPruneNode(const OrtApi& api, Element element, const CudaPrune& prune, int device)
    : api_(api), element_(element), prune_(prune) {
  CheckStatus(api, api.CreateMemoryInfo("Cuda", OrtDeviceAllocator, device, OrtMemTypeDefault, &memory_));
}

CudaPruneNode::~CudaPruneNode() { api_.ReleaseMemoryInfo(memory_); }

void CudaPruneNode::Compute(OrtKernelContext* context) const {
  const PruneInputs in = ReadInputs(api_, context, element_);
  std::int64_t* kept = MakeOutput(api_, context, CheckPages(in));
  void* stream = nullptr;
  CheckStatus(api_, api_.KernelContext_GetGPUComputeStream(context, &stream));
  const Scratch scratch(api_, context, memory_, CudaPrune::ScratchBytes(in));
  prune_.Launch(in, kept, scratch.data(), static_cast<cuda::Stream>(stream));
}

}  // namespace ziprerank
