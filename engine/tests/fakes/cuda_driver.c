/* A driver library without a GPU, for tests: libcuda's functions as far as the engine calls them. Memory is
 * the host's, streams do at once what they are given, and every call is noted, one line each: the function
 * and its arguments. Where memory comes from and notes go is device.h's: here fakes/device.c, in the hollow
 * GPU (tests/hollow) what the runtime's stand-ins use too.
 *
 * cuLaunchKernel reads its parameters by the C types of the kernel's own signature (kernels/relevance.py,
 * select.py), logs size and value of each, and then computes what the kernel would, in plain C and float32;
 * so a launch with a wrong argument gives a wrong result. Sizes that are compiled into a real kernel come
 * from FAKE_CUDA_HIDDEN and FAKE_CUDA_LEVELS; where they are not set, kernels are only recorded, and with
 * FAKE_CUDA_FIRST=1 the first tokens of each page are kept.
 *
 * FAKE_CUDA_CAPABILITY (90), FAKE_CUDA_DEVICES (1) say what there is. */
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

#define CUDA(name) __attribute__((visibility("default"))) int name

typedef uint64_t address;

static int number(const char* variable, int otherwise) {
  const char* text = getenv(variable);
  return text == NULL ? otherwise : atoi(text);
}

/* Notes the call; its status, 0 unless the device lets it fail. */
static int call(const char* name, const char* format, ...) {
  char line[1024];
  int length = snprintf(line, sizeof line, "%s ", name);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
  va_end(arguments);
  device_note(line);
  return device_status(name);
}

static address next_handle = 0x1000;
static void* handle(void) { return (void*)__atomic_add_fetch(&next_handle, 0x10, __ATOMIC_RELAXED); }

CUDA(cuGetErrorString)(int status, const char** text) {
  *text = status == 2     ? "out of memory"
          : status == 719 ? "unspecified launch failure"
          : status == 100 ? "no CUDA-capable device is detected"
                          : NULL;
  return *text == NULL;
}

CUDA(cuInit)(unsigned flags) { return call("cuInit", "%u", flags); }
CUDA(cuDeviceGetCount)(int* count) {
  *count = number("FAKE_CUDA_DEVICES", 1);
  return call("cuDeviceGetCount", "");
}
/* Number 1 is at 0000:01:00.0. */
CUDA(cuDeviceGetByPCIBusId)(int* device, const char* address) {
  *device = (int)strtol(strchr(address, ':') + 1, NULL, 16) + 7;
  return call("cuDeviceGetByPCIBusId", "%s", address);
}
CUDA(cuDeviceGet)(int* device, int ordinal) {
  *device = ordinal + 7; /* a handle, not the number */
  return call("cuDeviceGet", "%d", ordinal);
}
CUDA(cuDeviceGetName)(char* name, int length, int device) {
  snprintf(name, (size_t)length, "Fake GPU");
  return call("cuDeviceGetName", "%d", device);
}
CUDA(cuDeviceGetAttribute)(int* value, int attribute, int device) {
  const int capability = number("FAKE_CUDA_CAPABILITY", 90);
  *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : -1;
  return call("cuDeviceGetAttribute", "%d %d", attribute, device);
}

static __thread void* contexts[8];
static __thread int depth;
static void* const primary = (void*)0xc0;

CUDA(cuDevicePrimaryCtxRetain)(void** context, int device) {
  *context = primary;
  return call("cuDevicePrimaryCtxRetain", "%d", device);
}
CUDA(cuDevicePrimaryCtxRelease_v2)(int device) { return call("cuDevicePrimaryCtxRelease", "%d", device); }
CUDA(cuCtxPushCurrent_v2)(void* context) {
  contexts[depth++] = context;
  return 0;
}
CUDA(cuCtxPopCurrent_v2)(void** context) {
  *context = contexts[--depth];
  return 0;
}
/* CUDA_ERROR_INVALID_CONTEXT for whoever forgets to make the context current. */
#define NEEDS_CONTEXT                                             \
  do {                                                            \
    if (depth == 0 || contexts[depth - 1] != primary) return 201; \
  } while (0)

/* A module is logged by the length and the FNV-1a hash of its code: of a cubin (ELF) up to its table of
 * sections, of PTX up to the NUL. */
