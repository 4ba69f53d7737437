/* An NVTX tool for tests, as Nsight Systems is one: NVTX loads it from NVTX_INJECTION64_PATH and calls it for
 * every range. It writes "push DOMAIN MESSAGE PAYLOAD" and "pop DOMAIN" into the file that NVTX_LOG names.
 * The types are those of NVTX 3's nvtxTypes.h and nvToolsExt.h. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  uint16_t version, size;
  uint32_t category;
  int32_t color_type;
  uint32_t color;
  int32_t payload_type;
  int32_t reserved;
  int64_t payload;
  int32_t message_type;
  const char* message;
} Attributes;

typedef void (*Function)(void);
typedef struct {
  size_t size;
  int (*table_of_module)(int module, Function*** table, unsigned* size);
} Callbacks;

enum { kCallbacks = 1, kCore2 = 5, kPush = 4, kPop = 5, kRegisterString = 10, kCreateDomain = 12 };
enum { kRegistered = 3, kInt64 = 2 };

static void report(const char* text) {
  FILE* file = fopen(getenv("NVTX_LOG"), "a");
  fputs(text, file);
  fclose(file);
}

static void* create_domain(const char* name) { return strdup(name); }
static void* register_string(void* domain, const char* text) {
  (void)domain;
  return strdup(text);
}
static int push(void* domain, const Attributes* range) {
  char line[256], payload[32] = "-";
  if (range->payload_type == kInt64) snprintf(payload, sizeof payload, "%lld", (long long)range->payload);
  const char* message = range->message_type == kRegistered ? range->message : "?";
  snprintf(line, sizeof line, "push %s %s %s\n", (const char*)domain, message, payload);
  report(line);
  return 0;
}
static int pop(void* domain) {
  char line[256];
  snprintf(line, sizeof line, "pop %s\n", (const char*)domain);
  report(line);
  return 0;
}

int InitializeInjectionNvtx2(const void* (*export_table)(uint32_t)) {
  const Callbacks* callbacks = export_table(kCallbacks);
  Function** table;
  unsigned size;
  if (callbacks == NULL || !callbacks->table_of_module(kCore2, &table, &size)) return 0;
  *table[kCreateDomain] = (Function)create_domain;
  *table[kRegisterString] = (Function)register_string;
  *table[kPush] = (Function)push;
  *table[kPop] = (Function)pop;
  return 1;
}
