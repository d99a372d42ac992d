/* What a host does with a film: frames by a callback, in order and whole; cancelled, refused, lost. Against the fake worker. */
#include "check.h"

#include "threads.h"

typedef struct seen {
    int steps, calls, done, cancel_after_step, cancel_after_call;
    uint32_t frames, height, width;
    a2d_generation *release;
} seen;

static int on_step(const a2d_step *step, void *user) {
    seen *all = user;
    CHECK(step->steps == 3 && step->index < 3 && step->final == (step->index == 2) && step->frames == all->frames);
    CHECK(step->text_length == 0 && step->text[0] == '\0' && step->tokens == 0);
    return ++all->steps == all->cancel_after_step;
}

static int on_frames(const a2d_frames *frames, void *user) {
    seen *all = user;
    size_t size = (size_t)3 * frames->height * frames->width;
    CHECK(frames->size == sizeof *frames && frames->first == all->frames && frames->count > 0);
    CHECK(frames->height == all->height && frames->width == all->width && frames->length == size * frames->count);
    CHECK(frames->block == (uint32_t)all->calls);
    for (size_t i = 0; i < frames->length; i++)
        CHECK(frames->pixels[i] == (uint8_t)((frames->first + i / size) * 7 + i % size));
    all->frames += frames->count;
    if (all->release != NULL)
        a2d_release(all->release);
    return ++all->calls == all->cancel_after_call;
}

static void on_done(a2d_generation *generation, a2d_status status, void *user) {
    CHECK_STATUS(a2d_wait(generation, A2D_FOREVER, NULL, NULL), status);
    ((seen *)user)->done++;
}

static a2d_film_request request_for(seen *all) {
    a2d_film_request request = A2D_FILM_REQUEST_INIT;
    *all = (seen){.height = 8, .width = 12};
    request.prompt = "a ball";
    request.on_frames = on_frames;
    request.on_step = on_step;
    request.on_done = on_done;
    request.user = all;
    return request;
}

static a2d_generation *film(a2d_model *model, const a2d_film_request *request) {
    a2d_error error = A2D_ERROR_INIT;
    a2d_generation *generation = NULL;
    check_status(__FILE__, __LINE__, a2d_film(model, request, &generation, &error), A2D_OK, error.message);
    return generation;
}

static void finish(a2d_generation *generation, a2d_result *result) {
    a2d_error error = A2D_ERROR_INIT;
    check_status(__FILE__, __LINE__, a2d_wait(generation, 20000, result, &error), A2D_OK, error.message);
    CHECK(result->modality == A2D_MODALITY_PIXELS && result->text_length == 0 && result->text[0] == '\0');
    CHECK(result->token_count == 0 && result->seconds == 0.125);
}

static void test_a_film(a2d_model *model) {
    seen all;
    a2d_info info = A2D_INFO_INIT;
    a2d_film_request request = request_for(&all);
    a2d_result result = A2D_RESULT_INIT;
    CHECK_STATUS(a2d_describe(model, &info), A2D_OK);
    CHECK(info.films == 1 && info.film_frames == 9 && info.film_height == 8 && info.film_width == 12 && info.film_fps == 16);
    a2d_generation *generation = film(model, &request);
    finish(generation, &result);
    CHECK(result.stop == A2D_STOP_LENGTH && result.frames == 9 && result.blocks == 3 && result.forwards == 12);
    CHECK(result.height == 8 && result.width == 12 && result.fps == 16);
    CHECK(strcmp(result.remarks, "a ball|0|0|0|0|0|-") == 0);
    a2d_release(generation);
    CHECK(all.frames == 9 && all.calls == 3 && all.steps == 9 && all.done == 1);
}

static void test_everything_asked(a2d_model *model) {
    seen all;
    static const uint8_t board[4 * 6 * 3];
    const a2d_image image = {.pixels = board, .width = 6, .height = 4};
    a2d_film_request request = request_for(&all);
    a2d_result result = A2D_RESULT_INIT;
    all.height = request.height = 120; /* more than a pipe holds, many times */
    all.width = request.width = 160;
    request.frames = 13;
    request.steps = 2;
    request.seed = 1ull << 40;
    request.options = "{\"window\": 6}";
    request.image = &image;
    a2d_generation *generation = film(model, &request);
    finish(generation, &result);
    CHECK(strncmp(result.remarks, "a ball|13|120|160|2|1099511627776|{\"window\": 6}|6x4:0:", 53) == 0);
    CHECK(all.frames == 13 && result.frames == 13);
    a2d_release(generation);
}

/* In a callback of a step, in one of frames, from outside, and before it begins. */
static void test_cancelling(a2d_model *model) {
    seen all;
    a2d_result result = A2D_RESULT_INIT;
    a2d_film_request request = request_for(&all);
    request.frames = 4001;
    all.cancel_after_step = 5;
    a2d_generation *generation = film(model, &request);
    finish(generation, &result);
    CHECK(result.stop == A2D_STOP_CANCELLED && result.frames == all.frames && result.frames < 4001 && all.frames > 0);
    a2d_release(generation);

    request = request_for(&all);
    request.frames = 4001;
    all.cancel_after_call = 2;
    generation = film(model, &request);
    a2d_film_request next = request;
    seen other;
    next = request_for(&other);
    a2d_generation *queued = film(model, &next);
    a2d_cancel(queued);
    finish(generation, &result);
    CHECK(result.stop == A2D_STOP_CANCELLED && result.frames == all.frames && all.calls >= 2 && all.frames < 4001);
    finish(queued, &result);
    CHECK(result.stop == A2D_STOP_CANCELLED && result.frames == 0 && other.frames == 0);
    a2d_release(generation);
    a2d_release(queued);
}

