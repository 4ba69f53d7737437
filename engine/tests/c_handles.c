/* What the C ABI makes of handles that were freed, and of arguments that it must not trust.
 *
 *   c_handles BUNDLE LIBONNXRUNTIME
 *
 * Prints what was wrong and ends with 1, or prints nothing. tests/engine/test_build.py runs it, under
 * sanitizers too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <ziprerank/ziprerank.h>

enum { kSide = 64, kPages = 2 };

static int failures = 0;

static void Check(int right, int line, const char* what) {
  if (right) return;
  fprintf(stderr, "%s:%d: %s\n", __FILE__, line, what);
  ++failures;
}
#define CHECK(condition) Check((condition), __LINE__, #condition)

/* The call came to `status`, and its text has `part`; frees the error twice. */
static void Came(zr_status status, zr_status wanted, zr_error** error, const char* part, int line) {
  if (status != wanted || strstr(zr_error_message(*error), part) == NULL) {
    fprintf(stderr, "%s:%d: status %d, \"%s\"\n", __FILE__, line, (int)status, zr_error_message(*error));
    ++failures;
  }
  zr_error_free(*error);
  zr_error_free(*error);
  Check(strcmp(zr_error_message(*error), "") == 0, line, "an error that was freed has a text");
}
#define CAME(call, wanted, part) Came((call), (wanted), &error, (part), __LINE__)
#define REFUSED(call, part) CAME(call, ZR_INVALID_ARGUMENT, part)

static zr_engine* Load(const zr_options* options) {
  zr_error* error = NULL;
  zr_engine* engine = NULL;
  if (zr_engine_create(options, &engine, &error) != ZR_OK) {
    fprintf(stderr, "engine: %s\n", zr_error_message(error));
    exit(1);
  }
  return engine;
}

static void StructSizes(zr_options options, zr_engine* engine) {
  const size_t wrong[] = {0,
                          1,
                          offsetof(zr_options, provider),
                          offsetof(zr_options, cache),
                          sizeof options - 1,
                          sizeof options + 1,
                          sizeof options + 8,
                          SIZE_MAX};
  const size_t wrong_info[] = {
      0, 1, offsetof(zr_info, device), sizeof(zr_info) - 1, sizeof(zr_info) + 8, SIZE_MAX};
  zr_error* error = NULL;
  zr_engine* other = NULL;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i) {
    options.struct_size = wrong[i];
    REFUSED(zr_engine_create(&options, &other, &error), "options.struct_size is ");
    CHECK(other == NULL);
  }
  for (size_t i = 0; i < sizeof wrong_info / sizeof *wrong_info; ++i) {
    zr_info info = {.struct_size = wrong_info[i], .window = -7};
    REFUSED(zr_engine_info(engine, &info, &error), "info.struct_size is ");
    CHECK(info.window == -7);
  }
  options.struct_size = offsetof(zr_options, provider_library); /* the first version's */
  other = Load(&options);
  zr_engine_free(other);
}

static void Counts(zr_engine* engine) {
  zr_error* error = NULL;
  zr_window* window = (zr_window*)&error;
  zr_page_size* one = malloc(sizeof *one); /* alone, so that a sanitizer sees what is read behind it */
  one->height = one->width = kSide;
  REFUSED(zr_window_open(engine, one, 21, &window, &error), "21 pages, at most 20");
  CHECK(window == NULL);
  REFUSED(zr_window_open(engine, one, SIZE_MAX, &window, &error), "pages, at most 20");
  REFUSED(zr_window_open(engine, NULL, SIZE_MAX, &window, &error), "pages, at most 20");
  REFUSED(zr_window_open(engine, NULL, 1, &window, &error), "sizes is NULL");
  REFUSED(zr_window_open(engine, one, 0, &window, &error), "a window without pages");
  free(one);
}

static zr_window* Open(zr_engine* engine, const uint8_t* pixels) {
  const zr_page_size sizes[kPages] = {{kSide, kSide}, {kSide, kSide}};
  zr_window* window = NULL;
  CHECK(zr_window_open(engine, sizes, kPages, &window, NULL) == ZR_OK);
  for (size_t slot = 0; slot < kPages; ++slot) {
    CHECK(zr_window_encode(window, slot, pixels, kSide, kSide, NULL, NULL) == ZR_OK);
  }
  return window;
}

static void NullScores(void) {
  size_t count = 7;
  CHECK(zr_scores_count(NULL) == 0);
  CHECK(zr_scores_values(NULL) == NULL);
  CHECK(zr_scores_kept(NULL, 0, &count) == NULL && count == 0);
  CHECK(zr_scores_kept(NULL, 0, NULL) == NULL);
  zr_scores_free(NULL);
}

