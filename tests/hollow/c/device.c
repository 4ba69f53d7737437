#define _GNU_SOURCE
#include "../../../engine/tests/fakes/device.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hollow.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of all that follows */

/* ---- log ---- */

static FILE* log_file;

static void write_line(const char* format, va_list arguments) {
  if (log_file == NULL) return;
  vfprintf(log_file, format, arguments);
  fputc('\n', log_file);
}

/* For who holds the mutex. */
__attribute__((format(printf, 1, 2))) static void note(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  write_line(format, arguments);
  va_end(arguments);
}

void hollow_note(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  pthread_mutex_lock(&mutex);
  write_line(format, arguments);
  pthread_mutex_unlock(&mutex);
  va_end(arguments);
}

void hollow_mark(const char* name) { hollow_note("mark %s", name); }

void* hollow_handle(void) {
  static uintptr_t last = 0x10000;
  return (void*)__atomic_add_fetch(&last, 0x10, __ATOMIC_RELAXED);
}

void hollow_launch(const void* kernel, const char* name, const unsigned grid[3], unsigned threads,
                   size_t shared) {
  enum { kSlots = 1 << 16 };
  static const void* known[kSlots]; /* open addressing; a slot's number is the kernel's in the log */
  pthread_mutex_lock(&mutex);
  size_t slot = ((uintptr_t)kernel >> 4) % kSlots;
  while (known[slot] != NULL && known[slot] != kernel) slot = (slot + 1) % kSlots;
  if (known[slot] == NULL) {
    known[slot] = kernel;
    note("kernel %zu %s", slot, name);
  }
  note("launch %zu %u %u %u %u %zu", slot, grid[0], grid[1], grid[2], threads, shared);
  pthread_mutex_unlock(&mutex);
}

void hollow_gemm(uint64_t m, uint64_t n, uint64_t k, uint64_t batch, int type, const char* function) {
  hollow_note("gemm %lu %lu %lu %lu %d %s", m, n, k, batch, type, function);
}

/* ---- failures ---- */

static struct {
  char kind[16];
  long left; /* calls of that kind up to the one that fails */
  int status;
  bool lost; /* and every call after it */
} plan;
static int lost;

void hollow_fail(const char* text) {
  pthread_mutex_lock(&mutex);
  memset(&plan, 0, sizeof plan);
  lost = 0;
  char word[8] = "";
  if (text != NULL && *text != '\0') {
    const int fields = sscanf(text, "%15[^:]:%ld:%d:%7s", plan.kind, &plan.left, &plan.status, word);
    if (fields < 3 || (fields == 4 && strcmp(word, "lost") != 0)) {
      fprintf(stderr, "HOLLOW_FAIL=%s: give kind:n:status, or kind:n:status:lost\n", text);
      abort();
    }
    plan.lost = fields == 4;
  }
  pthread_mutex_unlock(&mutex);
}

int hollow_status(const char* kind) {
  pthread_mutex_lock(&mutex);
  int status = lost;
  if (status == 0 && plan.left > 0 && strcmp(kind, plan.kind) == 0 && --plan.left == 0) {
    status = plan.status;
    if (plan.lost) lost = status;
    note("fail %s %d", kind, status);
  }
  pthread_mutex_unlock(&mutex);
  return status;
}

/* ---- memory ---- */

enum { kDevice, kHost };
static const char* const kKinds[] = {"device", "host"};

static struct Block {
  char* data;
  size_t bytes;
  int kind;
} blocks[1 << 16];
static size_t block_count;
static size_t live[2], peak[2];
static size_t limit, skip; /* of the device's memory; the largest copy that is carried out */

static void* take(size_t bytes, int kind) {
  pthread_mutex_lock(&mutex);
  char* data = NULL;
  if (kind == kDevice && (bytes > limit || live[kind] > limit - bytes)) {
    note("full %zu %zu", bytes, live[kind]);
  } else if (block_count < sizeof blocks / sizeof *blocks) {
    data = mmap(NULL, bytes == 0 ? 1 : bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) data = NULL;
  }
  if (data != NULL) {
    blocks[block_count++] = (struct Block){data, bytes, kind};
    live[kind] += bytes;
    if (live[kind] > peak[kind]) peak[kind] = live[kind];
    note("alloc %s %zu %zu %zu", kKinds[kind], bytes, live[kind], peak[kind]);
  }
  pthread_mutex_unlock(&mutex);
  return data;
}

