/* What a host does with a model: open, start, be called back, poll, wait, cancel, release, close. Against the fake worker. */
#include "check.h"

#if !defined(_WIN32)
#include <sys/resource.h>
#endif

static a2d_status wait_for(a2d_generation *generation, a2d_result *result) {
    a2d_error error = A2D_ERROR_INIT;
    a2d_status status = a2d_wait(generation, 20000, result, &error);
    if (status < 0)
        fprintf(stderr, "%s\n", error.message);
    return status;
}

static void test_describe(void) {
    a2d_model *model = open_fake("steps=1");
    a2d_info info = A2D_INFO_INIT;
    CHECK_STATUS(a2d_describe(model, &info), A2D_OK);
    CHECK(strcmp(info.name, "steps=1") == 0 && strcmp(info.engine, "fake engine") == 0);
    CHECK(info.block_size == 8 && info.max_context == 4096 && info.vision == 1 && info.process > 0);
    CHECK(info.films == 0 && info.film_frames == 9 && info.film_fps == 16);
    CHECK(a2d_abi() == A2D_ABI && strlen(a2d_version()) > 0);
    CHECK_STATUS(a2d_close(model), A2D_OK);
}

typedef struct seen {
    int steps, done;
    uint32_t last_block, last_tokens;
    a2d_status status;
    int cancel_after;
    a2d_generation *release;
} seen;

static int on_step(const a2d_step *step, void *user) {
    seen *all = user;
    CHECK(step->size >= sizeof *step && step->accepted == 2 && step->confidence == 0.5f);
    CHECK(strlen(step->text) == step->text_length);
    all->steps++;
    all->last_block = step->block;
    all->last_tokens = step->tokens;
    return all->steps == all->cancel_after;
}

static void on_done(a2d_generation *generation, a2d_status status, void *user) {
    seen *all = user;
    all->done++;
    all->status = status;
    CHECK_STATUS(a2d_wait(generation, A2D_FOREVER, NULL, NULL), status); /* it has ended: no wait */
}

static void test_a_generation(void) {
    a2d_model *model = open_fake("steps=3 blocks=2");
    seen all = {0};
    a2d_request request = A2D_REQUEST_INIT;
    request.prompt = "read the slate";
    request.max_tokens = 40;
    request.steps = 4;
    request.threshold = 0.5f;
    request.options = "{\"seed\": 1}";
    request.on_step = on_step;
    request.on_done = on_done;
    request.user = &all;
    a2d_generation *generation = start(model, &request);
    a2d_result result = A2D_RESULT_INIT;
    CHECK_STATUS(wait_for(generation, &result), A2D_OK);
    CHECK(strcmp(result.text, "0|read the slate|40|4|0.5|{\"seed\": 1}") == 0);
    CHECK(result.text_length == strlen(result.text) && result.stop == A2D_STOP_LENGTH);
    CHECK(result.steps == 6 && result.blocks == 2 && result.confidence == 0.75f && result.seconds == 0.125);
    CHECK(result.token_count == 3 && result.token_ids[2] == 102);
    CHECK(result.modality == A2D_MODALITY_TEXT && result.token_confidence[2] == 0.75f);
    a2d_release(generation); /* waits for on_done */
    CHECK(all.steps == 6 && all.last_block == 1 && all.last_tokens == 12 && all.done == 1 && all.status == A2D_OK);
    a2d_close(model);
}

static void test_polling(void) {
    a2d_model *model = open_fake("steps=4 pause=2");
    a2d_generation *generation = start(model, NULL);
    a2d_step step = A2D_STEP_INIT;
    uint32_t most = 0;
    while (a2d_poll(generation, &step) == A2D_RUNNING) {
        CHECK(step.text != NULL && step.tokens >= most);
        most = step.tokens;
    }
    CHECK_STATUS(a2d_poll(generation, &step), A2D_OK);
    CHECK(step.tokens == 16 && strcmp(step.text, "16 tokens") == 0 && step.final == 1);
    CHECK_STATUS(a2d_poll(generation, NULL), A2D_OK);
    a2d_release(generation);
    a2d_close(model);
}

static void test_waiting(void) {
    a2d_model *model = open_fake("steps=100 pause=5");
    a2d_generation *generation = start(model, NULL);
    CHECK_STATUS(a2d_wait(generation, 0, NULL, NULL), A2D_RUNNING);
    CHECK_STATUS(a2d_wait(generation, 20, NULL, NULL), A2D_RUNNING);
    a2d_cancel(generation);
    a2d_result result = A2D_RESULT_INIT;
    CHECK_STATUS(wait_for(generation, &result), A2D_OK);
    CHECK(result.stop == A2D_STOP_CANCELLED && result.steps < 200);
    a2d_cancel(generation); /* too late, and no harm */
    a2d_release(generation);
    a2d_close(model);
}

