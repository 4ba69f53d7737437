/* A device for cuda_driver.c alone. Notes go to the file that FAKE_CUDA_LOG names; FAKE_CUDA_FAIL
 * ("cuLaunchKernel:719") makes one function fail. */
#include "device.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void device_note(const char* line) {
  const char* path = getenv("FAKE_CUDA_LOG");
  if (path == NULL) return;
  char text[1100];
  const int length = snprintf(text, sizeof text, "%s\n", line);
  FILE* file = fopen(path, "a"); /* one write a line: calls come from several threads */
  fwrite(text, 1, (size_t)length, file);
  fclose(file);
}

int device_status(const char* name) {
  const char* fail = getenv("FAKE_CUDA_FAIL");
  const size_t length = strlen(name);
  if (fail == NULL || strncmp(fail, name, length) != 0 || fail[length] != ':') return 0;
  return atoi(fail + length + 1);
}

/* Freshly allocated memory holds NaNs, so that what is read before it is written shows. */
void* device_allocate(size_t bytes) {
  void* data = aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (data != NULL) memset(data, 0xff, bytes);
  return data;
}
void device_free(void* data) { free(data); }
void device_memory_info(size_t* available, size_t* total) {
  *available = 1000;
  *total = 2000;
}
void* device_allocate_host(size_t bytes) { return device_allocate(bytes); }
void device_free_host(void* data) { free(data); }
void device_copy(void* to, const void* from, size_t bytes) { memcpy(to, from, bytes); }
