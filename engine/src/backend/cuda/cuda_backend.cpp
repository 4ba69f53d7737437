#include "backend/cuda/cuda_backend.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "base/text.hpp"
#include "ziprerank/device_code.hpp"

namespace ziprerank {
namespace {

constexpr const char* kProvider = "CUDAExecutionProvider";

ONNXTensorElementDataType TypeOf(const std::string& precision) {
  return precision == "fp32"   ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
         : precision == "fp16" ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                               : ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
}

// docs/gpu.md has what each version does with our graphs; the `gpu` extra and ziprerank doctor ask for the
// same.
constexpr int kLowest[2] = {1, 27};

int CheckSuited(const Runtime& runtime, int index) {
  int major = 0;
  int minor = 0;
  const bool known = std::sscanf(runtime.version().c_str(), "%d.%d", &major, &minor) == 2;
  if (!known || major > kLowest[0] || (major == kLowest[0] && minor >= kLowest[1])) return index;
  throw ProviderError(
      Text("the CUDA provider of ONNX Runtime ", runtime.version(), " runs parts of the graphs on the CPU",
           minor < 25 ? " and stores attention's S x S scores" : ", with copies between it and the GPU",
           ": install 1.27 or newer, which needs CUDA 13 (pip install -U "
           "\"onnxruntime-gpu[cuda,cudnn]>=1.27\")"));
}

}  // namespace

int CheckOffered(const Runtime& runtime, const char* provider, int index) {
  const std::vector<std::string> offered = runtime.providers();
  if (std::find(offered.begin(), offered.end(), provider) != offered.end()) return index;
  std::string names;
  for (const std::string& name : offered) names += (names.empty() ? "" : ", ") + name;
  throw ProviderError(
      Text("ONNX Runtime ", runtime.version(), " offers ", names, " and no ", provider,
           ": install onnxruntime-gpu in place of onnxruntime (pip uninstall onnxruntime, then pip "
           "install \"ziprerank[gpu]\")"));
}

CudaBackend::CudaBackend(const Runtime& runtime, int index, const std::string& bundle)
    // the provider before the driver: without it the GPU is of no use
    : GpuBackend(runtime, CheckSuited(runtime, CheckOffered(runtime, kProvider, index))),
      bundle_(bundle),
      table_(context()),
      prune_(context(), (std::filesystem::path(bundle) / "kernels").string()),
      op_(TypeOf(prune_.precision()), prune_, index),
      domain_("ziprerank") {
  domain_.Add(&op_);
}

void CudaBackend::CheckDeviceCode() const {
  const auto library = std::filesystem::path(runtime().folder()) / "libonnxruntime_providers_cuda.so";
  const std::string lack = ReadDeviceCode(library.string()).lack(context().capability(), context().index());
  if (!lack.empty()) throw ProviderError(Text("it needs ", lack));
}

void CudaBackend::Configure(Ort::SessionOptions* options, const std::string& graph) {
  try {
    Ort::CUDAProviderOptions provider;
    // Its arena grows by what is asked for, as on the CPU; float32 is float32 and not TF32, which has 10
    // bits.
    provider.Update({{"device_id", std::to_string(context().index())},
                     {"arena_extend_strategy", "kSameAsRequested"},
                     {"use_tf32", "0"}});
    provider.UpdateWithValue("user_compute_stream", stream());
    options->AppendExecutionProvider_CUDA_V2(*provider);
  } catch (const Ort::Exception& error) {
    throw ProviderError(
        Text("ONNX Runtime ", runtime().version(), " cannot start ", kProvider, ": ", error.what(),
             "; it needs the CUDA and cuDNN libraries that it was built for, such as pip install "
             "\"onnxruntime-gpu[cuda,cudnn]\" brings"));
  }
  // At the second query of a size this would allocate all that the query needs once more, in one block.
  options->DisableMemPattern();
  if (provider() == Provider::kCuda && graph != "vision.onnx") {
    table_.Bind(File(bundle_, graph), memory(), options);
  }
  options->Add(domain_);
}

void CudaBackend::Describe(EngineInfo* info) const {
  if (info->precision != prune_.precision() || info->hidden_size != prune_.hidden_size() ||
      info->levels != prune_.levels()) {
    throw BundleError(Text("kernels/ was compiled for hidden size ", prune_.hidden_size(), ", ",
                           prune_.levels(), " levels, ", prune_.precision(), "; the bundle has ",
                           info->hidden_size, ", ", info->levels, ", ", info->precision,
                           ": export the bundle again"));
  }
  GpuBackend::Describe(info);
  info->prune_kernel = prune_.choice();
}

}  // namespace ziprerank
