/* The device behind the stand-in for the driver: its memory, where calls are noted, which of them fail. */
#pragma once

#include <stddef.h>

/* One line, the function and its arguments, for whoever reads what was called. */
void device_note(const char* line);
/* What the call returns: 0, or a CUresult. */
int device_status(const char* name);

/* NULL where there is no room. */
void* device_allocate(size_t bytes);
void device_free(void* data);
void device_memory_info(size_t* available, size_t* total);

/* Pinned memory of the host. */
void* device_allocate_host(size_t bytes);
void device_free_host(void* data);

/* Between any two of these. */
void device_copy(void* to, const void* from, size_t bytes);
