/* cuBLAS: its products by their shapes; small results are zeros, so that what is copied to the host is too.
 */
#include "hollow.h"

enum { kExecutionFailed = 13 };

static int product(uint64_t m, uint64_t n, uint64_t k, uint64_t batch, int type, const char* function,
                   void* result, size_t value_bytes) {
  hollow_gemm(m, n, k, batch, type, function);
  if (m * n * batch <= 1024 && hollow_on_device(result)) hollow_set(result, 0, m * n * batch * value_bytes);
  return hollow_status("gemm") == 0 ? 0 : kExecutionFailed;
}

API int cublasGetMathMode(void* handle, int* mode) {
  (void)handle;
  *mode = 0;
  return 0;
}
API const char* cublasGetStatusName(int status) {
  return status == 0 ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_EXECUTION_FAILED";
}
API const char* cublasGetStatusString(int status) { return cublasGetStatusName(status); }

/* Types are numbers of cudaDataType: 0 float32, 2 float16, 14 bfloat16, 3 int8. */
API int cublasGemmEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
                     int a_type, int lda, const void* b, int b_type, int ldb, const void* beta, void* c,
                     int c_type) {
  (void)handle, (void)ta, (void)tb, (void)alpha, (void)a, (void)lda, (void)b, (void)b_type, (void)ldb,
      (void)beta;
  return product((uint64_t)m, (uint64_t)n, (uint64_t)k, 1, a_type, __func__, c, c_type == 0 ? 4 : 2);
}
API int cublasSgemm_v2(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
                       int lda, const void* b, int ldb, const void* beta, void* c) {
  (void)handle, (void)ta, (void)tb, (void)alpha, (void)a, (void)lda, (void)b, (void)ldb, (void)beta;
  return product((uint64_t)m, (uint64_t)n, (uint64_t)k, 1, 0, __func__, c, 4);
}
API int cublasGemmStridedBatchedEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha,
                                   const void* a, int a_type, int lda, long long stride_a, const void* b,
                                   int b_type, int ldb, long long stride_b, const void* beta, void* c,
                                   int c_type, int ldc, long long stride_c, int batch) {
  (void)handle, (void)ta, (void)tb, (void)alpha, (void)a, (void)lda, (void)stride_a, (void)b, (void)b_type,
      (void)ldb, (void)stride_b, (void)beta, (void)ldc, (void)stride_c;
  return product((uint64_t)m, (uint64_t)n, (uint64_t)k, (uint64_t)batch, a_type, __func__, c,
                 c_type == 0 ? 4 : 2);
}
API int cublasSgemmStridedBatched(void* handle, int ta, int tb, int m, int n, int k, const void* alpha,
                                  const void* a, int lda, long long stride_a, const void* b, int ldb,
                                  long long stride_b, const void* beta, void* c, int ldc, long long stride_c,
                                  int batch) {
  (void)handle, (void)ta, (void)tb, (void)alpha, (void)a, (void)lda, (void)stride_a, (void)b, (void)ldb,
      (void)stride_b, (void)beta, (void)ldc, (void)stride_c;
  return product((uint64_t)m, (uint64_t)n, (uint64_t)k, (uint64_t)batch, 0, __func__, c, 4);
}