CUDA(cuModuleLoadDataEx)(void** module, const void* image, unsigned options, int* names, void** values) {
  NEEDS_CONTEXT;
  const uint8_t* code = image;
  uint64_t length = 0;
  if (memcmp(code, "\177ELF", 4) == 0) {
    memcpy(&length, code + 0x28, sizeof length);
  } else {
    length = strlen((const char*)code);
  }
  uint64_t hash = 0xcbf29ce484222325;
  for (uint64_t i = 0; i < length; ++i) hash = (hash ^ code[i]) * 0x100000001b3;
  const int status = call("cuModuleLoadDataEx", "%lu %#lx", (unsigned long)length, (unsigned long)hash);
  for (unsigned i = 0; status != 0 && i < options;
       ++i) { /* CU_JIT_ERROR_LOG_BUFFER, which has 1024 bytes here */
    if (names[i] == 5) snprintf(values[i], 1024, "ptxas says why");
  }
  *module = status == 0 ? handle() : NULL;
  return status;
}
CUDA(cuModuleUnload)(void* module) { return call("cuModuleUnload", "%p", module); }

static struct {
  void* handle;
  char name[64];
} functions[64];
static int function_count;

CUDA(cuModuleGetFunction)(void** function, void* module, const char* name) {
  NEEDS_CONTEXT;
  *function = functions[function_count].handle = handle();
  snprintf(functions[function_count++].name, 64, "%s", name);
  return call("cuModuleGetFunction", "%p %p %s", *function, module, name);
}
CUDA(cuFuncSetAttribute)(void* function, int attribute, int value) {
  return call("cuFuncSetAttribute", "%p %d %d", function, attribute, value);
}

CUDA(cuMemAlloc_v2)(address* data, size_t bytes) {
  NEEDS_CONTEXT;
  const int status = call("cuMemAlloc", "%zu", bytes);
  *data = status == 0 ? (address)device_allocate(bytes) : 0;
  return status == 0 && *data == 0 ? 2 : status; /* CUDA_ERROR_OUT_OF_MEMORY */
}
CUDA(cuMemFree_v2)(address data) {
  const int status = call("cuMemFree", "%#lx", (unsigned long)data);
  device_free((void*)data);
  return status;
}
CUDA(cuMemGetInfo_v2)(size_t* available, size_t* total) {
  device_memory_info(available, total);
  return call("cuMemGetInfo", "");
}
CUDA(cuMemHostAlloc)(void** data, size_t bytes, unsigned flags) {
  NEEDS_CONTEXT;
  const int status = call("cuMemHostAlloc", "%zu %u", bytes, flags);
  *data = status == 0 ? device_allocate_host(bytes) : NULL;
  return status == 0 && *data == NULL ? 2 : status;
}
CUDA(cuMemFreeHost)(void* data) {
  const int status = call("cuMemFreeHost", "%p", data);
  device_free_host(data);
  return status;
}
CUDA(cuMemcpyHtoDAsync_v2)(address to, const void* from, size_t bytes, void* stream) {
  NEEDS_CONTEXT;
  const int status = call("cuMemcpyHtoDAsync", "%#lx %zu %p", (unsigned long)to, bytes, stream);
  if (status == 0) device_copy((void*)to, from, bytes);
  return status;
}
CUDA(cuMemcpyDtoHAsync_v2)(void* to, address from, size_t bytes, void* stream) {
  NEEDS_CONTEXT;
  const int status = call("cuMemcpyDtoHAsync", "%#lx %zu %p", (unsigned long)from, bytes, stream);
  if (status == 0) device_copy(to, (const void*)from, bytes);
  return status;
}
CUDA(cuMemcpyDtoDAsync_v2)(address to, address from, size_t bytes, void* stream) {
  NEEDS_CONTEXT;
  const int status = call("cuMemcpyDtoDAsync", "%zu %p", bytes, stream);
  if (status == 0) device_copy((void*)to, (const void*)from, bytes);
  return status;
}

CUDA(cuStreamCreate)(void** stream, unsigned flags) {
  NEEDS_CONTEXT;
  *stream = handle();
  return call("cuStreamCreate", "%p %u", *stream, flags);
}
CUDA(cuStreamDestroy_v2)(void* stream) { return call("cuStreamDestroy", "%p", stream); }
CUDA(cuStreamSynchronize)(void* stream) {
  NEEDS_CONTEXT;
  return call("cuStreamSynchronize", "%p", stream);
}
CUDA(cuStreamWaitEvent)(void* stream, void* event, unsigned flags) {
  NEEDS_CONTEXT;
  return call("cuStreamWaitEvent", "%p %p %u", stream, event, flags);
}
CUDA(cuEventCreate)(void** event, unsigned flags) {
  NEEDS_CONTEXT;
  *event = handle();
  return call("cuEventCreate", "%p %u", *event, flags);
}
CUDA(cuEventDestroy_v2)(void* event) { return call("cuEventDestroy", "%p", event); }
CUDA(cuEventRecord)(void* event, void* stream) {
  NEEDS_CONTEXT;
  return call("cuEventRecord", "%p %p", event, stream);
}
CUDA(cuEventSynchronize)(void* event) {
  NEEDS_CONTEXT;
  return call("cuEventSynchronize", "%p", event);
}

