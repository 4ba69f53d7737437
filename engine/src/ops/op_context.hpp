// What the operators' kernels share on every device: the pruning operator's signature, and access to the
// inputs and outputs that ONNX Runtime holds. A process may hold two ONNX Runtimes (Python's module carries
// its own copy), so a kernel calls the API that its session came with, never the one that the engine loaded.
#ifndef ZIPRERANK_OP_CONTEXT_HPP_
#define ZIPRERANK_OP_CONTEXT_HPP_

#include "ops/prune.hpp"
#include "ort/ort.hpp"

namespace ziprerank {

// ziprerank::QueryImagePrune for one element type; `Op` adds where it runs and how its kernel is made.
template <typename Op, typename Kernel>
class PruneOpBase : public Ort::CustomOpBase<Op, Kernel, /*WithStatus=*/true> {
 public:
  explicit PruneOpBase(ONNXTensorElementDataType type) : type_(type) {
    OrtCustomOp::version = kApiVersion;  // not the headers' own: an older runtime would refuse the op
  }
  const char* GetName() const { return "QueryImagePrune"; }
  std::size_t GetInputTypeCount() const { return 6; }
  ONNXTensorElementDataType GetInputType(std::size_t index) const {
    if (index == 0 || index == 4) return type_;
    return index == 5 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  }
  std::size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(std::size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64; }

 protected:
  Element element() const {
    return type_ == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT     ? Element::kF32
           : type_ == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 ? Element::kF16
                                                            : Element::kBf16;
  }

 private:
  ONNXTensorElementDataType type_;
};

// The C API reports by status; inside a kernel a status is an exception (RuntimeFailure).
void CheckStatus(const OrtApi& api, OrtStatus* status);

// An error of the operator `op` as the status that ONNX Runtime wants.
OrtStatus* StatusOf(const OrtApi& api, const std::exception& error, const char* op) noexcept;

// Runs a kernel's body; what it throws becomes a status.
template <typename Body>
OrtStatus* Guarded(const OrtApi& api, Body&& body, const char* op = "QueryImagePrune") noexcept {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return StatusOf(api, error, op);
  }
}

// One input of one run, in the memory that ONNX Runtime put it into.
struct Input {
  std::vector<std::int64_t> shape;
  const void* data = nullptr;
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

// InvalidArgument where the input has another number of dimensions than `rank`.
Input GetInput(const OrtApi& api, OrtKernelContext* context, std::size_t index, const char* name,
               std::size_t rank);

// Memory of the output `index`.
void* GetOutput(const OrtApi& api, OrtKernelContext* context, std::size_t index,
                const std::vector<std::int64_t>& shape);

// The threads of the session that runs the kernel.
ParallelFor ThreadsOf(const OrtApi& api, OrtKernelContext* context);

// The inputs of one run: shapes checked against one another, pointers wherever ONNX Runtime put them.
// InvalidArgument names the input that does not fit.
PruneInputs ReadInputs(const OrtApi& api, OrtKernelContext* context, Element element);

// The output `kept` [count].
std::int64_t* MakeOutput(const OrtApi& api, OrtKernelContext* context, std::int64_t count);

}  // namespace ziprerank

#endif  // ZIPRERANK_OP_CONTEXT_HPP_
