/* The CUDA runtime: kernels by name, memory, copies, streams. What is not here is a generated stub.
 *
 * The few types are written down, so that no CUDA headers are needed: all that their users on the other side
 * read is at the offsets below, in CUDA 12 and 13 alike where only one is given. */
#include <stdlib.h>
#include <string.h>

#include "hollow.h"

typedef struct {
  unsigned x, y, z;
} dim3;
typedef struct { /* cudaLaunchConfig_t */
  dim3 grid, block;
  size_t shared;
  void* stream;
} LaunchConfig;

static __thread int last_error; /* until cudaGetLastError */

/* The status of a call of that kind. */
static int done(const char* kind) {
  const int status = hollow_status(kind);
  if (status != 0) last_error = status;
  return status;
}
API int cudaGetLastError(void) {
  const int status = last_error;
  last_error = 0;
  return status;
}
API int cudaPeekAtLastError(void) { return last_error; }
API const char* cudaGetErrorName(int status) {
  return status == 0              ? "cudaSuccess"
         : status == kOutOfMemory ? "cudaErrorMemoryAllocation"
         : status == 700          ? "cudaErrorIllegalAddress"
         : status == 719          ? "cudaErrorLaunchFailure"
                                  : "cudaErrorUnknown";
}
API const char* cudaGetErrorString(int status) {
  return status == 0              ? "no error"
         : status == kOutOfMemory ? "out of memory"
         : status == 700          ? "an illegal memory access was encountered"
         : status == 719          ? "unspecified launch failure"
                                  : "unknown error";
}

/* ---- kernels ---- */

static struct {
  const void* kernel; /* the host's function that stands for it */
  const char* name;
} registered[1 << 18]; /* open addressing; a provider has about 30,000 */

static size_t slot_of(const void* kernel) {
  const size_t slots = sizeof registered / sizeof *registered;
  size_t slot = ((uintptr_t)kernel >> 4) % slots;
  while (registered[slot].kernel != NULL && registered[slot].kernel != kernel) slot = (slot + 1) % slots;
  return slot;
}
static void keep_name(const void* kernel, const char* name) {
  const size_t slot = slot_of(kernel);
  registered[slot].kernel = kernel;
  registered[slot].name = name;
}

API void** __cudaRegisterFatBinary(void* binary) {
  (void)binary;
  static void* handle[1];
  return handle;
}
API void __cudaRegisterFatBinaryEnd(void** handle) { (void)handle; }
API void __cudaUnregisterFatBinary(void** handle) { (void)handle; }
API void __cudaRegisterFunction(void** handle, const char* kernel, char* device, const char* name) {
  (void)handle;
  (void)device;
  keep_name(kernel, name);
}
API void __cudaRegisterVar(void) {}

static __thread LaunchConfig pushed;
API unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void* stream) {
  pushed = (LaunchConfig){grid, block, shared, stream};
  return 0;
}
API int __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void** stream) {
  *grid = pushed.grid;
  *block = pushed.block;
  *shared = pushed.shared;
  *stream = pushed.stream;
  return 0;
}

static int launch(const void* kernel, dim3 grid, dim3 block, size_t shared) {
  const char* name = registered[slot_of(kernel)].name;
  const unsigned size[3] = {grid.x, grid.y, grid.z};
  hollow_launch(kernel, name == NULL ? "unknown" : name, size, block.x * block.y * block.z, shared);
  return done("launch");
}
API int __cudaGetKernel(const void** kernel, const void* function) {
  *kernel = function;
  return 0;
}
API int __cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** arguments, size_t shared,
                           void* stream) {
  (void)arguments;
  (void)stream;
  return launch(kernel, grid, block, shared);
}
API int cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** arguments, size_t shared,
                         void* stream) {
  return __cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}
API int cudaLaunchCooperativeKernel(const void* kernel, dim3 grid, dim3 block, void** arguments,
                                    size_t shared, void* stream) {
  return __cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}
API int cudaLaunchKernelExC(const LaunchConfig* config, const void* kernel, void** arguments) {
  (void)arguments;
  return launch(kernel, config->grid, config->block, config->shared);
}
API int cudaLibraryLoadData(void** library) {
  *library = hollow_handle();
  return 0;
}
API int cudaLibraryGetKernel(const void** kernel, void* library, const char* name) {
  (void)library;
  *kernel = hollow_handle();
  keep_name(*kernel, strdup(name));
  return 0;
}
/* cudaFuncAttributes: int maxThreadsPerBlock 24, numRegs 28, ptxVersion 32, binaryVersion 36,
 * maxDynamicSharedSizeBytes 44, of 144 bytes. */
