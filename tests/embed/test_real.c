/* The library with the real worker and a bundle that reads images.
 *
 * Arguments: the interpreter, the bundle, a frame as PNG, the same as PPM, what it should be read as, and how many times a
 * worker is killed at random. */
#if !defined(_WIN32)
#include <signal.h>
#include <sys/types.h>
#endif

#include "check.h"

#include "threads.h"

static const char *bundle, *frame, *expected;
static uint8_t *pixels;
static uint32_t width, height;

static void load_ppm(const char *path) {
    unsigned most;
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL && fscanf(file, "P6 %u %u %u", &width, &height, &most) == 3 && most == 255);
    CHECK(fgetc(file) != EOF);
    size_t size = (size_t)width * height * 3;
    pixels = malloc(size);
    CHECK(pixels != NULL && fread(pixels, 1, size, file) == size);
    fclose(file);
}

static a2d_model *open_real(uint32_t silence_ms) {
    a2d_open_options options = quick_options();
    a2d_error error = A2D_ERROR_INIT;
    a2d_model *model = NULL;
    options.open_timeout_ms = 120000;
    options.silence_timeout_ms = silence_ms;
    options.threads = 1;
    check_status(__FILE__, __LINE__, a2d_open(bundle, &options, &model, &error), A2D_OK, error.message);
    return model;
}

static a2d_request request_for(const a2d_image *image) {
    a2d_request request = A2D_REQUEST_INIT;
    request.images = image;
    request.image_count = 1;
    request.max_tokens = 64;
    request.steps = 4;
    return request;
}

static void check_reading(a2d_model *model, const a2d_image *image) {
    a2d_request request = request_for(image);
    a2d_error error = A2D_ERROR_INIT;
    a2d_result result = A2D_RESULT_INIT;
    a2d_generation *generation = start(model, &request);
    a2d_status status = a2d_wait(generation, 60000, &result, &error);
    check_status(__FILE__, __LINE__, status, A2D_OK, error.message);
    if (strcmp(result.text, expected) != 0)
        fprintf(stderr, "got %s, expected %s\n", result.text, expected);
    CHECK(strcmp(result.text, expected) == 0);
    CHECK(result.stop == A2D_STOP_TOKEN && result.token_count > 0 && result.steps == 4 * result.blocks);
    CHECK(result.confidence > 0.3f && result.seconds > 0);
    a2d_release(generation);
}

/* The frame as a file, and as pixels in every layout that has its colours: the same reading. */
static void test_reading(a2d_model *model) {
    a2d_image image = {.path = frame};
    check_reading(model, &image);
    image = (a2d_image){.pixels = pixels, .width = width, .height = height};
    check_reading(model, &image);
    size_t row = (size_t)width * 4 + 32;
    uint8_t *other = malloc(row * height);
    CHECK(other != NULL);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            const uint8_t *from = pixels + 3 * ((size_t)y * width + x);
            uint8_t *to = other + row * (height - 1 - y) + (size_t)x * 4;
            to[0] = from[2];
            to[1] = from[1];
            to[2] = from[0];
            to[3] = 255;
        }
    }
    image = (a2d_image){.pixels = other + row * (height - 1), .width = width, .height = height,
                        .stride = -(ptrdiff_t)row, .format = A2D_BGRA8};
    check_reading(model, &image);
    free(other);
}

typedef struct seen {
    char text[512];
    int steps, cancel_after;
} seen;

static int on_step(const a2d_step *step, void *user) {
    seen *all = user;
    snprintf(all->text, sizeof all->text, "%s", step->text);
    CHECK(step->confidence >= 0 && step->confidence <= 1);
    return ++all->steps == all->cancel_after;
}

static void test_steps_and_cancel(a2d_model *model) {
    const a2d_image image = {.path = frame};
    a2d_request request = request_for(&image);
    a2d_result result = A2D_RESULT_INIT;
    seen all = {.cancel_after = 0};
    request.on_step = on_step;
    request.user = &all;
    a2d_generation *generation = start(model, &request);
    CHECK_STATUS(a2d_wait(generation, 60000, &result, NULL), A2D_OK);
    CHECK(strcmp(all.text, expected) == 0 && all.steps == (int)result.steps);
    a2d_release(generation);
    all = (seen){.cancel_after = 1};
    generation = start(model, &request);
    CHECK_STATUS(a2d_wait(generation, 60000, &result, NULL), A2D_OK);
    CHECK(result.stop == A2D_STOP_CANCELLED || result.steps > 1); /* a fast model may be done before it hears of it */
    a2d_release(generation);
}

static void expect(a2d_model *model, const a2d_request *request, a2d_status status, const char *words) {
    a2d_error error = A2D_ERROR_INIT;
    a2d_generation *generation = start(model, request);
    CHECK_ERROR(a2d_wait(generation, 60000, NULL, &error), status, error, words);
    a2d_release(generation);
}

static void test_errors(a2d_model *model) {
    a2d_image image = {.path = "/no/such/frame.png"};
    a2d_request request = request_for(&image);
    expect(model, &request, A2D_ERROR_IMAGE, "/no/such/frame.png");
    image.path = frame;
    request.options = "{\"temprature\": 1}";
    expect(model, &request, A2D_ERROR_REQUEST, "unknown option temprature");
    request.options = "{\"steps\": 2}";
    expect(model, &request, A2D_ERROR_REQUEST, "steps twice");
    request.options = "steps=2";
    expect(model, &request, A2D_ERROR_REQUEST, "options cannot be read");
    request.options = NULL;
    request.steps = 1000;
    expect(model, &request, A2D_ERROR_REQUEST, "steps: got 1000");
    request = (a2d_request)A2D_REQUEST_INIT;
    expect(model, &request, A2D_ERROR_REQUEST, "no image and no prompt");
    request.prompt = "\xff\xfe";
    expect(model, &request, A2D_ERROR_REQUEST, "not UTF-8");
    a2d_error error = A2D_ERROR_INIT;
    a2d_open_options options = quick_options();
    a2d_model *other = NULL;
    options.open_timeout_ms = 120000;
    CHECK_ERROR(a2d_open("/no/such.a2d", &options, &other, &error), A2D_ERROR_BUNDLE, error, "/no/such.a2d");
    options.precision = "fp7";
    CHECK_ERROR(a2d_open(bundle, &options, &other, &error), A2D_ERROR_BUNDLE, error, "fp7");
}