static void test_cancelling_in_a_callback(void) {
    a2d_model *model = open_fake("steps=100 pause=2");
    seen all = {.cancel_after = 3};
    a2d_request request = A2D_REQUEST_INIT;
    request.on_step = on_step;
    request.user = &all;
    a2d_generation *generation = start(model, &request);
    a2d_result result = A2D_RESULT_INIT;
    CHECK_STATUS(wait_for(generation, &result), A2D_OK);
    CHECK(result.stop == A2D_STOP_CANCELLED && result.steps >= 3 && result.steps < 100);
    a2d_release(generation);
    a2d_close(model);
}

static void test_the_queue(void) {
    a2d_model *model = open_fake("steps=2 pause=2");
    a2d_generation *generations[20];
    char prompt[32];
    a2d_request request = A2D_REQUEST_INIT;
    request.prompt = prompt;
    for (int i = 0; i < 20; i++) {
        snprintf(prompt, sizeof prompt, "number %d", i);
        generations[i] = start(model, &request);
    }
    a2d_cancel(generations[7]); /* before its first step, most likely */
    a2d_release(generations[11]);
    for (int i = 19; i >= 0; i--) { /* those before the last one have ended when it has */
        a2d_result result = A2D_RESULT_INIT;
        if (i == 11)
            continue;
        CHECK_STATUS(i == 19 ? wait_for(generations[i], &result) : a2d_wait(generations[i], 0, &result, NULL), A2D_OK);
        snprintf(prompt, sizeof prompt, "0|number %d|", i);
        CHECK(strncmp(result.text, prompt, strlen(prompt)) == 0);
        a2d_release(generations[i]);
    }
    a2d_close(model);
}

static uint32_t checksum(const uint8_t *data, size_t length) {
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ data[i]) * 16777619u;
    return sum;
}

static void check_text(a2d_model *model, const a2d_request *request, const char *expected) {
    a2d_generation *generation = start(model, request);
    a2d_result result = A2D_RESULT_INIT;
    CHECK_STATUS(wait_for(generation, &result), A2D_OK);
    if (strcmp(result.text, expected) != 0)
        fprintf(stderr, "%s\n%s\n", result.text, expected);
    CHECK(strcmp(result.text, expected) == 0);
    a2d_release(generation);
}

/* An image of a given format with and without gaps, the right way up and upside down: the same pixels arrive. */
static void check_pixels(a2d_model *model, a2d_pixel_format format, uint32_t width, uint32_t height) {
    static const uint32_t channels[] = {3, 4, 3, 4, 1};
    size_t row = (size_t)width * channels[format], gap = 13;
    uint8_t *packed = malloc(row * height), *gaps = malloc((row + gap) * height), *below = malloc((row + gap) * height);
    CHECK(packed && gaps && below);
    for (size_t i = 0; i < row * height; i++)
        packed[i] = (uint8_t)(i * 31 + i / 251);
    for (uint32_t y = 0; y < height; y++) {
        memcpy(gaps + y * (row + gap), packed + y * row, row);
        memset(gaps + y * (row + gap) + row, 0xAA, gap);
        memcpy(below + (height - 1 - y) * (row + gap), packed + y * row, row);
    }
    char one[64], expected[512];
    snprintf(one, sizeof one, "|%ux%u:%d:%08x", (unsigned)width, (unsigned)height, (int)format,
             (unsigned)checksum(packed, row * height));
    snprintf(expected, sizeof expected, "0|look|0|0|0|-%s%s|/some/f\xc3\xbcm.png%s%s", one, one, one, one);
    ptrdiff_t stride = (ptrdiff_t)(row + gap);
    a2d_image images[5] = {
        {.pixels = packed, .width = width, .height = height, .format = format},
        {.pixels = packed, .width = width, .height = height, .stride = (ptrdiff_t)row, .format = format},
        {.path = "/some/f\xc3\xbcm.png"},
        {.pixels = gaps, .width = width, .height = height, .stride = stride, .format = format},
        {.pixels = below + stride * (ptrdiff_t)(height - 1), .width = width, .height = height, .stride = -stride,
         .format = format},
    };
    a2d_request request = A2D_REQUEST_INIT;
    request.prompt = "look";
    request.images = images;
    request.image_count = 5;
    check_text(model, &request, expected);
    free(packed);
    free(gaps);
    free(below);
}

static void test_images(void) {
    a2d_model *model = open_fake("steps=1 blocks=1");
    for (int format = A2D_RGB8; format <= A2D_GRAY8; format++)
        check_pixels(model, (a2d_pixel_format)format, 37, 11);
    check_pixels(model, A2D_RGB8, 1, 1);
    check_pixels(model, A2D_RGB8, 1920, 1080);
    check_pixels(model, A2D_BGRA8, 5000, 1000); /* more than the arena keeps, all together */
    a2d_close(model);
}

