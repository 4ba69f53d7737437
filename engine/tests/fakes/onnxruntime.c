/* An ONNX Runtime that says it has NVIDIA's providers, for tests: the real library (REAL_ONNXRUNTIME names
 * it), where "Cuda" memory is the host's and what was registered for CUDA runs on the CPU provider. With the
 * driver of cuda_driver.c the whole engine then runs on its providers `cuda`, `tensorrt` and `tensorrt-rtx`,
 * all but ONNX Runtime's own code for them: a plan must be a graph that the CPU runs.
 *
 * Calls that only exist for these providers go into FAKE_CUDA_LOG as well. FAKE_RTX_DEVICES ("0", or "2,0")
 * are the devices of a provider library, as the driver counts them. FAKE_ONNXRUNTIME_VERSION ("1.31.1") is
 * the version that it says it has. FAKE_PROVIDER_ERROR is what CUDA,
 * FAKE_TENSORRT_ERROR what TensorRT and FAKE_RTX_ERROR what a provider library cannot be loaded for. With
 * FAKE_RUNS_WAIT, runs of graphs wait until they are told to end. */
#include <dlfcn.h>
#include <onnxruntime_c_api.h>
#include <pthread.h>
#include <stdint.h>
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

static void report_pair(const char* text, const char* key, const char* value) {
  char* pair = (char*)malloc(strlen(key) + strlen(value) + 2);
  sprintf(pair, "%s %s", key, value);
  report(text, pair);
  free(pair);
}

/* The status that an environment variable asks for. */
static OrtStatus* failure(const char* variable) {
  const char* text = getenv(variable);
  return text == NULL ? NULL : real->CreateStatus(ORT_FAIL, text);
}

/* ---- the provider ---- */

static OrtStatus* available_providers(char*** names, int* count) {
  static char cuda[] = "CUDAExecutionProvider";
  static char cpu[] = "CPUExecutionProvider";
  static char tensorrt[] = "TensorrtExecutionProvider";
  static char* all[] = {tensorrt, cuda, cpu};
  *names = getenv("FAKE_NO_TENSORRT") == NULL ? all : all + 1;
  *count = getenv("FAKE_NO_TENSORRT") == NULL ? 3 : 2;
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
  for (size_t i = 0; i < count; ++i) report_pair("provider_option", keys[i], values[i]);
  return NULL;
}
static OrtStatus* update_option(OrtCUDAProviderOptionsV2* options, const char* key, void* value) {
  (void)options;
  char text[32];
  snprintf(text, sizeof text, "%p", value);
  report_pair("provider_option", key, text);
  if (strcmp(key, "user_compute_stream") == 0) compute_stream = value;
  return NULL;
}
static OrtStatus* append_provider(OrtSessionOptions* session, const OrtCUDAProviderOptionsV2* options) {
  (void)session;
  (void)options;
  report("append", "CUDA");
  return failure("FAKE_PROVIDER_ERROR");
}

static OrtStatus* no_mem_pattern(OrtSessionOptions* options) {
  report("mem_pattern", "off");
  return real->DisableMemPattern(options);
}

/* ---- TensorRT ---- */

static OrtStatus* create_trt_options(OrtTensorRTProviderOptionsV2** options) {
  *options = (OrtTensorRTProviderOptionsV2*)malloc(1);
  return NULL;
}
static void release_trt_options(OrtTensorRTProviderOptionsV2* options) { free(options); }
static OrtStatus* update_trt_options(OrtTensorRTProviderOptionsV2* options, const char* const* keys,
                                     const char* const* values, size_t count) {
  (void)options;
  for (size_t i = 0; i < count; ++i) report_pair("tensorrt_option", keys[i], values[i]);
  return NULL;
}
static OrtStatus* update_trt_option(OrtTensorRTProviderOptionsV2* options, const char* key, void* value) {
  (void)options;
  char text[32];
  snprintf(text, sizeof text, "%p", value);
  report_pair("tensorrt_option", key, text);
  return NULL;
}
static OrtStatus* append_trt(OrtSessionOptions* session, const OrtTensorRTProviderOptionsV2* options) {
  (void)session;
  (void)options;
  report("append", "TensorRT");
  return failure("FAKE_TENSORRT_ERROR");
}

/* ---- a provider library; a device is its number as a pointer, counted from 1 ---- */

static char plugin[64];
static const OrtEpDevice* devices[8];

