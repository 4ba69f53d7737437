/* cuDNN: the little that ONNX Runtime asks for before it runs anything, and reductions. */
#include "hollow.h"

API size_t cudnnGetVersion(void) { return 91000; }
API size_t cudnnGetCudartVersion(void) { return HOLLOW_CUDA_MAJOR * 1000; }
API const char* cudnnGetErrorString(int status) {
  return status == 0 ? "CUDNN_STATUS_SUCCESS" : "CUDNN_STATUS";
}
static int no_bytes(size_t* bytes) {
  *bytes = 0;
  return 0;
}
API int cudnnGetReductionIndicesSize(void* handle, void* reduce, void* a, void* c, size_t* bytes) {
  (void)handle, (void)reduce, (void)a, (void)c;
  return no_bytes(bytes);
}
API int cudnnGetReductionWorkspaceSize(void* handle, void* reduce, void* a, void* c, size_t* bytes) {
  (void)handle, (void)reduce, (void)a, (void)c;
  return no_bytes(bytes);
}
API int cudnnReduceTensor(void) {
  const unsigned grid[3] = {1, 1, 1};
  hollow_launch(cudnnReduceTensor, "cudnnReduceTensor", grid, 1, 0);
  return hollow_status("launch") == 0 ? 0 : 5000; /* CUDNN_STATUS_EXECUTION_FAILED */
}
