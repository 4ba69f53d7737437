#include "ops/custom_op.hpp"

#include <map>
#include <mutex>

#include "base/text.hpp"
#include "ops/attention_op.hpp"
#include "ops/op_context.hpp"
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
    Prune(in, kernel_, ThreadsOf(api_, context), out);
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
  static const auto* prune = new PruneOp[3]{PruneOp(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT),
                                            PruneOp(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16),
                                            PruneOp(ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16)};
  static const auto* attention = new AttentionOp[2]{AttentionOp(false), AttentionOp(true)};
  const OrtCustomOp* const ops[] = {&prune[0], &prune[1], &prune[2], &attention[0], &attention[1]};
  static auto* mutex = new std::mutex;
  static auto* domains = new std::map<const OrtApi*, OrtCustomOpDomain*>;
  const std::lock_guard lock(*mutex);
  OrtCustomOpDomain*& entry = (*domains)[api];
  if (entry == nullptr) {
    OrtCustomOpDomain* made = nullptr;
    if (OrtStatus* status = api->CreateCustomOpDomain("ziprerank", &made)) return status;
    for (const OrtCustomOp* op : ops) {
      if (OrtStatus* status = api->CustomOpDomain_Add(made, op)) {
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

OrtStatus* AddCpuOps(OrtSessionOptions* options, const OrtApi* api) {
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
  if (api != nullptr) return ziprerank::AddCpuOps(options, api);
  // A status can only be made with an API, and this runtime has no API 23: 1 is the oldest, with these two
  // members.
  return base->GetApi(1)->CreateStatus(ORT_NOT_IMPLEMENTED,
                                       ziprerank::Text("ONNX Runtime ", base->GetVersionString(),
                                                       " is too old for ziprerank: needs 1.23 or newer")
                                           .c_str());
}