static OrtStatus* register_library(OrtEnv* env, const char* name, const ORTCHAR_T* path) {
  (void)env;
  report_pair("register", name, path);
  snprintf(plugin, sizeof plugin, "%s", name);
  return failure("FAKE_RTX_ERROR");
}
static OrtStatus* ep_devices(const OrtEnv* env, const OrtEpDevice* const** out, size_t* count) {
  (void)env;
  const char* list = getenv("FAKE_RTX_DEVICES");
  *count = 0;
  for (; plugin[0] != '\0' && list != NULL && *list != '\0';
       list += strspn(list, "0123456789,") > 1 ? 2 : 1) {
    devices[(*count)++] = (const OrtEpDevice*)(uintptr_t)(atoi(list) + 1);
  }
  *out = devices;
  return NULL;
}
static const char* ep_name(const OrtEpDevice* device) {
  (void)device;
  return plugin;
}
static const OrtHardwareDevice* hardware(const OrtEpDevice* device) {
  return (const OrtHardwareDevice*)device;
}
static const OrtKeyValuePairs* metadata(const OrtHardwareDevice* device) {
  return (const OrtKeyValuePairs*)device;
}
static const char* value_of(const OrtKeyValuePairs* pairs, const char* key) {
  static char address[16];
  snprintf(address, sizeof address, "0000:%02x:00.0", (unsigned)(uintptr_t)pairs - 1);
  return strcmp(key, "pci_bus_id") == 0 ? address : NULL;
}
static OrtStatus* append_plugin(OrtSessionOptions* session, OrtEnv* env, const OrtEpDevice* const* chosen,
                                size_t count, const char* const* keys, const char* const* values,
                                size_t option_count) {
  (void)session;
  (void)env;
  report("append", plugin);
  for (size_t i = 0; i < count; ++i)
    report("rtx_device", value_of(metadata(hardware(chosen[i])), "pci_bus_id"));
  for (size_t i = 0; i < option_count; ++i) report_pair("rtx_option", keys[i], values[i]);
  return NULL;
}

static OrtStatus* create_session(const OrtEnv* env, const ORTCHAR_T* path, const OrtSessionOptions* options,
                                 OrtSession** session) {
  report("session", path);
  return real->CreateSession(env, path, options, session);
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

/* ---- runs that wait to be ended ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int waiting; /* runs */

/* With FAKE_RUNS_WAIT set, a run of a graph begins only once it has been told to end. */
static OrtStatus* run_with_binding(OrtSession* session, const OrtRunOptions* options,
                                   const OrtIoBinding* binding) {
  if (getenv("FAKE_RUNS_WAIT") != NULL) {
    pthread_mutex_lock(&mutex);
    ++waiting;
    pthread_cond_broadcast(&changed);
    while (waiting != 0) pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
  }
  return real->RunWithBinding(session, options, binding);
}
static OrtStatus* set_terminate(OrtRunOptions* options) {
  OrtStatus* status = real->RunOptionsSetTerminate(options);
  pthread_mutex_lock(&mutex);
  if (waiting > 0) --waiting;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&mutex);
  return status;
}
/* Returns once so many runs wait. */
__attribute__((visibility("default"))) void fake_await_runs(int count) {
  pthread_mutex_lock(&mutex);
  while (waiting < count) pthread_cond_wait(&changed, &mutex);
  pthread_mutex_unlock(&mutex);
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
  api.DisableMemPattern = no_mem_pattern;
  api.CreateTensorRTProviderOptions = create_trt_options;
  api.ReleaseTensorRTProviderOptions = release_trt_options;
  api.UpdateTensorRTProviderOptions = update_trt_options;
  api.UpdateTensorRTProviderOptionsWithValue = update_trt_option;
  api.SessionOptionsAppendExecutionProvider_TensorRT_V2 = append_trt;
  api.RegisterExecutionProviderLibrary = register_library;
  api.GetEpDevices = ep_devices;
  api.EpDevice_EpName = ep_name;
  api.EpDevice_Device = hardware;
  api.HardwareDevice_Metadata = metadata;
  api.GetKeyValue = value_of;
  api.SessionOptionsAppendExecutionProvider_V2 = append_plugin;
  api.CreateSession = create_session;
  api.CreateMemoryInfo = create_memory_info;
  api.KernelContext_GetGPUComputeStream = gpu_stream;
  api.AddRunConfigEntry = add_run_option;
  api.CustomOpDomain_Add = add_op;
  api.RunWithBinding = run_with_binding;
  api.RunOptionsSetTerminate = set_terminate;
  return &api;
}
static const char* get_version(void) {
  const char* version = getenv("FAKE_ONNXRUNTIME_VERSION");
  return version != NULL ? version : "1.31.1";
}

__attribute__((visibility("default"))) const OrtApiBase* OrtGetApiBase(void) {
  static const OrtApiBase base = {get_api, get_version};
  return &base;
}