static void test_prompts(void) {
    a2d_model *model = open_fake("steps=1 blocks=1");
    a2d_request request = A2D_REQUEST_INIT;
    check_text(model, &request, "0|-|0|0|0|-");
    request.prompt = "";
    check_text(model, &request, "0||0|0|0|-");
    request.prompt = "[1, 2, 3]";
    request.prompt_format = A2D_PROMPT_TOKENS;
    check_text(model, &request, "3|[1, 2, 3]|0|0|0|-");
    size_t length = 3u << 20; /* many times what a pipe holds */
    char *words = malloc(length + 1), *expected = malloc(length + 32);
    CHECK(words && expected);
    memset(words, 'w', length);
    words[length] = '\0';
    request.prompt = words;
    request.prompt_format = A2D_PROMPT_RAW;
    snprintf(expected, length + 32, "1|%s|0|0|0|-", words);
    check_text(model, &request, expected);
    free(words);
    free(expected);
    a2d_close(model);
}

static void refuse(a2d_model *model, const a2d_request *request, const char *words) {
    a2d_error error = A2D_ERROR_INIT;
    a2d_generation *generation = (a2d_generation *)&error;
    CHECK_ERROR(a2d_start(model, request, &generation, &error), A2D_ERROR_ARGUMENT, error, words);
    CHECK(generation == NULL);
}