/* ---- kernels ---- */

static float inverse_norm(const float* row, int size) {
  float square = 0;
  for (int i = 0; i < size; ++i) square += row[i] * row[i];
  return 1.0f / fmaxf(sqrtf(square), 1e-12f);
}

static void text_scales(const float* text, const uint8_t* mask, int32_t* order, float* scale, int32_t* count,
                        int32_t T, int hidden) {
  *count = 0;
  for (int32_t t = 0; t < T; ++t) {
    if (!mask[t]) continue;
    order[*count] = t;
    scale[(*count)++] = inverse_norm(text + (size_t)t * hidden, hidden);
  }
}

static void relevance_scores(const float* pool, const int64_t* rows, const float* text, const int32_t* order,
                             const float* scale, const int32_t* count, float* relevance, int32_t N,
                             int hidden, int levels) {
  for (int32_t n = 0; n < N; ++n) {
    const float* visual = pool + (size_t)rows[n] * levels * hidden;
    float best = -INFINITY;
    for (int32_t i = 0; i < *count; ++i) {
      float product = 0;
      for (int d = 0; d < hidden; ++d) product += visual[d] * text[(size_t)order[i] * hidden + d];
      best = fmaxf(best, product * scale[i]);
    }
    relevance[n] = best * inverse_norm(visual, hidden);
  }
}

/* One page: a token stays when fewer than `keep` others of its page are better, or as good and before it. */
static void select_kept(const float* relevance, const int64_t* offsets, const int64_t* keep, int64_t* kept,
                        int32_t* status, unsigned page) {
  int64_t place = 0;
  for (unsigned p = 0; p < page; ++p) place += keep[p];
  for (int64_t n = offsets[page]; n < offsets[page + 1]; ++n) {
    int64_t before = 0;
    for (int64_t m = offsets[page]; m < offsets[page + 1]; ++m) {
      before += relevance[m] > relevance[n] || (relevance[m] == relevance[n] && m < n);
    }
    if (before < keep[page]) kept[place++] = n;
  }
  status[page] = 0;
}

/* Whatever the relevance: the first tokens of each page stay. */
static void select_first(const int64_t* offsets, const int64_t* keep, int64_t* kept, unsigned pages) {
  for (unsigned page = 0; page < pages; ++page) {
    for (int64_t i = 0; i < keep[page]; ++i) *kept++ = offsets[page] + i;
  }
}

#define POINTER(i) ((void*)*(address*)parameters[i])
#define INT32(i) (*(int32_t*)parameters[i])

CUDA(cuLaunchKernel)(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                     unsigned bz, unsigned shared, void* stream, void** parameters, void** extra) {
  NEEDS_CONTEXT;
  const char* name = "";
  for (int i = 0; i < function_count; ++i) {
    if (functions[i].handle == function) name = functions[i].name;
  }
  const char* types = strcmp(name, "text_scales") == 0 ? "pppppipp" /* two scratch pointers at the end */
                      : strcmp(name, "relevance_scores") == 0 ? "pppppppipp"
                      : strcmp(name, "select_kept") == 0      ? "ppppppp"
                                                              : "";
  char text[512] = "";
  int length = 0;
  for (int i = 0; types[i] != '\0'; ++i) {
    length += types[i] == 'i' ? snprintf(text + length, sizeof text - (size_t)length, " 4:%d", INT32(i))
                              : snprintf(text + length, sizeof text - (size_t)length, " 8:%#lx",
                                         (unsigned long)*(address*)parameters[i]);
  }
  const int status = call("cuLaunchKernel", "%s %u %u %u %u %u %u %u %p %p%s", name, gx, gy, gz, bx, by, bz,
                          shared, stream, (void*)extra, text);
  const int hidden = number("FAKE_CUDA_HIDDEN", 0);
  const int levels = number("FAKE_CUDA_LEVELS", 0);
  if (status == 0 && number("FAKE_CUDA_FIRST", 0) && strcmp(name, "select_kept") == 0) {
    select_first(POINTER(1), POINTER(2), POINTER(3), gx);
  }
  if (status != 0 || hidden == 0) return status;
  if (strcmp(name, "text_scales") == 0) {
    text_scales(POINTER(0), POINTER(1), POINTER(2), POINTER(3), POINTER(4), INT32(5), hidden);
  } else if (strcmp(name, "relevance_scores") == 0) {
    relevance_scores(POINTER(0), POINTER(1), POINTER(2), POINTER(3), POINTER(4), POINTER(5), POINTER(6),
                     INT32(7), hidden, levels);
  } else {
    for (unsigned page = 0; page < gx; ++page) {
      select_kept(POINTER(0), POINTER(1), POINTER(2), POINTER(3), POINTER(4), page);
    }
  }
  return 0;
}
