/* An ONNX Runtime that says it has a CUDA provider, for tests: the real library (REAL_ONNXRUNTIME names it),
 * where "Cuda" memory is the host's and what was registered for CUDA runs on the CPU provider. With the
 * driver of cuda_driver.c the whole engine then runs on its `cuda` provider, all but ONNX Runtime's own CUDA
 * code.
 *
 * Calls that only exist for CUDA go into FAKE_CUDA_LOG as well. */
#include <dlfcn.h>
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const OrtApi* real;
static OrtApi api;
static void* compute_stream;

static void report(const char* text, const char* value) {
  const char* path = getenv("FAKE_CUDA_LOG");
  if (path == NULL) return;
  FILE* file = fopen(path, "a");
  fprintf(file, "%s %s\n", text, value);
  fclose(file);
}

/* ---- the provider ---- */

static OrtStatus* available_providers(char*** names, int* count) {
  static char cuda[] = "CUDAExecutionProvider";
  static char cpu[] = "CPUExecutionProvider";
  static char* both[] = {cuda, cpu};
  *names = both;
  *count = 2;
  return NULL;
}
static OrtStatus* release_providers(char** names, int count) {
  (void)names;
  (void)count;
  return NULL;
}
static OrtStatus* create_options(OrtCUDAProviderOptionsV2** options) {
  *options = (OrtCUDAProviderOptionsV2*)malloc(1);
  return NULL;
}
static void release_options(OrtCUDAProviderOptionsV2* options) { free(options); }
static OrtStatus* update_options(OrtCUDAProviderOptionsV2* options, const char* const* keys,
                                 const char* const* values, size_t count) {
  (void)options;
  for (size_t i = 0; i < count; ++i) {
    char text[256];
    snprintf(text, sizeof text, "%s %s", keys[i], values[i]);
    report("provider_option", text);
  }
  return NULL;
}
static OrtStatus* update_option(OrtCUDAProviderOptionsV2* options, const char* key, void* value) {
  (void)options;
  char text[256];
  snprintf(text, sizeof text, "%s %p", key, value);
  report("provider_option", text);
  if (strcmp(key, "user_compute_stream") == 0) compute_stream = value;
  return NULL;
}
static OrtStatus* append_provider(OrtSessionOptions* session, const OrtCUDAProviderOptionsV2* options) {
  (void)session;
  (void)options;
  const char* failure = getenv("FAKE_PROVIDER_ERROR");
  return failure == NULL ? NULL : real->CreateStatus(ORT_FAIL, failure);
}

/* ---- memory and the stream ---- */

static OrtStatus* create_memory_info(const char* name, enum OrtAllocatorType type, int id,
                                     enum OrtMemType kind, OrtMemoryInfo** out) {
  if (strcmp(name, "Cuda") == 0) return real->CreateCpuMemoryInfo(OrtArenaAllocator, kind, out);
  return real->CreateMemoryInfo(name, type, id, kind, out);
}
static OrtStatus* gpu_stream(const OrtKernelContext* context, void** stream) {
  (void)context;
  *stream = compute_stream;
  return NULL;
}
static OrtStatus* add_run_option(OrtRunOptions* options, const char* key, const char* value) {
  report("run_option", key);
  return real->AddRunConfigEntry(options, key, value);
}

/* ---- the operator ---- */

static const char* cpu_provider(const OrtCustomOp* op) {
  (void)op;
  return "CPUExecutionProvider";
}
static OrtStatus* (*create_kernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void**);
/* ONNX Runtime hands its own API to a kernel; the kernel shall see this one. */
static OrtStatus* create_kernel_here(const OrtCustomOp* op, const OrtApi* theirs, const OrtKernelInfo* info,
                                     void** kernel) {
  (void)theirs;
  return create_kernel(op, &api, info, kernel);
}
static OrtStatus* add_op(OrtCustomOpDomain* domain, const OrtCustomOp* op) {
  OrtCustomOp* ours = (OrtCustomOp*)op; /* every engine has its own: no constant */
  if (strcmp(op->GetExecutionProviderType(op), "CUDAExecutionProvider") == 0) {
    char text[128];
    int length = snprintf(text, sizeof text, "%s %s", op->GetName(op), op->GetExecutionProviderType(op));
    for (size_t i = 0; i < op->GetInputTypeCount(op); ++i) { /* 0 is the provider's memory, -2 the host's */
      length +=
          snprintf(text + length, sizeof text - (size_t)length, " %d", (int)op->GetInputMemoryType(op, i));
    }
    report("operator", text);
    create_kernel = ours->CreateKernelV2;
    ours->CreateKernelV2 = create_kernel_here;
    ours->GetExecutionProviderType = cpu_provider;
  }
  return real->CustomOpDomain_Add(domain, op);
}

/* ---- what the engine loads ---- */

static const OrtApiBase* real_base(void) {
  static const OrtApiBase* base;
  if (base == NULL) {
    void* library = dlopen(getenv("REAL_ONNXRUNTIME"), RTLD_NOW | RTLD_LOCAL);
    base = ((const OrtApiBase* (*)(void))dlsym(library, "OrtGetApiBase"))();
  }
  return base;
}
static const OrtApi* get_api(uint32_t version) {
  real = real_base()->GetApi(version);
  if (real == NULL) return NULL;
  api = *real;
  api.GetAvailableProviders = available_providers;
  api.ReleaseAvailableProviders = release_providers;
  api.CreateCUDAProviderOptions = create_options;
  api.ReleaseCUDAProviderOptions = release_options;
  api.UpdateCUDAProviderOptions = update_options;
  api.UpdateCUDAProviderOptionsWithValue = update_option;
  api.SessionOptionsAppendExecutionProvider_CUDA_V2 = append_provider;
  api.CreateMemoryInfo = create_memory_info;
  api.KernelContext_GetGPUComputeStream = gpu_stream;
  api.AddRunConfigEntry = add_run_option;
  api.CustomOpDomain_Add = add_op;
  return &api;
}
static const char* get_version(void) { return real_base()->GetVersionString(); }

__attribute__((visibility("default"))) const OrtApiBase* OrtGetApiBase(void) {
  static const OrtApiBase base = {get_api, get_version};
  return &base;
}
