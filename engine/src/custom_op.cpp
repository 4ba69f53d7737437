// A process may hold two ONNX Runtimes (Python's module carries its own copy), so the kernel calls the API
// that its session came with, never the one that the engine loaded.
#include "custom_op.hpp"

#include <map>
#include <mutex>

#include "prune.hpp"
#include "text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

constexpr Element ElementOf(ONNXTensorElementDataType type) {
  return type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT     ? Element::kF32
         : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 ? Element::kF16
                                                         : Element::kBf16;
}

// The C API reports by status; inside the kernel a status is an exception.
void Check(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string text = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  throw RuntimeFailure(text);
}

struct Input {
  std::vector<std::int64_t> shape;
  const void* data = nullptr;
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

class PruneKernelNode {
 public:
  PruneKernelNode(const OrtApi& api, Element element)
      : api_(api), element_(element), kernel_(*PruneKernels().back()) {}

  OrtStatus* ComputeV2(OrtKernelContext* context) noexcept {
    try {
      Compute(context);
      return nullptr;
    } catch (const InvalidArgument& error) {
      return api_.CreateStatus(ORT_INVALID_ARGUMENT, Text("QueryImagePrune: ", error.what()).c_str());
    } catch (const std::exception& error) {
      return api_.CreateStatus(ORT_FAIL, Text("QueryImagePrune: ", error.what()).c_str());
    }
  }

 private:
  Input Get(OrtKernelContext* context, std::size_t index, const char* name, std::size_t rank) const {
    const OrtValue* value = nullptr;
    Check(api_, api_.KernelContext_GetInput(context, index, &value));
    OrtTensorTypeAndShapeInfo* info = nullptr;
    Check(api_, api_.GetTensorTypeAndShape(value, &info));
    std::size_t dims = 0;
    OrtStatus* status = api_.GetDimensionsCount(info, &dims);
    Input input;
    if (status == nullptr) {
      input.shape.resize(dims);
      status = api_.GetDimensions(info, input.shape.data(), dims);
    }
    api_.ReleaseTensorTypeAndShapeInfo(info);
    Check(api_, status);
    if (dims != rank) throw InvalidArgument(Text("input ", name, " has ", dims, " dimensions, needs ", rank));
    void* data = nullptr;
    Check(api_, api_.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
    input.data = data;
    return input;
  }

  void Compute(OrtKernelContext* context) const {
    const Input pool = Get(context, 0, "pool", 3);
    const Input rows = Get(context, 1, "rows", 1);
    const Input offsets = Get(context, 2, "page_offsets", 1);
    const Input keep = Get(context, 3, "keep", 1);
    const Input text = Get(context, 4, "text", 2);
    const Input mask = Get(context, 5, "query_mask", 1);
    if (offsets.shape[0] != keep.shape[0] + 1) {
      throw InvalidArgument(Text("page_offsets has ", offsets.shape[0], " entries for ", keep.shape[0],
                                 " pages, needs one more than pages"));
    }
    if (text.shape[1] != pool.shape[2] || mask.shape[0] != text.shape[0]) {
      throw InvalidArgument(Text("text is [", text.shape[0], ", ", text.shape[1], "], pool has hidden size ",
                                 pool.shape[2], " and query_mask ", mask.shape[0],
                                 " entries: they must agree"));
    }
    const PruneInputs in = {.element = element_,
                            .pool = pool.data,
                            .pool_rows = pool.shape[0],
                            .levels = pool.shape[1],
                            .hidden = pool.shape[2],
                            .rows = rows.as<std::int64_t>(),
                            .visual = rows.shape[0],
                            .page_offsets = offsets.as<std::int64_t>(),
                            .keep = keep.as<std::int64_t>(),
                            .pages = keep.shape[0],
                            .text = text.data,
                            .query_mask = mask.as<bool>(),
                            .text_rows = text.shape[0]};
    const std::int64_t kept = CheckPrune(in);
    OrtValue* output = nullptr;
    Check(api_, api_.KernelContext_GetOutput(context, 0, &kept, 1, &output));
    void* out = nullptr;
    Check(api_, api_.GetTensorMutableData(output, &out));
    Prune(
        in, kernel_,
        [&](std::int64_t count, const std::function<void(std::int64_t)>& task) {
          const auto call = [](void* data, std::size_t index) {
            (*static_cast<const std::function<void(std::int64_t)>*>(data))(static_cast<std::int64_t>(index));
          };
          void* data = const_cast<std::function<void(std::int64_t)>*>(&task);
          Check(api_,
                api_.KernelContext_ParallelFor(context, call, static_cast<std::size_t>(count), 0, data));
        },
        static_cast<std::int64_t*>(out));
  }

  const OrtApi& api_;
  const Element element_;
  const PruneKernel& kernel_;
};

class PruneOp : public Ort::CustomOpBase<PruneOp, PruneKernelNode, /*WithStatus=*/true> {
 public:
  explicit PruneOp(ONNXTensorElementDataType type) : type_(type) {
    OrtCustomOp::version = kApiVersion;  // not the headers' own: an older runtime would refuse the op
  }
  const char* GetName() const { return "QueryImagePrune"; }
  const char* GetExecutionProviderType() const { return "CPUExecutionProvider"; }
  std::size_t GetInputTypeCount() const { return 6; }
  ONNXTensorElementDataType GetInputType(std::size_t index) const {
    if (index == 0 || index == 4) return type_;
    return index == 5 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  }
  std::size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(std::size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64; }