API int cudaFuncGetAttributes(char* attributes, const void* kernel) {
  (void)kernel;
  memset(attributes, 0, 144);
  const int values[] = {1024, 64, 90, 90, 0, 232448};
  memcpy(attributes + 24, values, sizeof values);
  return 0;
}
API int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks) {
  *blocks = 2;
  return 0;
}

/* ---- the device: an H100 in its sizes ---- */

enum { kProcessors = 132, kShared = 49152, kSharedOptin = 232448, kSharedProcessor = 233472 };
static int capability(void) {
  const char* text = getenv("FAKE_CUDA_CAPABILITY");
  return text == NULL ? 90 : atoi(text);
}
API int cudaGetDeviceCount(int* count) {
  const char* text = getenv("FAKE_CUDA_DEVICES");
  *count = text == NULL ? 1 : atoi(text);
  return *count > 0 ? done("other") : 100;
}
static __thread int current;
API int cudaGetDevice(int* device) {
  *device = current;
  return 0;
}
API int cudaSetDevice(int device) {
  current = device;
  return done("other");
}
API int cudaDriverGetVersion(int* version) {
  *version = 13010;
  return 0;
}
API int cudaRuntimeGetVersion(int* version) {
  *version = HOLLOW_CUDA_MAJOR * 1000;
  return 0;
}

/* cudaDeviceProp: where it has what, in CUDA 12 (1032 bytes) and 13 (1008 bytes). */
static const struct {
  short cuda12, cuda13, bytes;
  long value;
} kProperties[] = {
    {296, 296, 8, kShared},          /* sharedMemPerBlock */
    {304, 304, 4, 65536},            /* regsPerBlock */
    {308, 308, 4, 32},               /* warpSize */
    {320, 320, 4, 1024},             /* maxThreadsPerBlock */
    {324, 324, 4, 1024},             /* maxThreadsDim */
    {328, 328, 4, 1024},             //
    {332, 332, 4, 64},               //
    {336, 336, 4, 2147483647},       /* maxGridSize */
    {340, 340, 4, 65535},            //
    {344, 344, 4, 65535},            //
    {388, 384, 4, kProcessors},      /* multiProcessorCount */
    {576, 560, 4, 1},                /* concurrentKernels */
    {584, 568, 4, 1},                /* pciBusID */
    {600, 584, 4, 3},                /* asyncEngineCount */
    {604, 588, 4, 1},                /* unifiedAddressing */
    {616, 596, 4, 50 << 20},         /* l2CacheSize */
    {624, 604, 4, 2048},             /* maxThreadsPerMultiProcessor */
    {640, 624, 8, kSharedProcessor}, /* sharedMemPerMultiprocessor */
    {648, 632, 4, 65536},            /* regsPerMultiprocessor */
    {652, 636, 4, 1},                /* managedMemory */
    {696, 672, 8, kSharedOptin},     /* sharedMemPerBlockOptin */
    {712, 688, 4, 32},               /* maxBlocksPerMultiProcessor */
};
static int describe(char* properties, int cuda12) {
  memset(properties, 0, cuda12 ? 1032 : 1008);
  strcpy(properties, "Hollow GPU");
  size_t available = 0;
  hollow_memory_info(&available, (size_t*)(properties + 288)); /* totalGlobalMem */
  const int numbers[] = {capability() / 10, capability() % 10};
  memcpy(properties + 360, numbers, sizeof numbers); /* major, minor */
  for (size_t i = 0; i < sizeof kProperties / sizeof *kProperties; ++i) {
    const int offset = cuda12 ? kProperties[i].cuda12 : kProperties[i].cuda13;
    memcpy(properties + offset, &kProperties[i].value, (size_t)kProperties[i].bytes);
  }
  return done("other");
}
API int cudaGetDeviceProperties(char* properties) { return describe(properties, 0); }    /* CUDA 13's */
API int cudaGetDeviceProperties_v2(char* properties) { return describe(properties, 1); } /* CUDA 12's */

/* By the numbers of cudaDeviceAttr; 1 ("yes") for those that no kernel here asks a size of. */
API int cudaDeviceGetAttribute(int* value, int attribute) {
  switch (attribute) {
    case 1:
      *value = 1024;
      break; /* MaxThreadsPerBlock */
    case 5:
      *value = 2147483647;
      break; /* MaxGridDimX */
    case 8:
      *value = kShared;
      break; /* MaxSharedMemoryPerBlock */
    case 10:
      *value = 32;
      break; /* WarpSize */
    case 12:
      *value = 65536;
      break; /* MaxRegistersPerBlock */
    case 16:
      *value = kProcessors;
      break; /* MultiProcessorCount */
    case 39:
      *value = 2048;
      break; /* MaxThreadsPerMultiProcessor */
    case 75:
      *value = capability() / 10;
      break;
    case 76:
      *value = capability() % 10;
      break;
    case 81:
      *value = kSharedProcessor;
      break; /* MaxSharedMemoryPerMultiprocessor */
    case 97:
      *value = kSharedOptin;
      break; /* MaxSharedMemoryPerBlockOptin */
    default:
      *value = 1;
  }
  return 0;
}
static int no_entry(void) {
  hollow_note("call entry point of the driver");
  return 0;
}
API int cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned version,
                                         unsigned long long flags, int* found) {
  (void)version;
  (void)flags;
  hollow_note("call cudaGetDriverEntryPointByVersion(%s)", name);
  *function = (void*)no_entry;
  if (found != NULL) *found = 0;
  return 0;
}

