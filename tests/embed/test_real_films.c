/* The library with the real worker and a bundle that films.
 *
 * Arguments: the interpreter, the bundle, a board as PNG, its height and width, and a file with the frames that a film of it
 * has: 9 of them, seed 7, [frames, height, width, 3]. */
#if !defined(_WIN32)
#include <signal.h>
#include <sys/types.h>
#endif

#include "check.h"

#include "threads.h"

enum { FRAMES = 9 };

static const char *bundle, *board;
static uint8_t *expected;
static uint32_t height, width;

typedef struct seen {
    uint8_t *pixels;
    uint32_t frames;
    int steps, cancel_after;
    uint64_t killed;
} seen;

static int on_step(const a2d_step *step, void *user) {
    seen *all = user;
    CHECK(step->index < step->steps && step->frames == all->frames);
    return ++all->steps == all->cancel_after;
}

static int on_frames(const a2d_frames *frames, void *user) {
    seen *all = user;
    CHECK(frames->first == all->frames && frames->height == height && frames->width == width);
    CHECK(frames->first + frames->count <= FRAMES);
    memcpy(all->pixels + (size_t)3 * height * width * frames->first, frames->pixels, frames->length);
    all->frames += frames->count;
#if !defined(_WIN32)
    if (all->killed)
        kill((pid_t)all->killed, SIGKILL);
#endif
    return 0;
}

static a2d_model *open_real(void) {
    a2d_open_options options = quick_options();
    a2d_error error = A2D_ERROR_INIT;
    a2d_model *model = NULL;
    options.open_timeout_ms = 120000;
    options.threads = 1;
    check_status(__FILE__, __LINE__, a2d_open(bundle, &options, &model, &error), A2D_OK, error.message);
    return model;
}

static a2d_film_request request_for(seen *all, const a2d_image *image) {
    a2d_film_request request = A2D_FILM_REQUEST_INIT;
    *all = (seen){.pixels = calloc(FRAMES, (size_t)3 * height * width)};
    CHECK(all->pixels != NULL);
    request.prompt = "A red ball rolls.";
    request.image = image;
    request.frames = FRAMES;
    request.height = height;
    request.width = width;
    request.seed = 7;
    request.on_frames = on_frames;
    request.on_step = on_step;
    request.user = all;
    return request;
}

static a2d_status filmed(a2d_model *model, const a2d_film_request *request, a2d_result *result, a2d_error *error) {
    a2d_generation *generation = NULL;
    a2d_status status = a2d_film(model, request, &generation, error);
    if (status == A2D_OK)
        status = a2d_wait(generation, 120000, result, error);
    a2d_release(generation);
    return status;
}

/* The frames that Python has, byte by byte. */
static void test_a_film(a2d_model *model) {
    seen all;
    const a2d_image image = {.path = board};
    a2d_film_request request = request_for(&all, &image);
    a2d_result result = A2D_RESULT_INIT;
    a2d_error error = A2D_ERROR_INIT;
    a2d_info info = A2D_INFO_INIT;
    CHECK_STATUS(a2d_describe(model, &info), A2D_OK);
    CHECK(info.films == 1 && info.film_frames > 0 && info.film_fps > 0 && info.block_size == 0);
    check_status(__FILE__, __LINE__, filmed(model, &request, &result, &error), A2D_OK, error.message);
    CHECK(result.modality == A2D_MODALITY_PIXELS && result.stop == A2D_STOP_LENGTH && result.frames == FRAMES);
    CHECK(result.height == height && result.width == width && result.steps == (uint32_t)all.steps && result.seconds > 0);
    CHECK(memcmp(all.pixels, expected, (size_t)3 * FRAMES * height * width) == 0);
    free(all.pixels);
}

static void test_cancel(a2d_model *model) {
    seen all;
    a2d_film_request request = request_for(&all, NULL);
    a2d_result result = A2D_RESULT_INIT;
    a2d_error error = A2D_ERROR_INIT;
    all.cancel_after = 1;
    check_status(__FILE__, __LINE__, filmed(model, &request, &result, &error), A2D_OK, error.message);
    CHECK(result.frames == all.frames && (result.stop == A2D_STOP_CANCELLED || result.frames == FRAMES));
    free(all.pixels);
}

static void expect(a2d_model *model, const a2d_film_request *request, a2d_status status, const char *words) {
    a2d_error error = A2D_ERROR_INIT;
    CHECK_ERROR(filmed(model, request, NULL, &error), status, error, words);
}

static void test_errors(a2d_model *model) {
    seen all;
    const a2d_image image = {.path = "/no/such/board.png"};
    a2d_film_request request = request_for(&all, &image);
    expect(model, &request, A2D_ERROR_IMAGE, "/no/such/board.png");
    request.image = NULL;
    request.frames = 10;
    expect(model, &request, A2D_ERROR_REQUEST, "frames: got 10, expected 1 + 4 k");
    request.frames = FRAMES;
    request.options = "{\"recompute\": \"all\"}";
    expect(model, &request, A2D_ERROR_REQUEST, "recompute: got 'all'");
    CHECK(all.frames == 0);
    a2d_error error = A2D_ERROR_INIT;
    a2d_generation *words = start(model, NULL);
    CHECK_ERROR(a2d_wait(words, 60000, NULL, &error), A2D_ERROR_BUNDLE, error, "writes no words");
    a2d_release(words);
    free(all.pixels);
}

#if !defined(_WIN32)
/* Killed while its host looks at the first frames: they stay good, and the next open films. */
static void test_a_killed_worker(void) {
    seen all;
    const a2d_image image = {.path = board};
    a2d_model *model = open_real();
    a2d_info info = A2D_INFO_INIT;
    a2d_film_request request = request_for(&all, &image);
    CHECK_STATUS(a2d_describe(model, &info), A2D_OK);
    all.killed = info.process;
    expect(model, &request, A2D_ERROR_DIED, "signal 9");
    CHECK(all.frames > 0 && memcmp(all.pixels, expected, (size_t)3 * all.frames * height * width) == 0);
    free(all.pixels);
    a2d_close(model);
}
#endif

int main(int argc, char **argv) {
    CHECK(argc > 6);
    worker = argv[1];
    bundle = argv[2];
    board = argv[3];
    height = (uint32_t)atoi(argv[4]);
    width = (uint32_t)atoi(argv[5]);
    size_t size = (size_t)3 * FRAMES * height * width;
    FILE *file = fopen(argv[6], "rb");
    expected = malloc(size);
    CHECK(file != NULL && expected != NULL && fread(expected, 1, size, file) == size);
    fclose(file);
    a2d_model *model = open_real();
    test_a_film(model);
    test_cancel(model);
    test_errors(model);
    test_a_film(model);
    a2d_close(model);
#if !defined(_WIN32)
    test_a_killed_worker();
#endif
    free(expected);
    return 0;
}