  OrtStatus* CreateKernelV2(const OrtApi& api, const OrtKernelInfo*, void** kernel) const noexcept {
    try {
      *kernel = new PruneKernelNode(api, ElementOf(type_));
      return nullptr;
    } catch (const std::exception& error) {
      return api.CreateStatus(ORT_FAIL, error.what());
    }
  }

 private:
  ONNXTensorElementDataType type_;
};

// Sessions keep pointers to the domain and its ops, so both live for ever: one domain for each runtime.
OrtStatus* DomainOf(const OrtApi* api, OrtCustomOpDomain** domain) {
  static const auto* ops = new PruneOp[3]{PruneOp(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT),
                                          PruneOp(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16),
                                          PruneOp(ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16)};
  static auto* mutex = new std::mutex;
  static auto* domains = new std::map<const OrtApi*, OrtCustomOpDomain*>;
  const std::lock_guard lock(*mutex);
  OrtCustomOpDomain*& entry = (*domains)[api];
  if (entry == nullptr) {
    OrtCustomOpDomain* made = nullptr;
    if (OrtStatus* status = api->CreateCustomOpDomain("ziprerank", &made)) return status;
    for (int i = 0; i < 3; ++i) {
      if (OrtStatus* status = api->CustomOpDomain_Add(made, &ops[i])) {
        api->ReleaseCustomOpDomain(made);
        return status;
      }
    }
    entry = made;
  }
  *domain = entry;
  return nullptr;
}

}  // namespace

OrtStatus* AddPruneOp(OrtSessionOptions* options, const OrtApi* api) {
  try {
    OrtCustomOpDomain* domain = nullptr;
    if (OrtStatus* status = DomainOf(api, &domain)) return status;
    return api->AddCustomOpDomain(options, domain);
  } catch (const std::exception& error) {
    return api->CreateStatus(ORT_FAIL, error.what());
  }
}

}  // namespace ziprerank

// What ONNX Runtime calls when this library is given to it (`register_custom_ops_library`).
extern "C" ZIPRERANK_API OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(ziprerank::kApiVersion);
  if (api != nullptr) return ziprerank::AddPruneOp(options, api);
  // A status can only be made with an API, and this runtime has no API 23: 1 is the oldest, with these two
  // members.
  return base->GetApi(1)->CreateStatus(ORT_NOT_IMPLEMENTED,
                                       ziprerank::Text("ONNX Runtime ", base->GetVersionString(),
                                                       " is too old for ziprerank: needs 1.23 or newer")
                                           .c_str());
}
