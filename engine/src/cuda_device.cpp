#include "cuda_device.hpp"

#include <algorithm>
#include <filesystem>

#include "text.hpp"

namespace ziprerank {
namespace {

constexpr const char* kProvider = "CUDAExecutionProvider";

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

// Before the driver is looked for: without the provider the GPU is of no use.
int CheckRuntime(const Runtime& runtime, int index) {
  const std::vector<std::string> offered = runtime.providers();
  if (std::find(offered.begin(), offered.end(), kProvider) != offered.end()) return index;
  std::string names;
  for (const std::string& name : offered) names += (names.empty() ? "" : ", ") + name;
  throw ProviderError(
      Text("ONNX Runtime ", runtime.version(), " offers ", names, " and no ", kProvider,
           ": install onnxruntime-gpu in place of onnxruntime (pip uninstall onnxruntime, then pip "
           "install \"ziprerank[gpu]\")"));
}

ONNXTensorElementDataType TypeOf(const std::string& precision) {
  return precision == "fp32"   ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
         : precision == "fp16" ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                               : ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
}

}  // namespace

CudaDevice::CudaDevice(const Runtime& runtime, int index, const std::string& bundle)
    : runtime_(runtime),
      context_(CudaDriver::Library(), CheckRuntime(runtime, index)),
      prune_(context_, (std::filesystem::path(bundle) / "kernels").string()),
      op_(TypeOf(prune_.precision()), prune_, index),
      domain_("ziprerank"),
      compute_(context_),
      feeds_(context_, compute_) {
  domain_.Add(&op_);
}

CudaDevice::~CudaDevice() = default;

void CudaDevice::Configure(Ort::SessionOptions* options) const {
  try {
    Ort::CUDAProviderOptions provider;
    // Its arena grows by what is asked for, as on the CPU; float32 is float32 and not TF32, which has 10
    // bits.
    provider.Update({{"device_id", std::to_string(context_.index())},
                     {"arena_extend_strategy", "kSameAsRequested"},
                     {"use_tf32", "0"}});
    provider.UpdateWithValue("user_compute_stream", compute_.get());
    options->AppendExecutionProvider_CUDA_V2(*provider);
  } catch (const Ort::Exception& error) {
    throw ProviderError(
        Text("ONNX Runtime ", runtime_.version(), " cannot start ", kProvider, ": ", error.what(),
             "; it needs the CUDA and cuDNN libraries that it was built for, such as pip install "
             "\"onnxruntime-gpu[cuda,cudnn]\" brings"));
  }
  options->Add(domain_);
}

void CudaDevice::Describe(EngineInfo* info) const {
  if (info->precision != prune_.precision() || info->hidden_size != prune_.hidden_size() ||
      info->levels != prune_.levels()) {
    throw BundleError(Text("kernels/ was compiled for hidden size ", prune_.hidden_size(), ", ",
                           prune_.levels(), " levels, ", prune_.precision(), "; the bundle has ",
                           info->hidden_size, ", ", info->levels, ", ", info->precision,
                           ": export the bundle again"));
  }
  info->provider = context_.index() == 0 ? "cuda" : Text("cuda:", context_.index());
  info->prune_kernel = prune_.choice();
  info->device = context_.name();
  info->compute_capability = CapabilityText(context_.capability());
  info->driver_library = context_.driver().library();
}

Ort::MemoryInfo CudaDevice::memory() const {
  return Ort::MemoryInfo("Cuda", OrtDeviceAllocator, context_.index(), OrtMemTypeDefault);
}

std::unique_ptr<PoolStorage> CudaDevice::MakeStorage(std::size_t bytes) const {
  return std::make_unique<CudaStorage>(context_, compute_, bytes);
}

std::unique_ptr<PageFeed> CudaDevice::Feed(std::size_t patches, std::size_t patch_bytes) {
  return feeds_.Next(patches, patch_bytes);
}

Ort::RunOptions CudaDevice::EncodeOptions() const {
  Ort::RunOptions options;
  options.AddConfigEntry("disable_synchronize_execution_providers", "1");
  return options;
}

void CudaDevice::Finish() {
  const CudaContext::Use use(context_);
  context_.driver().wait_for_stream(compute_.get());
}

}  // namespace ziprerank