/* An answer that ends because it repeats itself says so, and how sure the model was of each of its tokens. */
static void test_repeats(a2d_model *model) {
    a2d_request request = A2D_REQUEST_INIT;
    a2d_error error = A2D_ERROR_INIT;
    a2d_result result = A2D_RESULT_INIT;
    request.prompt_format = A2D_PROMPT_TOKENS;
    request.prompt = "[5, 6, 7]";
    request.options = "{\"stop_repeats\": 2, \"steps\": 1}";
    a2d_generation *generation = start(model, &request);
    check_status(__FILE__, __LINE__, a2d_wait(generation, 60000, &result, &error), A2D_OK, error.message);
    CHECK(result.stop == A2D_STOP_REPEATS && result.modality == A2D_MODALITY_TEXT && result.token_count > 0);
    for (uint32_t i = 0; i < result.token_count; i++)
        CHECK(result.token_confidence[i] > 0 && result.token_confidence[i] <= 1);
    a2d_release(generation);
}

/* An answer in time: whole where there is time, cut where there is not, and refused with what would do. */
static void test_budget(a2d_model *model) {
    const a2d_image image = {.path = frame};
    a2d_request request = request_for(&image);
    a2d_error error = A2D_ERROR_INIT;
    a2d_result result = A2D_RESULT_INIT;
    char options[64];
    request.options = "{\"budget\": \"10 minutes\"}";
    expect(model, &request, A2D_ERROR_REQUEST, "expected a time with its unit");
    request.options = "{\"budget\": \"3600 s\"}";
    a2d_generation *generation = start(model, &request);
    check_status(__FILE__, __LINE__, a2d_wait(generation, 120000, &result, &error), A2D_OK, error.message);
    CHECK(result.stop == A2D_STOP_TOKEN && strcmp(result.text, expected) == 0);
    a2d_release(generation);
    double needed = 0.001; /* ms */
    a2d_status status = A2D_ERROR_REQUEST;
    for (int tried = 0; status == A2D_ERROR_REQUEST && tried < 5; tried++) {
        snprintf(options, sizeof options, "{\"budget\": \"%.3f ms\"}", needed);
        request.options = options;
        generation = start(model, &request);
        status = a2d_wait(generation, 120000, &result, &error);
        if (status == A2D_OK)
            CHECK(tried > 0 && result.stop == A2D_STOP_BUDGET && result.token_count < 64);
        else {
            const char *said = strstr(error.message, "expected ");
            CHECK(strstr(error.message, "budget: got ") != NULL && said != NULL);
            CHECK(sscanf(said, "expected %lf ms or more", &needed) == 1);
            needed *= 1.01; /* the message has four digits */
        }
        a2d_release(generation);
    }
    CHECK_STATUS(status, A2D_OK);
}

#if !defined(_WIN32)
static void test_a_stopped_worker(void) {
    a2d_model *model = open_real(1000);
    a2d_info info = A2D_INFO_INIT;
    const a2d_image image = {.path = frame};
    a2d_request request = request_for(&image);
    CHECK_STATUS(a2d_describe(model, &info), A2D_OK);
    kill((pid_t)info.process, SIGSTOP);
    uint64_t begin = a2d_now();
    expect(model, &request, A2D_ERROR_HUNG, "no sign of life");
    CHECK(a2d_now() - begin < 8000);
    a2d_close(model);
}

/* Killed from outside at a random moment of a generation: it may have ended just before. */
static void test_random_kills(int runs) {
    int lost = 0;
    for (int i = 0; i < runs; i++) {
        a2d_model *model = open_real(20000);
        a2d_info info = A2D_INFO_INIT;
        const a2d_image image = {.pixels = pixels, .width = width, .height = height};
        a2d_request request = request_for(&image);
        a2d_error error = A2D_ERROR_INIT;
        CHECK_STATUS(a2d_describe(model, &info), A2D_OK);
        a2d_generation *generation = start(model, &request);
        a2d_sleep((uint32_t)(i * 7 % 60));
        kill((pid_t)info.process, SIGKILL);
        uint64_t begin = a2d_now();
        a2d_status status = a2d_wait(generation, 20000, NULL, &error);
        CHECK(status == A2D_OK || (status == A2D_ERROR_DIED && strstr(error.message, "signal 9") != NULL));
        CHECK(a2d_now() - begin < 8000);
        lost += status != A2D_OK;
        a2d_release(generation);
        a2d_close(model);
    }
    printf("%d of %d generations were lost\n", lost, runs);
}
#endif

int main(int argc, char **argv) {
    CHECK(argc > 5);
    worker = argv[1];
    bundle = argv[2];
    frame = argv[3];
    load_ppm(argv[4]);
    expected = argv[5];
    a2d_model *model = open_real(20000);
    test_reading(model);
    test_steps_and_cancel(model);
    test_errors(model);
    test_repeats(model);
    test_budget(model);
    a2d_close(model);
#if !defined(_WIN32)
    test_a_stopped_worker();
    test_random_kills(argc > 6 ? atoi(argv[6]) : 3);
#endif
    free(pixels);
    return 0;
}