/* ---- memory ---- */

static int allocate(void** data, size_t bytes, int host) {
  const int status = done("alloc");
  if (status != 0) return status;
  *data = host ? hollow_allocate_host(bytes) : hollow_allocate(bytes);
  if (*data == NULL) last_error = kOutOfMemory;
  return *data == NULL ? kOutOfMemory : 0;
}
API int cudaMalloc(void** data, size_t bytes) { return allocate(data, bytes, 0); }
API int cudaMallocAsync(void** data, size_t bytes) { return allocate(data, bytes, 0); }
API int cudaMallocFromPoolAsync(void** data, size_t bytes) { return allocate(data, bytes, 0); }
API int cudaMallocHost(void** data, size_t bytes) { return allocate(data, bytes, 1); }
API int cudaHostAlloc(void** data, size_t bytes) { return allocate(data, bytes, 1); }
static int release(void* data) {
  hollow_free(data);
  return done("other");
}
API int cudaFree(void* data) { return release(data); }
API int cudaFreeAsync(void* data) { return release(data); }
API int cudaFreeHost(void* data) { return release(data); }
API int cudaMemGetInfo(size_t* available, size_t* total) {
  hollow_memory_info(available, total);
  return done("other");
}
/* cudaPointerAttributes: int type 0 (2: device's), device 4, void* devicePointer 8, hostPointer 16; the rest
 * of CUDA 13's 88 bytes is reserved. */
API int cudaPointerGetAttributes(char* attributes, const void* data) {
  const int kind[2] = {hollow_on_device(data) ? 2 : 0, 0};
  const void* pointers[2] = {kind[0] == 2 ? data : NULL, kind[0] == 2 ? NULL : data};
  memcpy(attributes, kind, sizeof kind);
  memcpy(attributes + 8, pointers, sizeof pointers);
  return 0;
}

static int copied(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                  const char* way) {
  hollow_note("copy %cto%c %zu %s", hollow_on_device(from) ? 'D' : 'H', hollow_on_device(to) ? 'D' : 'H',
              width * height, way);
  const int status = done("copy");
  for (size_t row = 0; status == 0 && row < height; ++row) {
    hollow_copy((char*)to + row * to_pitch, (const char*)from + row * from_pitch, width);
  }
  return status;
}
API int cudaMemcpy(void* to, const void* from, size_t bytes) {
  return copied(to, 0, from, 0, bytes, 1, "sync");
}
API int cudaMemcpyAsync(void* to, const void* from, size_t bytes) {
  return copied(to, 0, from, 0, bytes, 1, "async");
}
API int cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                          size_t height) {
  return copied(to, to_pitch, from, from_pitch, width, height, "async");
}
API int cudaMemcpyFromSymbol(void* to, const void* symbol, size_t bytes) {
  (void)symbol;
  hollow_note("copy DtoH %zu sync", bytes);
  memset(to, 0, bytes);
  return done("copy");
}
API int cudaMemsetAsync(void* to, int value, size_t bytes) {
  hollow_note("memset %zu", bytes);
  hollow_set(to, value, bytes);
  return done("other");
}
API int cudaMemset(void* to, int value, size_t bytes) { return cudaMemsetAsync(to, value, bytes); }
API int cudaMemPoolGetAttribute(void* pool, int attribute, uint64_t* value) {
  (void)pool;
  (void)attribute;
  *value = 0;
  return 0;
}

/* ---- streams ---- */

static int waited(const char* what) {
  hollow_note("sync %s", what);
  return done("sync");
}
API int cudaStreamSynchronize(void) { return waited("stream"); }
API int cudaDeviceSynchronize(void) { return waited("device"); }
API int cudaEventSynchronize(void) { return waited("event"); }
API int cudaEventElapsedTime(float* milliseconds) {
  *milliseconds = 1;
  return 0;
}
API int cudaStreamIsCapturing(void* stream, int* state) {
  (void)stream;
  *state = 0;
  return 0;
}