static void FreedScores(zr_window* window, int64_t image_pad) {
  const int64_t ids[] = {1, image_pad, image_pad, 1};
  zr_error* error = NULL;
  zr_scores* scores = NULL;
  REFUSED(zr_window_score(window, ids, NULL, 4, 0.5, NULL, &error), "scores is NULL");
  REFUSED(zr_window_score(window, ids, NULL, SIZE_MAX, 0.5, &scores, &error), "ids, at most 1048576");
  CHECK(zr_window_score(window, ids, NULL, 4, 0.5, &scores, &error) == ZR_OK);
  size_t count = 7;
  CHECK(zr_scores_count(scores) == kPages && zr_scores_values(scores) != NULL);
  CHECK(zr_scores_kept(scores, 0, NULL) != NULL && zr_scores_kept(scores, 2, &count) == NULL && count == 0);
  zr_scores_free(scores);
  zr_scores_free(scores);
  count = 7;
  CHECK(zr_scores_count(scores) == 0 && zr_scores_values(scores) == NULL);
  CHECK(zr_scores_kept(scores, 0, &count) == NULL && count == 0);
}

static void FreedWindow(zr_engine* engine, zr_window* window, const uint8_t* pixels) {
  const int64_t ids[] = {1};
  zr_error* error = NULL;
  zr_scores* scores = NULL;
  int64_t tokens = 0;
  int32_t found = 0;
  uint8_t features[8];
  zr_window_free(window);
  zr_window_free(window);
  zr_window* const other = Open(engine, pixels); /* in the memory of the first one */
  CHECK(other != window);
  zr_window* const gone[] = {window, NULL, (zr_window*)engine};
  for (size_t i = 0; i < 3; ++i) {
    REFUSED(zr_window_encode(gone[i], 0, pixels, kSide, kSide, NULL, &error), "window is ");
    REFUSED(zr_window_find(gone[i], 0, pixels, kSide, kSide, &found, &error), "window is ");
    REFUSED(zr_window_restore(gone[i], 0, pixels, kSide, kSide, features, 8, NULL, &error), "window is ");
    REFUSED(zr_window_features(gone[i], 0, features, 8, &error), "window is ");
    REFUSED(zr_window_tokens(gone[i], 0, &tokens, &error), "window is ");
    REFUSED(zr_window_score(gone[i], ids, NULL, 1, 0.5, &scores, &error), "window is ");
    CHECK(scores == NULL);
    zr_window_free(gone[i]);
  }
  CHECK(zr_window_tokens(other, 0, &tokens, &error) == ZR_OK && tokens > 0);
  zr_window_free(other);
}

/* In a child, which has none of the engine's threads. */
static int InChild(zr_engine* engine, zr_window* window, const zr_options* options) {
  const zr_page_size size = {kSide, kSide};
  zr_error* error = NULL;
  zr_window* other = NULL;
  int64_t tokens = 0;
  failures = 0;
  CAME(zr_window_open(engine, &size, 1, &other, &error), ZR_RUNTIME_FAILURE, "was forked");
  CAME(zr_window_tokens(window, 0, &tokens, &error), ZR_RUNTIME_FAILURE, "was forked");
  zr_window_free(window);
  zr_engine_free(engine);
  zr_engine* const own = Load(options);
  CHECK(zr_window_open(own, &size, 1, &other, &error) == ZR_OK);
  zr_window_free(other);
  zr_engine_free(own);
  return failures == 0 ? 0 : 1;
}

static void Forked(zr_engine* engine, zr_window* window, const zr_options* options) {
  const pid_t child = fork();
  if (child == 0) exit(InChild(engine, window, options));
  int status = 0;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  static uint8_t pixels[3 * kSide * kSide];
  for (size_t i = 0; i < sizeof pixels; ++i) pixels[i] = (uint8_t)(i * i / 7);
  zr_options options = ZR_OPTIONS_INIT;
  options.bundle = argv[1];
  options.runtime_library = argv[2];
  options.pool_bytes = 1 << 20;
  zr_engine* engine = Load(&options);
  zr_info info = {.struct_size = sizeof info};
  CHECK(zr_engine_info(engine, &info, NULL) == ZR_OK);

  StructSizes(options, engine);
  Counts(engine);
  NullScores();
  zr_window* window = Open(engine, pixels);
  FreedScores(window, info.image_pad_id);
  FreedWindow(engine, window, pixels);

  window = Open(engine, pixels);
  Forked(engine, window, &options);
  zr_engine_free(engine);
  zr_engine_free(engine);
  zr_error* error = NULL;
  zr_window* other = NULL;
  const zr_page_size size = {kSide, kSide};
  REFUSED(zr_engine_info(engine, &info, &error), "engine is no open handle");
  REFUSED(zr_window_open(engine, &size, 1, &other, &error), "engine is no open handle");
  FreedScores(window, info.image_pad_id); /* windows outlive their engine */
  zr_window_free(window);
  return failures == 0 ? 0 : 1;
}
