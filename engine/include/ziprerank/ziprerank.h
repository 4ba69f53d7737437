/* The C ABI of ziprerank. engine.hpp describes the same objects in C++; docs/bundle.md describes the bundle.
 *
 * A function that can fail returns a zr_status. On failure, *error receives an object with the text, which
 * zr_error_free frees; on success it is set to NULL. `error` itself may be NULL. Handles may be used from any
 * thread. Arrays are contiguous, in row-major order.
 *
 * A handle that was freed is never given out again: every call on it, or on NULL, is ZR_INVALID_ARGUMENT, a
 * function without a status returns 0, NULL or "", and freeing it again does nothing. What a function has
 * returned a pointer into is gone with its handle.
 *
 * A process that was forked has no engine of its parent: calls on its handles are ZR_RUNTIME_FAILURE, and
 * freeing them gives nothing back. It may make an engine of its own, unless a thread of the parent used ONNX
 * Runtime at the time of the fork, which is ZR_PROVIDER_ERROR. */
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

/* What a call came to; the values are stable. */
typedef enum zr_status {
  ZR_OK = 0,
  ZR_INVALID_ARGUMENT = 1, /* a call that cannot be carried out as given */
  ZR_BUNDLE_ERROR = 2,     /* a bundle that is missing, damaged, or newer than this engine reads */
  ZR_POOL_ERROR = 3,       /* the page pool has no room for the pages of one window */
  ZR_PROVIDER_ERROR = 4,   /* an execution provider or an ONNX Runtime that cannot be used */
  ZR_RUNTIME_FAILURE = 5,  /* a graph failed, or gave a score that is not finite */
  ZR_INTERNAL = 6,         /* anything else, such as no host memory for a text */
  ZR_OUT_OF_MEMORY = 7,    /* the device has no memory for what was asked; smaller requests work */
  ZR_DEVICE_LOST = 8,      /* the device is lost: nothing works until the process starts again */
  ZR_CANCELLED = 9         /* zr_window_cancel ended the call */
} zr_status;

/* Opaque handles. */
typedef struct zr_error zr_error;
typedef struct zr_engine zr_engine;
typedef struct zr_window zr_window;
typedef struct zr_scores zr_scores;

/* Options of zr_engine_create. Start from ZR_OPTIONS_INIT: fields added by later versions then have their
 * defaults. A size that no version had is refused, also one of a later version: its fields would be ignored.
 * The files of the bundle are not compared with the digests of its manifest: only the Python package does so.
 */
typedef struct zr_options {
  size_t struct_size;          /* sizeof(zr_options) of the caller, of this version or an older one */
  const char* bundle;          /* path of the bundle's directory */
  const char* runtime_library; /* path of libonnxruntime, 1.23 or newer; one per process */
  const char* provider;        /* "cpu", "cuda", "tensorrt" or "tensorrt-rtx", the last three also with a GPU,
                                * "cuda:1"; "auto": cuda where it can run, else cpu; NULL: "cpu" */
  int32_t threads;     /* of one graph run on the CPU; 0: as many as the CPUs that this process may use,
                        * by its affinity mask and its control group's quota */
  uint64_t pool_bytes; /* size of the page pool; 0: 1 GiB */
  const char* provider_library; /* tensorrt-rtx: path of libonnxruntime_providers_nv_tensorrt_rtx */
  const char* cache;            /* tensorrt: folder for engines, NULL: the bundle's tensorrt/;
                                 * tensorrt-rtx: folder for compiled kernels, NULL: none are kept */
  const char* blank;            /* "drop": visual tokens of blank paper never reach the model; "keep": the
                                 * model reads them too; NULL: what the bundle recommends */
} zr_options;
#define ZR_OPTIONS_INIT {sizeof(zr_options), NULL, NULL, NULL, 0, 0, NULL, NULL, NULL}

/* A page's size in pixels; both sides are positive multiples of zr_info.size_unit (32). */
typedef struct zr_page_size {
  int32_t height;
  int32_t width;
} zr_page_size;

/* What the engine runs and what its bundle holds. Texts are valid until the engine is freed. */
typedef struct zr_info {
  size_t struct_size;       /* in: sizeof(zr_info) of the caller, of this version or an older one; only that
                             * much is written */
  int32_t size_unit;        /* page sides are multiples of this many pixels */
  int32_t max_pages;        /* of one window */
  int64_t image_pad_id;     /* the token that takes a page's place in a prompt */
  double keep_ratio;        /* recommended by the bundle, as the next two are */
  int32_t window;           /* pages of one pass */
  int32_t stride;           /* pages between the starts of two passes */
  int64_t pool_rows;        /* visual tokens that the page pool holds */
  const char* provider;     /* "cpu", "cuda", "cuda:1" */
  const char* device;       /* the GPU's name, "" on the CPU */
  const char* prune_kernel; /* "avx2", "sm_90 cubin" */
  size_t row_bytes;         /* bytes of the features of one visual token */
  int32_t drop_blank;       /* 1: visual tokens of blank paper are dropped */
} zr_info;

/* The library's version, such as "0.1.0"; a static text. */
ZR_API const char* zr_version(void);

