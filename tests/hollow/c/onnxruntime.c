/* An ONNX Runtime of any version: the library that HOLLOW_RUNTIME names, which says it is 99.0.0 and so is
 * not refused as too old. For measuring what older versions do (bench/gpu/versions.py). */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "hollow.h"

typedef struct { /* OrtApiBase */
  const void* (*get_api)(uint32_t version);
  const char* (*get_version)(void);
} ApiBase;

static const char* version(void) { return "99.0.0"; }

API const ApiBase* OrtGetApiBase(void) {
  static ApiBase base;
  void* library = dlopen(getenv("HOLLOW_RUNTIME"), RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) abort();
  const ApiBase* (*real)(void) = (const ApiBase* (*)(void))dlsym(library, "OrtGetApiBase");
  base = (ApiBase){real()->get_api, version};
  return &base;
}
