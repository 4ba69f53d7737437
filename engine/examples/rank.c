/* Ranks page images for one prompt, through the C ABI.
 *
 *   rank_c BUNDLE LIBONNXRUNTIME TOKENS PAGE.ppm...
 *
 * TOKENS is a text file of token ids with one image_pad token for each page; a page is a binary PPM (P6)
 * whose sides are multiples of 32. Prints "index score" lines, best first. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <ziprerank/ziprerank.h>

enum { kMostPages = 20, kMostTokens = 1 << 16 };

static void Fail(const char* what, const char* why) {
  fprintf(stderr, "rank_c: %s: %s\n", what, why);
  exit(1);
}

/* `error` by its address: C may read an argument before it makes the call that fills it in. */
static void Check(zr_status status, zr_error** error, const char* what) {
  if (status != ZR_OK) Fail(what, zr_error_message(*error));
}

static uint8_t* ReadPpm(const char* path, zr_page_size* size) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) Fail(path, "cannot be opened");
  int most = 0;
  if (fscanf(file, "P6 %" SCNd32 " %" SCNd32 " %d", &size->width, &size->height, &most) != 3 ||
      fgetc(file) == EOF || most != 255 || size->width <= 0 || size->height <= 0 || size->width >= 32768 ||
      size->height >= 32768) {
    Fail(path, "is not a binary PPM (P6) of 8 bits");
  }
  const size_t bytes = (size_t)3 * (size_t)size->width * (size_t)size->height;
  uint8_t* pixels = malloc(bytes);
  if (pixels == NULL || fread(pixels, 1, bytes, file) != bytes) Fail(path, "is cut short");
  fclose(file);
  return pixels;
}

static size_t ReadTokens(const char* path, int64_t* ids) {
  FILE* file = fopen(path, "r");
  if (file == NULL) Fail(path, "cannot be opened");
  size_t count = 0;
  while (count < kMostTokens && fscanf(file, "%" SCNd64, &ids[count]) == 1) ++count;
  fclose(file);
  return count;
}

int main(int argc, char** argv) {
  static int64_t ids[kMostTokens];
  uint8_t* pixels[kMostPages];
  zr_page_size sizes[kMostPages];
  if (argc < 5 || argc > 4 + kMostPages) {
    fprintf(stderr, "usage: %s BUNDLE LIBONNXRUNTIME TOKENS PAGE.ppm... (at most %d pages)\n", argv[0],
            kMostPages);
    return 2;
  }
  const size_t count = (size_t)argc - 4;
  const size_t tokens = ReadTokens(argv[3], ids);
  for (size_t i = 0; i < count; ++i) pixels[i] = ReadPpm(argv[4 + i], &sizes[i]);

  zr_error* error = NULL;
  zr_engine* engine = NULL;
  zr_window* window = NULL;
  zr_scores* scores = NULL;
  zr_options options = ZR_OPTIONS_INIT;
  options.bundle = argv[1];
  options.runtime_library = argv[2];
  Check(zr_engine_create(&options, &engine, &error), &error, "engine");
  zr_info info = {.struct_size = sizeof info};
  Check(zr_engine_info(engine, &info, &error), &error, "info");
  Check(zr_window_open(engine, sizes, count, &window, &error), &error, "window");
  for (size_t i = 0; i < count; ++i) {
    Check(zr_window_encode(window, i, pixels[i], sizes[i].height, sizes[i].width, NULL, &error), &error,
          argv[4 + i]);
    free(pixels[i]);
  }
  Check(zr_window_score(window, ids, NULL, tokens, info.keep_ratio, &scores, &error), &error, "score");

  const float* values = zr_scores_values(scores);
  int printed[kMostPages] = {0};
  for (size_t rank = 0; rank < count; ++rank) { /* at most 20: pick the best that is left */
    size_t best = count;
    for (size_t i = 0; i < count; ++i) {
      if (!printed[i] && (best == count || values[i] > values[best])) best = i;
    }
    printed[best] = 1;
    printf("%zu %.6f\n", best, (double)values[best]);
  }
  zr_scores_free(scores);
  zr_window_free(window);
  zr_engine_free(engine);
  return 0;
}
