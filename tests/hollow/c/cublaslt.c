/* cuBLASLt: its products by the layouts of their matrices. */
#include <stdlib.h>
#include <string.h>

#include "hollow.h"

enum { kExecutionFailed = 13, kHeuristicBytes = 160, kBatchCount = 5, kTransposeA = 3 };

typedef struct {
  int type;
  uint64_t rows, columns;
  int batch;
} Layout;
typedef struct {
  int transpose_a;
} Operation;

API int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns) {
  *layout = malloc(sizeof **layout);
  **layout = (Layout){type, rows, columns, 1};
  return 0;
}
API int cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* value) {
  if (attribute == kBatchCount) memcpy(&layout->batch, value, sizeof layout->batch);
  return 0;
}
API int cublasLtMatrixLayoutDestroy(Layout* layout) {
  free(layout);
  return 0;
}
API int cublasLtMatmulDescCreate(Operation** operation) {
  *operation = calloc(1, sizeof **operation);
  return 0;
}
API int cublasLtMatmulDescSetAttribute(Operation* operation, int attribute, const void* value) {
  if (attribute == kTransposeA) memcpy(&operation->transpose_a, value, sizeof operation->transpose_a);
  return 0;
}
API int cublasLtMatmulDescDestroy(Operation* operation) {
  free(operation);
  return 0;
}
/* One algorithm, which needs no workspace: a cublasLtMatmulHeuristicResult_t of zeros. */
API int cublasLtMatmulAlgoGetHeuristic(void* handle, Operation* operation, Layout* a, Layout* b, Layout* c,
                                       Layout* d, void* preference, int wanted, void* results, int* found) {
  (void)handle, (void)operation, (void)a, (void)b, (void)c, (void)d, (void)preference;
  *found = wanted > 0;
  if (wanted > 0) memset(results, 0, kHeuristicBytes);
  return 0;
}
API int cublasLtMatmul(void* handle, Operation* operation, const void* alpha, const void* a,
                       const Layout* a_layout, const void* b, const Layout* b_layout, const void* beta,
                       const void* c, const Layout* c_layout, void* d, const Layout* d_layout) {
  (void)handle, (void)alpha, (void)a, (void)b, (void)b_layout, (void)beta, (void)c, (void)c_layout, (void)d;
  hollow_gemm(d_layout->rows, d_layout->columns, operation->transpose_a ? a_layout->rows : a_layout->columns,
              (uint64_t)d_layout->batch, a_layout->type, __func__);
  return hollow_status("gemm") == 0 ? 0 : kExecutionFailed;
}
