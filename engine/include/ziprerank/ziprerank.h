/* The C ABI of ziprerank. engine.hpp describes the same objects in C++; docs/bundle.md describes the bundle.
 *
 * Every call that can fail returns a zr_status. On failure, and when `error` is not NULL, *error receives an
 * object with the text; free it with zr_error_free. On success *error is set to NULL. Handles may be used
 * from any thread. */
#ifndef ZIPRERANK_ZIPRERANK_H_
#define ZIPRERANK_ZIPRERANK_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ZR_API __attribute__((visibility("default")))
#else
#define ZR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum zr_status {
  ZR_OK = 0,
  ZR_INVALID_ARGUMENT = 1, /* a call that cannot be carried out as given */
  ZR_BUNDLE_ERROR = 2,     /* a bundle that is missing, damaged, or newer than this engine reads */
  ZR_POOL_ERROR = 3,       /* the page pool has no room for the pages of one window */
  ZR_PROVIDER_ERROR = 4,   /* an execution provider or an ONNX Runtime that cannot be used */
  ZR_RUNTIME_FAILURE = 5,  /* ONNX Runtime failed while it ran a graph */
  ZR_INTERNAL = 6          /* anything else, out of memory for one */
} zr_status;

typedef struct zr_error zr_error;
typedef struct zr_engine zr_engine;
typedef struct zr_window zr_window;
typedef struct zr_scores zr_scores;

/* Start from ZR_OPTIONS_INIT: fields added by later versions then have their defaults. */
typedef struct zr_options {
  size_t struct_size;           /* sizeof(zr_options) of the caller */
  const char* bundle;           /* the bundle's directory */
  const char* runtime_library;  /* path of libonnxruntime, 1.23 or newer; one per process */
  const char* provider;         /* NULL: "cpu"; "cuda", "tensorrt", "tensorrt-rtx", with ":N" a device;
                                 * "auto" (cuda where it can run) */
  int32_t threads;              /* inside one graph run; 0: ONNX Runtime's choice */
  uint64_t pool_bytes;          /* page features kept; 0: 1 GiB; untouched memory costs nothing */
  const char* provider_library; /* tensorrt-rtx: path of libonnxruntime_providers_nv_tensorrt_rtx */
  const char* cache; /* tensorrt: folder for engines, NULL: the bundle's tensorrt/; tensorrt-rtx: for compiled
                      * kernels, NULL: none are kept */
  const char* blank; /* "drop": visual tokens of blank paper never reach the model; "keep": all do; NULL: as
                      * the bundle recommends */
} zr_options;
#define ZR_OPTIONS_INIT {sizeof(zr_options), NULL, NULL, NULL, 0, 0, NULL, NULL, NULL}

/* A page's size in pixels; both sides are multiples of 32 (zr_info.size_unit). */
typedef struct zr_page_size {
  int32_t height;
  int32_t width;
} zr_page_size;

typedef struct zr_info {
  size_t struct_size; /* in: sizeof(zr_info) of the caller; only that much is written */
  int32_t size_unit;  /* page sides are multiples of it, in pixels */
  int32_t max_pages;  /* of one window */
  int64_t image_pad_id;
  double keep_ratio; /* the bundle's recommended default */
  int32_t window;    /* the same */
  int32_t stride;    /* the same */
  int64_t pool_rows; /* visual tokens that the pool holds */
  /* What runs, as EngineInfo in engine.hpp has it; valid until the engine is freed. */
  const char* provider;     /* "cpu", "cuda", "cuda:1" */
  const char* device;       /* the GPU's name, "" on the CPU */
  const char* prune_kernel; /* "avx2", "sm_90 cubin" */
  size_t row_bytes;         /* page features of one visual token */
  int32_t drop_blank;       /* 1: visual tokens of blank paper are left out */
} zr_info;

/* The library's version, "0.1.0". */
ZR_API const char* zr_version(void);

/* The text of an error; valid until it is freed. */
ZR_API const char* zr_error_message(const zr_error* error);
ZR_API void zr_error_free(zr_error* error);

/* Loads ONNX Runtime and a bundle. */
ZR_API zr_status zr_engine_create(const zr_options* options, zr_engine** engine, zr_error** error);
/* Open windows stay valid. */
ZR_API void zr_engine_free(zr_engine* engine);
ZR_API zr_status zr_engine_info(const zr_engine* engine, zr_info* info, zr_error** error);

/* Opens a window for `count` pages of these sizes; waits while other windows fill the pool. */
ZR_API zr_status zr_window_open(zr_engine* engine, const zr_page_size* sizes, size_t count,
                                zr_window** window, zr_error** error);
/* Closes the window; call it when no other call uses the window any more. */
ZR_API void zr_window_free(zr_window* window);

/* Puts page `slot` into the pool. `pixels`: RGB uint8 [height, width, 3]. `hit` (may be NULL) receives 1 when
 * the page was there already, else 0. */
ZR_API zr_status zr_window_encode(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height,
                                  int32_t width, int32_t* hit, zr_error** error);

/* For page features that a program keeps elsewhere, on disk for one. zr_window_find fills a slot when the
 * pool has the page: *found receives 1, else 0 and the slot stays empty. zr_window_restore fills it as
 * zr_window_encode does, from `features` and not by running the model. zr_window_features copies a filled
 * slot's features to `features`. `bytes`: the slot's zr_window_tokens x zr_info.row_bytes. Features belong to
 * one bundle, provider, machine and `drop_blank`, and to the page's pixels; only their size is checked. */
ZR_API zr_status zr_window_find(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height,
                                int32_t width, int32_t* found, zr_error** error);
ZR_API zr_status zr_window_restore(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height,
                                   int32_t width, const void* features, size_t bytes, int32_t* hit,
                                   zr_error** error);
ZR_API zr_status zr_window_features(zr_window* window, size_t slot, void* features, size_t bytes,
                                    zr_error** error);

/* The visual tokens of a filled slot that the model reads. */
ZR_API zr_status zr_window_tokens(zr_window* window, size_t slot, int64_t* tokens, zr_error** error);

/* Scores all pages for one prompt. `ids` [count] holds one image_pad token for each page; `query_mask`
 * [count] marks the text tokens that pages are pruned by, NULL: every token before the first image but vision
 * markers. */
ZR_API zr_status zr_window_score(zr_window* window, const int64_t* ids, const uint8_t* query_mask,
                                 size_t count, double keep_ratio, zr_scores** scores, zr_error** error);
ZR_API void zr_scores_free(zr_scores* scores);

/* Views into `scores`, valid until it is freed. */
ZR_API size_t zr_scores_count(const zr_scores* scores);        /* pages */
ZR_API const float* zr_scores_values(const zr_scores* scores); /* [count] letter logits, in slot order */
/* The visual tokens kept of page `slot`: *count ascending indices into the page's own; NULL for a bad slot.
 */
ZR_API const int64_t* zr_scores_kept(const zr_scores* scores, size_t slot, size_t* count);

#ifdef __cplusplus
}
#endif

#endif /* ZIPRERANK_ZIPRERANK_H_ */