/* The text of an error, valid until it is freed; "" for NULL. */
ZR_API const char* zr_error_message(const zr_error* error);
/* Frees an error; does nothing for NULL, like the other functions that free. */
ZR_API void zr_error_free(zr_error* error);

/* Loads ONNX Runtime and a bundle. ZR_PROVIDER_ERROR: ONNX Runtime or the provider cannot be used here.
 * ZR_BUNDLE_ERROR: the bundle is missing, damaged or not made for this provider. ZR_POOL_ERROR: the pool does
 * not fit into memory, or is too small. ZR_INVALID_ARGUMENT: any other option is wrong. */
ZR_API zr_status zr_engine_create(const zr_options* options, zr_engine** engine, zr_error** error);
/* Frees an engine, once its open windows are freed too; these stay valid. */
ZR_API void zr_engine_free(zr_engine* engine);
/* Fills in *info; set info->struct_size first. */
ZR_API zr_status zr_engine_info(const zr_engine* engine, zr_info* info, zr_error** error);

/* Opens a window for `count` pages, at most zr_info.max_pages, of `sizes` [count]. Waits, first come first
 * served, while other windows fill the pool. ZR_POOL_ERROR: the pages could never fit. */
ZR_API zr_status zr_window_open(zr_engine* engine, const zr_page_size* sizes, size_t count,
                                zr_window** window, zr_error** error);
/* Closes a window and frees it, once all calls under way have returned. */
ZR_API void zr_window_free(zr_window* window);

/* Fills slot `slot` with a page: puts its features into the pool, by a run of vision.onnx unless they are
 * there already. `pixels`: RGB uint8 [height, width, 3]. Each slot is filled once. `hit`, which may be NULL,
 * receives 1 when the pool had the page, else 0. */
ZR_API zr_status zr_window_encode(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height,
                                  int32_t width, int32_t* hit, zr_error** error);

/* The next four are for programs that keep page features elsewhere, for instance on disk. Features are
 * `bytes` bytes, zr_window_tokens x zr_info.row_bytes, and are valid for the same pixels, bundle, machine,
 * provider and `drop_blank` only; the engine checks their size and nothing else. */

/* Fills a slot if the pool has the page: *found receives 1; otherwise 0, and the slot stays empty. */
ZR_API zr_status zr_window_find(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height,
                                int32_t width, int32_t* found, zr_error** error);
/* Fills a slot as zr_window_encode does, but copies `features` where that would run vision.onnx. */
ZR_API zr_status zr_window_restore(zr_window* window, size_t slot, const uint8_t* pixels, int32_t height,
                                   int32_t width, const void* features, size_t bytes, int32_t* hit,
                                   zr_error** error);
/* Copies the features of a filled slot to `features`. */
ZR_API zr_status zr_window_features(zr_window* window, size_t slot, void* features, size_t bytes,
                                    zr_error** error);
/* *tokens receives the visual tokens of a filled slot that the model reads. */
ZR_API zr_status zr_window_tokens(zr_window* window, size_t slot, int64_t* tokens, zr_error** error);

/* Scores all pages for one prompt; every slot must be filled. `ids` [count]: token ids, with exactly one
 * image_pad token for each page in slot order, at most 2^20. `query_mask` [count]: not 0 for the text tokens
 * that pages are pruned by; NULL: every token before the first image_pad but the vision markers.
 * `keep_ratio`, in (0, 1]: the share of each page's visual tokens that pruning keeps. */
ZR_API zr_status zr_window_score(zr_window* window, const int64_t* ids, const uint8_t* query_mask,
                                 size_t count, double keep_ratio, zr_scores** scores, zr_error** error);
ZR_API void zr_scores_free(zr_scores* scores);

/* Relates all pages to a text by late interaction: `values` [pages of the window] receives, in slot order,
 * the sum over the text's tokens `ids` [count] of the largest cosine of the token's embedding with one of the
 * page's visual tokens. Every slot must be filled. ZR_BUNDLE_ERROR: the bundle has no relate.onnx for this
 * provider. */
ZR_API zr_status zr_window_relate(zr_window* window, const int64_t* ids, size_t count, float* values,
                                  zr_error** error);

/* Ends the encoding and scoring under way in a window, from another thread, and does not wait for it: each
 * call is ZR_CANCELLED once the operator that it is in has ended, and so is every later one. The engine and
 * its other windows go on; free the window. */
ZR_API zr_status zr_window_cancel(zr_window* window, zr_error** error);

/* The next three read a result; what they point to is valid until it is freed. */

/* The number of pages; 0, which no result has, for a handle that is NULL or freed. */
ZR_API size_t zr_scores_count(const zr_scores* scores);
/* [zr_scores_count] letter logits, in slot order; NULL for a handle that is NULL or freed. */
ZR_API const float* zr_scores_values(const zr_scores* scores);
/* The visual tokens that pruning kept of page `slot`: *count ascending indices into the page's own. NULL for
 * a slot that does not exist, or a handle that is NULL or freed; *count, which may be NULL, is then 0. */
ZR_API const int64_t* zr_scores_kept(const zr_scores* scores, size_t slot, size_t* count);

#ifdef __cplusplus
}
#endif

#endif /* ZIPRERANK_ZIPRERANK_H_ */
