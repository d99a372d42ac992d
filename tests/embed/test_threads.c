/* Eight threads, on one model and each on its own; and a thread that cancels, releases and closes what others look at. */
#include "check.h"

#include "threads.h"

enum { THREADS = 8 };

static a2d_model *shared;

static void use(a2d_model *model, unsigned number) {
    char prompt[32], expected[48];
    uint8_t pixels[3 * 64 * 48];
    memset(pixels, (int)number, sizeof pixels);
    const a2d_image image = {.pixels = pixels, .width = 64, .height = 48};
    a2d_request request = A2D_REQUEST_INIT;
    request.prompt = prompt;
    request.images = &image;
    request.image_count = 1;
    for (int i = 0; i < 10; i++) {
        snprintf(prompt, sizeof prompt, "%u.%d", number, i);
        a2d_generation *generation = start(model, &request);
        a2d_result result = A2D_RESULT_INIT;
        if (i % 3 == 1)
            a2d_cancel(generation);
        if (i % 4 != 3) {
            CHECK_STATUS(a2d_wait(generation, 60000, &result, NULL), A2D_OK);
            snprintf(expected, sizeof expected, "0|%s|0|0|0|-|64x48:0:", prompt);
            CHECK(strncmp(result.text, expected, strlen(expected)) == 0);
        }
        a2d_release(generation);
    }
}

static void on_shared(void *number) { use(shared, *(unsigned *)number); }

static void on_own(void *number) {
    a2d_model *model = open_fake("steps=2 blocks=2");
    use(model, *(unsigned *)number);
    CHECK_STATUS(a2d_close(model), A2D_OK);
}

static void run_eight(void (*work)(void *)) {
    a2d_thread threads[THREADS];
    unsigned numbers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK(a2d_thread_start(&threads[i], work, &numbers[i]));
    }
    for (unsigned i = 0; i < THREADS; i++)
        a2d_thread_join(&threads[i]);
}

static void cancel_soon(void *generation) {
    a2d_sleep(10);
    a2d_cancel(generation);
}

static void test_cancel_from_another_thread(void) {
    a2d_model *model = open_fake("steps=10000 pause=1");
    for (int i = 0; i < 5; i++) {
        a2d_thread thread;
        a2d_result result = A2D_RESULT_INIT;
        a2d_generation *generation = start(model, NULL);
        CHECK(a2d_thread_start(&thread, cancel_soon, generation));
        CHECK_STATUS(a2d_wait(generation, 60000, &result, NULL), A2D_OK);
        CHECK(result.stop == A2D_STOP_CANCELLED);
        a2d_thread_join(&thread);
        a2d_release(generation);
    }
    a2d_close(model);
}

static void wait_for_close(void *generation) {
    CHECK_STATUS(a2d_wait(generation, 60000, NULL, NULL), A2D_ERROR_CLOSED);
    a2d_release(generation);
}

static void test_close_while_others_wait(void) {
    for (int i = 0; i < 5; i++) {
        a2d_thread threads[THREADS];
        a2d_model *model = open_fake("steps=10000 pause=1");
        for (int j = 0; j < THREADS; j++)
            CHECK(a2d_thread_start(&threads[j], wait_for_close, start(model, NULL)));
        a2d_sleep(5);
        CHECK_STATUS(a2d_close(model), A2D_OK);
        for (int j = 0; j < THREADS; j++)
            a2d_thread_join(&threads[j]);
    }
}

typedef struct slow {
    a2d_mutex lock;
    a2d_cond entered;
    bool inside, left;
} slow;

static int take_time(const a2d_step *step, void *user) {
    slow *state = user;
    (void)step;
    a2d_lock(&state->lock);
    state->inside = true;
    a2d_cond_broadcast(&state->entered);
    a2d_unlock(&state->lock);
    a2d_sleep(30);
    a2d_lock(&state->lock);
    state->left = true;
    a2d_unlock(&state->lock);
    return 0;
}

/* What a callback is handed may be freed as soon as a2d_release has returned. */
static void test_release_waits_for_a_callback(void) {
    slow state = {.inside = false};
    CHECK(a2d_mutex_init(&state.lock) && a2d_cond_init(&state.entered));
    a2d_model *model = open_fake("steps=10000 pause=1");
    a2d_request request = A2D_REQUEST_INIT;
    request.on_step = take_time;
    request.user = &state;
    a2d_generation *generation = start(model, &request);
    a2d_lock(&state.lock);
    while (!state.inside)
        a2d_cond_wait(&state.entered, &state.lock, A2D_NEVER);
    a2d_unlock(&state.lock);
    a2d_release(generation);
    CHECK(state.left);
    a2d_close(model);
    a2d_cond_destroy(&state.entered);
    a2d_mutex_destroy(&state.lock);
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    worker = argv[1];
    shared = open_fake("steps=2 blocks=2");
    run_eight(on_shared);
    a2d_close(shared);
    run_eight(on_own);
    test_cancel_from_another_thread();
    test_close_while_others_wait();
    test_release_waits_for_a_callback();
    return 0;
}
