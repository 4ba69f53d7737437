/* The device behind all the stub libraries: one log, one memory, one plan of failures (device.c).
 *
 * Lines of the log, which hollow/record.py reads; NAME runs to the end of its line:
 *   mark NAME                                   what the program under test says that it begins
 *   kernel ID NAME                              before the first launch of a kernel: its mangled name
 *   launch ID GRID_X GRID_Y GRID_Z THREADS SHARED_BYTES
 *   gemm M N K BATCH TYPE FUNCTION              a product of cuBLAS or cuBLASLt; TYPE is cudaDataType of A
 *   copy DIRECTION BYTES async|sync             DIRECTION: HtoH, HtoD, DtoH or DtoD
 *   memset BYTES
 *   sync stream|device|event
 *   alloc device|host BYTES LIVE PEAK           LIVE and PEAK: bytes of that kind
 *   free device|host BYTES LIVE
 *   full BYTES LIVE                             an allocation that the device has no room for
 *   fail KIND STATUS                            a call that failed by HOLLOW_FAIL
 *   call NAME                                   any other function of the libraries
 *   cu... ARGUMENTS                             a call of the driver (engine/tests/fakes/cuda_driver.c)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define API __attribute__((visibility("default")))

/* Statuses of the runtime; the driver has the same numbers. */
enum { kOutOfMemory = 2 };

void hollow_note(const char* format, ...) __attribute__((format(printf, 1, 2)));
/* 0, or the status with which this call fails. `kind` is alloc, copy, gemm, launch, sync or other. */
int hollow_status(const char* kind);
/* A number that no other handle has. */
void* hollow_handle(void);
void hollow_launch(const void* kernel, const char* name, const unsigned grid[3], unsigned threads,
                   size_t shared);
void hollow_gemm(uint64_t m, uint64_t n, uint64_t k, uint64_t batch, int type, const char* function);

/* NULL where there is no room; pages of memory come into being when they are written. */
void* hollow_allocate(size_t bytes);
void* hollow_allocate_host(size_t bytes);
void hollow_free(void* data);
int hollow_on_device(const void* data);
void hollow_memory_info(size_t* available, size_t* total);
/* HOLLOW_SKIP says above how many bytes these do nothing. */
void hollow_copy(void* to, const void* from, size_t bytes);
void hollow_set(void* to, int value, size_t bytes);

/* For the program under test (hollow/control.py). */
API void hollow_mark(const char* name);
API void hollow_fail(const char* plan);
API void hollow_limit(size_t bytes);
API size_t hollow_live(int host);
API size_t hollow_peak(int host);