static void test_released_in_its_callback(a2d_model *model) {
    seen all, other;
    a2d_error error = A2D_ERROR_INIT;
    a2d_film_request request = request_for(&all), next = request_for(&other);
    a2d_result result = A2D_RESULT_INIT;
    request.frames = 41;
    CHECK_STATUS(a2d_film(model, &request, &all.release, &error), A2D_OK);
    a2d_generation *last = film(model, &next);
    finish(last, &result);
    CHECK(all.calls == 1 && all.done == 0 && other.frames == 9); /* a released film calls no more */
    a2d_release(last);
}

static void test_text_and_films_share_a_queue(a2d_model *model) {
    seen all;
    a2d_film_request request = request_for(&all);
    a2d_result result = A2D_RESULT_INIT;
    a2d_generation *words = start(model, NULL), *shown = film(model, &request), *more = start(model, NULL);
    CHECK_STATUS(a2d_wait(more, 20000, &result, NULL), A2D_OK);
    CHECK(result.modality == A2D_MODALITY_TEXT && result.frames == 0 && result.remarks[0] == '\0');
    CHECK_STATUS(a2d_wait(shown, 0, &result, NULL), A2D_OK);
    CHECK(result.modality == A2D_MODALITY_PIXELS);
    a2d_release(words);
    a2d_release(shown);
    a2d_release(more);
}

static void test_polling(a2d_model *model) {
    seen all;
    a2d_film_request request = request_for(&all);
    a2d_step step = A2D_STEP_INIT;
    request.on_step = NULL;
    a2d_generation *generation = film(model, &request);
    while (a2d_poll(generation, &step) == A2D_RUNNING)
        a2d_sleep(1);
    CHECK_STATUS(a2d_poll(generation, &step), A2D_OK);
    CHECK(step.block == 2 && step.index == 2 && step.steps == 3 && step.frames == 5 && step.final == 1);
    a2d_release(generation);
}

static void refuse(a2d_model *model, const a2d_film_request *request, a2d_status status, const char *words) {
    a2d_error error = A2D_ERROR_INIT;
    a2d_generation *generation = (a2d_generation *)&error;
    CHECK_ERROR(a2d_film(model, request, &generation, &error), status, error, words);
    CHECK(generation == NULL);
}

static void test_refusals(a2d_model *model) {
    seen all;
    a2d_film_request request = request_for(&all);
    a2d_error error = A2D_ERROR_INIT;
    refuse(NULL, &request, A2D_ERROR_ARGUMENT, "NULL");
    refuse(model, NULL, A2D_ERROR_ARGUMENT, "NULL");
    request.prompt = NULL;
    refuse(model, &request, A2D_ERROR_ARGUMENT, "say what the film shows");
    request = request_for(&all);
    request.on_frames = NULL;
    refuse(model, &request, A2D_ERROR_ARGUMENT, "on_frames: got NULL");
    request = request_for(&all);
    const a2d_image image = {.width = 1};
    request.image = &image;
    refuse(model, &request, A2D_ERROR_ARGUMENT, "image 0 of the request has neither");
    request = request_for(&all);
    request.size = 0;
    refuse(model, &request, A2D_ERROR_ARGUMENT, "size");
    request = request_for(&all);
    request.prompt = "refuse this";
    a2d_generation *bad = film(model, &request);
    CHECK_ERROR(a2d_wait(bad, 20000, NULL, &error), A2D_ERROR_NUMERICS, error, "block 1, step 2: the velocity is not finite");
    a2d_release(bad);
    a2d_model *words = open_fake("steps=1");
    request = request_for(&all);
    refuse(words, &request, A2D_ERROR_BUNDLE, "does not film");
    a2d_close(words);
}

/* At each message of a film: the right error, and no call for what did not come. */
static void test_a_worker_that_misbehaves(void) {
    static const struct {
        const char *deed;
        a2d_status status;
        const char *words;
    } misdeeds[] = {
        {"kill", A2D_ERROR_DIED, "worker"},
        {"half", A2D_ERROR_DIED, "exited with status 0"},
        {"print", A2D_ERROR_PROTOCOL, "no frame at all"},
        {"damaged", A2D_ERROR_PROTOCOL, "a damaged FILMED"},
        {"other", A2D_ERROR_PROTOCOL, "a step of the other kind"},
        {"skip", A2D_ERROR_PROTOCOL, "frames that nobody waits for"},
    };
    for (size_t i = 0; i < sizeof misdeeds / sizeof *misdeeds; i++) {
        for (int at = 1; at <= 6; at++) { /* 2 blocks of 2 steps and their frames, FILMED */
            char script[64];
            seen all;
            a2d_error error = A2D_ERROR_INIT;
            a2d_film_request request = request_for(&all);
            request.on_step = NULL;
            request.frames = 5;
            snprintf(script, sizeof script, "films steps=2 do=%s at=%d", misdeeds[i].deed, at);
            a2d_model *model = open_fake(script);
            a2d_generation *generation = film(model, &request);
            CHECK_ERROR(a2d_wait(generation, 20000, NULL, &error), misdeeds[i].status, error, misdeeds[i].words);
            CHECK(all.frames == (at > 6 ? 5u : at > 3 ? 1u : 0u));
            a2d_release(generation);
            a2d_close(model);
        }
    }
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    worker = argv[1];
    a2d_model *model = open_fake("films steps=3");
    test_a_film(model);
    test_everything_asked(model);
    test_text_and_films_share_a_queue(model);
    test_polling(model);
    test_refusals(model);
    a2d_close(model);
    model = open_fake("films steps=3 pause=1");
    test_cancelling(model);
    test_released_in_its_callback(model);
    a2d_close(model);
    test_a_worker_that_misbehaves();
    return 0;
}