static void test_bad_arguments(void) {
    a2d_model *model = open_fake("steps=1");
    const uint8_t pixel[4] = {0};
    a2d_request request = A2D_REQUEST_INIT;
    a2d_error error = A2D_ERROR_INIT;
    a2d_open_options options = quick_options();
    refuse(NULL, &request, "NULL");
    refuse(model, NULL, "NULL");
    request.threshold = 1.5f;
    refuse(model, &request, "threshold: got 1.5");
    request.threshold = 0;
    request.prompt_format = (a2d_prompt_format)9;
    refuse(model, &request, "prompt_format: got 9");
    request.prompt_format = A2D_PROMPT_RAW;
    refuse(model, &request, "prompt: got NULL");
    request.prompt_format = A2D_PROMPT_TEXT;
    request.image_count = 1;
    refuse(model, &request, "images: got NULL");
    const struct {
        a2d_image image;
        const char *words;
    } bad[] = {
        {{.path = "a.png", .pixels = pixel}, "both"},
        {{.width = 1, .height = 1}, "neither"},
        {{.pixels = pixel, .width = 0, .height = 1}, "no pixels"},
        {{.pixels = pixel, .width = 1, .height = 1, .format = (a2d_pixel_format)5}, "pixel format"},
        {{.pixels = pixel, .width = 2, .height = 1, .stride = 5}, "stride"},
        {{.pixels = pixel, .width = 2, .height = 1, .stride = -5}, "stride"},
        {{.pixels = pixel, .width = UINT32_MAX, .height = UINT32_MAX}, "gigabyte"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        request.images = &bad[i].image;
        refuse(model, &request, bad[i].words);
    }
    request = (a2d_request){0}; /* a size of zero */
    refuse(model, &request, "size");
    struct {
        a2d_request request;
        uint64_t later;
    } newer = {.request = A2D_REQUEST_INIT};
    newer.request.size = sizeof newer;
    a2d_release(start(model, &newer.request)); /* a newer header, but nothing new is used */
    newer.later = 1;
    refuse(model, &newer.request, "size");
    struct {
        uint32_t size;
        a2d_stop stop;
        uint32_t tokens, beyond;
    } older = {.size = 12, .beyond = 77};
    a2d_generation *generation = start(model, NULL);
    CHECK_STATUS(a2d_wait(generation, 20000, (a2d_result *)&older, NULL), A2D_OK);
    CHECK(older.tokens == 3 && older.beyond == 77); /* no further than the size says */
    a2d_release(generation);
    a2d_close(model);
    CHECK_ERROR(a2d_open(NULL, &options, &model, &error), A2D_ERROR_ARGUMENT, error, "no path");
    CHECK_ERROR(a2d_open("", &options, &model, &error), A2D_ERROR_ARGUMENT, error, "no path");
    CHECK_ERROR(a2d_open("x", &options, NULL, &error), A2D_ERROR_ARGUMENT, error, "no path");
    CHECK_STATUS(a2d_wait(NULL, 0, NULL, NULL), A2D_ERROR_ARGUMENT);
    CHECK_STATUS(a2d_poll(NULL, NULL), A2D_ERROR_ARGUMENT);
    CHECK_STATUS(a2d_close(NULL), A2D_OK);
    a2d_cancel(NULL);
    a2d_release(NULL);
}

/* A refusal by the worker ends one generation and no other. */
static void test_errors_of_one_generation(void) {
    a2d_model *model = open_fake("steps=1");
    a2d_error error = A2D_ERROR_INIT;
    a2d_request request = A2D_REQUEST_INIT;
    request.prompt = "refuse this";
    a2d_generation *bad = start(model, &request), *good = start(model, NULL);
    CHECK_ERROR(a2d_wait(bad, 20000, NULL, &error), A2D_ERROR_IMAGE, error, "this is no image");
    CHECK_STATUS(wait_for(good, NULL), A2D_OK);
    CHECK_STATUS(a2d_poll(bad, NULL), A2D_ERROR_IMAGE);
    a2d_release(bad);
    a2d_release(good);
    a2d_close(model);
}

static void test_generations_outlive_their_model(void) {
    a2d_model *model = open_fake("steps=1000 pause=5");
    a2d_error error = A2D_ERROR_INIT;
    a2d_generation *running = start(model, NULL), *queued = start(model, NULL);
    CHECK_STATUS(a2d_wait(running, 20, NULL, NULL), A2D_RUNNING);
    CHECK_STATUS(a2d_close(model), A2D_OK);
    CHECK_ERROR(a2d_wait(running, A2D_FOREVER, NULL, &error), A2D_ERROR_CLOSED, error, "closed");
    CHECK_STATUS(a2d_poll(queued, NULL), A2D_ERROR_CLOSED);
    a2d_cancel(queued);
    a2d_release(queued);
    a2d_release(running);
}

typedef struct inside {
    a2d_model *model;
    a2d_generation *generation;
    int calls;
} inside;

/* Closing and waiting would wait for themselves; starting, polling and releasing are fine. */
static int meddle(const a2d_step *step, void *user) {
    inside *all = user;
    a2d_error error = A2D_ERROR_INIT;
    (void)step;
    all->calls++;
    CHECK_STATUS(a2d_close(all->model), A2D_ERROR_STATE);
    CHECK_ERROR(a2d_wait(all->generation, A2D_FOREVER, NULL, &error), A2D_ERROR_STATE, error, "a2d_poll");
    CHECK_STATUS(a2d_poll(all->generation, NULL), A2D_RUNNING);
    a2d_release(start(all->model, NULL));
    a2d_release(all->generation);
    return 0;
}

static void test_meddling_in_a_callback(void) {
    inside all = {.model = open_fake("steps=50 pause=1")};
    a2d_request request = A2D_REQUEST_INIT;
    request.on_step = meddle;
    request.user = &all;
    a2d_error error = A2D_ERROR_INIT;
    CHECK_STATUS(a2d_start(all.model, &request, &all.generation, &error), A2D_OK);
    a2d_generation *last = start(all.model, NULL);
    CHECK_STATUS(wait_for(last, NULL), A2D_OK);
    a2d_release(last);
    a2d_close(all.model);
    CHECK(all.calls == 1); /* a released generation calls no more */
}

/* No room for pixels: an error of that start, and the next one that fits goes through. */
static void test_no_room(void) {
#if !defined(_WIN32)
    struct rlimit usual, small;
    CHECK(getrlimit(RLIMIT_FSIZE, &usual) == 0);
    small = usual;
    small.rlim_cur = 10000;
    a2d_model *model = open_fake("steps=1");
    static const uint8_t pixels[100 * 100 * 3];
    a2d_image image = {.pixels = pixels, .width = 100, .height = 100};
    a2d_request request = A2D_REQUEST_INIT;
    a2d_error error = A2D_ERROR_INIT;
    a2d_generation *generation = NULL;
    request.images = &image;
    request.image_count = 1;
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    CHECK_ERROR(a2d_start(model, &request, &generation, &error), A2D_ERROR_SYSTEM, error, "no room for 30000 bytes");
    CHECK(setrlimit(RLIMIT_FSIZE, &usual) == 0);
    for (int i = 0; i < 3; i++) {
        generation = start(model, &request);
        CHECK_STATUS(wait_for(generation, NULL), A2D_OK);
        a2d_release(generation);
    }
    a2d_close(model);
#endif
}

static void test_environment(void) {
    static const char *const changes[] = {"PATH", "A2D_TEST=1", NULL};
    a2d_open_options options = quick_options();
    a2d_model *model = NULL;
    options.environment = changes;
    CHECK_STATUS(a2d_open("steps=1", &options, &model, NULL), A2D_OK);
    a2d_close(model);
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    worker = argv[1];
    test_describe();
    test_a_generation();
    test_polling();
    test_waiting();
    test_cancelling_in_a_callback();
    test_the_queue();
    test_images();
    test_prompts();
    test_bad_arguments();
    test_errors_of_one_generation();
    test_generations_outlive_their_model();
    test_meddling_in_a_callback();
    test_no_room();
    test_environment();
    return 0;
}
