#include "custom_op.hpp"

#include <map>
#include <mutex>

#include "op_context.hpp"
#include "text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

class PruneKernelNode {
 public:
  PruneKernelNode(const OrtApi& api, Element element)
      : api_(api), element_(element), kernel_(*PruneKernels().back()) {}

  OrtStatus* ComputeV2(OrtKernelContext* context) noexcept {
    return Guarded(api_, [&] { Compute(context); });
  }

 private:
  void Compute(OrtKernelContext* context) const {
    const PruneInputs in = ReadInputs(api_, context, element_);
    std::int64_t* out = MakeOutput(api_, context, CheckPrune(in));
    Prune(
        in, kernel_,
        [&](std::int64_t count, const std::function<void(std::int64_t)>& task) {
          const auto call = [](void* data, std::size_t index) {
            (*static_cast<const std::function<void(std::int64_t)>*>(data))(static_cast<std::int64_t>(index));
          };
          void* data = const_cast<std::function<void(std::int64_t)>*>(&task);
          CheckStatus(
              api_, api_.KernelContext_ParallelFor(context, call, static_cast<std::size_t>(count), 0, data));
        },
        out);
  }

  const OrtApi& api_;
  const Element element_;
  const PruneKernel& kernel_;
};

class PruneOp : public PruneOpBase<PruneOp, PruneKernelNode> {
 public:
  using PruneOpBase::PruneOpBase;
  const char* GetExecutionProviderType() const { return "CPUExecutionProvider"; }

  OrtStatus* CreateKernelV2(const OrtApi& api, const OrtKernelInfo*, void** kernel) const noexcept {
    return Guarded(api, [&] { *kernel = new PruneKernelNode(api, element()); });
  }
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