void* hollow_allocate(size_t bytes) { return take(bytes, kDevice); }
void* hollow_allocate_host(size_t bytes) { return take(bytes, kHost); }

/* The block that holds the address, or NULL. */
static struct Block* block_of(const void* address) {
  for (size_t i = 0; i < block_count; ++i) {
    const char* start = blocks[i].data;
    if ((const char*)address >= start && (const char*)address < start + blocks[i].bytes) return &blocks[i];
  }
  return NULL;
}

void hollow_free(void* data) {
  if (data == NULL) return;
  pthread_mutex_lock(&mutex);
  for (size_t i = 0; i < block_count; ++i) {
    if (blocks[i].data != data) continue;
    const struct Block block = blocks[i];
    munmap(block.data, block.bytes == 0 ? 1 : block.bytes);
    live[block.kind] -= block.bytes;
    note("free %s %zu %zu", kKinds[block.kind], block.bytes, live[block.kind]);
    blocks[i] = blocks[--block_count];
    break;
  }
  pthread_mutex_unlock(&mutex);
}

int hollow_on_device(const void* data) {
  pthread_mutex_lock(&mutex);
  const struct Block* block = block_of(data);
  const int found = block != NULL && block->kind == kDevice;
  pthread_mutex_unlock(&mutex);
  return found;
}

void hollow_memory_info(size_t* available, size_t* total) {
  pthread_mutex_lock(&mutex);
  *total = limit;
  *available = live[kDevice] < limit ? limit - live[kDevice] : 0;
  pthread_mutex_unlock(&mutex);
}

void hollow_copy(void* to, const void* from, size_t bytes) {
  if (bytes <= skip) memmove(to, from, bytes);
}
void hollow_set(void* to, int value, size_t bytes) {
  if (bytes <= skip) memset(to, value, bytes);
}

void hollow_limit(size_t bytes) {
  pthread_mutex_lock(&mutex);
  limit = bytes;
  pthread_mutex_unlock(&mutex);
}
size_t hollow_live(int host) { return live[host != 0]; }
size_t hollow_peak(int host) { return peak[host != 0]; }

static size_t bytes_of(const char* variable, size_t otherwise) {
  const char* text = getenv(variable);
  return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

__attribute__((constructor)) static void start(void) {
  const char* path = getenv("HOLLOW_LOG");
  if (path != NULL) log_file = fopen(path, "a");
  if (log_file != NULL) setvbuf(log_file, NULL, _IOLBF, 0); /* whole, however the process ends */
  limit = bytes_of("HOLLOW_MEMORY", (size_t)80 << 30);
  skip = bytes_of("HOLLOW_SKIP", SIZE_MAX);
  hollow_fail(getenv("HOLLOW_FAIL"));
}

/* ---- what the driver's stand-in asks for (device.h) ---- */

API void device_note(const char* line) { hollow_note("%s", line); }
API int device_status(const char* name) {
  return hollow_status(strncmp(name, "cuLaunch", 8) == 0     ? "launch"
                       : strncmp(name, "cuMemcpy", 8) == 0   ? "copy"
                       : strstr(name, "Synchronize") != NULL ? "sync"
                       : (strncmp(name, "cuMemAlloc", 10) == 0 || strncmp(name, "cuMemHostAlloc", 14) == 0)
                           ? "alloc"
                           : "other");
}
API void* device_allocate(size_t bytes) { return hollow_allocate(bytes); }
API void device_free(void* data) { hollow_free(data); }
API void device_memory_info(size_t* available, size_t* total) { hollow_memory_info(available, total); }
API void* device_allocate_host(size_t bytes) { return hollow_allocate_host(bytes); }
API void device_free_host(void* data) { hollow_free(data); }
API void device_copy(void* to, const void* from, size_t bytes) { hollow_copy(to, from, bytes); }
