/* Everything that can go wrong with a worker: each time the right error, in bounded time, and the next open works.
 *
 * Arguments: the fake worker, and how many random deaths and damages to try. */
#include "check.h"

#include "threads.h"

enum { BOUND = 8000 }; /* milliseconds that no case may take; the longest waits for silence and last words */

static a2d_open_options impatient_options(void) {
    a2d_open_options options = quick_options();
    options.silence_timeout_ms = 300;
    options.close_timeout_ms = 300;
    return options;
}

/* Open, generate, close. The first error, or A2D_OK. */
static a2d_status attempt(const char *script, const a2d_open_options *options, a2d_error *error) {
    a2d_model *model = NULL;
    a2d_generation *generation = NULL;
    uint64_t begin = a2d_now();
    a2d_status status = a2d_open(script, options, &model, error);
    CHECK((status == A2D_OK) == (model != NULL));
    if (status == A2D_OK)
        status = a2d_start(model, &(a2d_request)A2D_REQUEST_INIT, &generation, error);
    if (status == A2D_OK)
        status = a2d_wait(generation, A2D_FOREVER, NULL, error);
    a2d_release(generation);
    a2d_close(model);
    CHECK(a2d_now() - begin < BOUND);
    return status;
}

static void check_works(void) {
    a2d_error error = A2D_ERROR_INIT;
    a2d_open_options options = quick_options();
    check_status(__FILE__, __LINE__, attempt("steps=1", &options, &error), A2D_OK, error.message);
}

static const struct {
    const char *deed;
    a2d_status status;
    const char *words;
} misdeeds[] = {
    {"exit", A2D_ERROR_DIED, "exited with status 7"},
#if defined(_WIN32)
    {"kill", A2D_ERROR_DIED, "exited with status 9"},
#else
    {"kill", A2D_ERROR_DIED, "was killed by signal 9"},
    {"abort", A2D_ERROR_DIED, "was killed by signal 6"},
#endif
    {"words", A2D_ERROR_DIED, "Traceback: the model fell over"},
    {"half", A2D_ERROR_DIED, "exited with status 0"},
    {"print", A2D_ERROR_PROTOCOL, "no frame at all"},
    {"huge", A2D_ERROR_PROTOCOL, "longer than frames may be"},
    {"stranger", A2D_ERROR_PROTOCOL, "never asked for"},
    {"nobody", A2D_ERROR_PROTOCOL, "never asked for"},
    {"version", A2D_ERROR_PROTOCOL, "another version"},
};

/* At every frame that the worker sends, and after every one that it gets. */
static void test_every_misdeed_at_every_boundary(void) {
    char script[128];
    a2d_open_options options = quick_options();
    for (size_t i = 0; i < sizeof misdeeds / sizeof *misdeeds; i++) {
        for (int place = 0; place < 2 + 8; place++) {
            a2d_error error = A2D_ERROR_INIT;
            const char *side = place < 2 ? "in" : "at"; /* OPEN, GENERATE; OPENED, 6 steps, DONE */
            snprintf(script, sizeof script, "do=%s %s=%d", misdeeds[i].deed, side, place < 2 ? place : place - 2);
            a2d_status status = attempt(script, &options, &error);
            if (status != misdeeds[i].status)
                fprintf(stderr, "%s\n", script);
            CHECK_ERROR(status, misdeeds[i].status, error, misdeeds[i].words);
        }
    }
    check_works();
}

static void test_damaged_frames(void) {
    static const char *const deeds[] = {"unknown", "damaged", "again"};
    a2d_open_options options = quick_options();
    char script[64];
    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++) {
        a2d_error error = A2D_ERROR_INIT;
        snprintf(script, sizeof script, "do=%s at=3", deeds[i]);
        CHECK_ERROR(attempt(script, &options, &error), A2D_ERROR_PROTOCOL, error, "and was killed");
    }
}

/* A worker that lives and says nothing, or half of something. */
static void test_hanging(void) {
    static const char *const scripts[] = {"do=hang at=1", "do=hang at=4", "do=hang in=1", "do=stall at=3", "do=hang at=7"};
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        a2d_error error = A2D_ERROR_INIT;
        a2d_open_options options = impatient_options();
        CHECK_ERROR(attempt(scripts[i], &options, &error), A2D_ERROR_HUNG, error, "no sign of life for 300 ms");
    }
    a2d_error error = A2D_ERROR_INIT;
    a2d_open_options options = impatient_options();
    options.open_timeout_ms = 200;
    CHECK_ERROR(attempt("do=hang at=0", &options, &error), A2D_ERROR_HUNG, error, "not loaded within 200 ms");
    CHECK_ERROR(attempt("do=hang in=0", &options, &error), A2D_ERROR_HUNG, error, "not loaded within 200 ms");
    /* Its end is closed, unless somebody holds another handle of it: then it is as silent as any that hangs. */
    a2d_status status = attempt("do=close at=3", &options, &error);
    CHECK(status == A2D_ERROR_DIED || status == A2D_ERROR_HUNG);
    check_works();
}

/* A slow one is no hanging one: it answers while it works. */
static void test_slowness_is_no_hang(void) {
    a2d_error error = A2D_ERROR_INIT;
    a2d_open_options options = impatient_options();
    CHECK_STATUS(attempt("steps=2 blocks=1 pause=700", &options, &error), A2D_OK);
    CHECK_STATUS(attempt("steps=1 blocks=1 slow=700", &options, &error), A2D_OK); /* loading */
    a2d_model *model = NULL;
    CHECK_STATUS(a2d_open("steps=1", &options, &model, &error), A2D_OK);
    a2d_sleep(1000); /* nothing to do */
    a2d_generation *generation = start(model, NULL);
    CHECK_STATUS(a2d_wait(generation, 20000, NULL, &error), A2D_OK);
    a2d_release(generation);
    a2d_close(model);
}

static void test_a_worker_that_will_not_leave(void) {
    a2d_open_options options = impatient_options();
    a2d_error error = A2D_ERROR_INIT;
    uint64_t begin = a2d_now();
    CHECK_STATUS(attempt("steps=1 do=stay", &options, &error), A2D_OK);
    CHECK(a2d_now() - begin >= 300);
}

static void test_a_flood_of_words(void) {
    a2d_error error = A2D_ERROR_INIT;
    a2d_open_options options = quick_options();
    CHECK_STATUS(attempt("steps=2 do=flood at=2", &options, &error), A2D_OK);
}

/* A program that cannot be started. Under valgrind, which starts processes in a way of its own, only the child sees it. */
static void check_not_started(const char *python) {
    a2d_error error = A2D_ERROR_INIT;
    a2d_open_options options = quick_options();
    options.python = python;
    a2d_status status = attempt("steps=1", &options, &error);
    if (getenv("A2D_UNDER_VALGRIND") != NULL)
        CHECK_STATUS(status, A2D_ERROR_DIED);
    else
        CHECK_ERROR(status, A2D_ERROR_INTERPRETER, error, python);
}

static void test_no_interpreter(void) {
    a2d_error error = A2D_ERROR_INIT;
    a2d_open_options options = quick_options();
    check_not_started("/no/such/python");
    check_not_started("a2d-no-such-python");
#if !defined(_WIN32)
    check_not_started("/etc/passwd"); /* not a program */
    options.python = "/bin/true"; /* a program that is no Python */
    CHECK_ERROR(attempt("steps=1", &options, &error), A2D_ERROR_DIED, error, "before the bundle was loaded");
    options.python = "/bin/echo";
    CHECK_ERROR(attempt("steps=1", &options, &error), A2D_ERROR_PROTOCOL, error, "no frame at all");
#endif
    CHECK_ERROR(attempt("missing", &(a2d_open_options){.size = sizeof options, .python = worker}, &error),
                A2D_ERROR_BUNDLE, error, "no such bundle");
    check_works();
}

/* After the worker is lost, everything that waits and everything that comes is told the same. */
static void test_all_that_wait_are_told(void) {
    a2d_model *model = open_fake("do=kill at=3 pause=5");
    a2d_generation *generations[10], *late = NULL;
    a2d_error error = A2D_ERROR_INIT;
    for (int i = 0; i < 10; i++)
        if (a2d_start(model, &(a2d_request)A2D_REQUEST_INIT, &generations[i], &error) != A2D_OK)
            generations[i] = NULL; /* it died early */
    CHECK(generations[0] != NULL);
    for (int i = 0; i < 10; i++) {
        if (generations[i] != NULL)
            CHECK_ERROR(a2d_wait(generations[i], 20000, NULL, &error), A2D_ERROR_DIED, error, "open the bundle again");
        a2d_release(generations[i]);
    }
    CHECK_ERROR(a2d_start(model, &(a2d_request)A2D_REQUEST_INIT, &late, &error), A2D_ERROR_DIED, error, "open the bundle");
    a2d_close(model);
}

static int count(const a2d_step *step, void *user) {
    (void)step;
    ++*(int *)user;
    return 0;
}

static void count_done(a2d_generation *generation, a2d_status status, void *user) {
    CHECK_STATUS(status, A2D_ERROR_DIED);
    *(int *)user += 100;
    a2d_release(generation);
}

static void test_callbacks_of_a_lost_worker(void) {
    a2d_model *model = open_fake("do=exit at=3");
    int calls = 0;
    a2d_request request = A2D_REQUEST_INIT;
    request.on_step = count;
    request.on_done = count_done; /* releases */
    request.user = &calls;
    start(model, &request);
    a2d_generation *last = NULL;
    if (a2d_start(model, &(a2d_request)A2D_REQUEST_INIT, &last, NULL) == A2D_OK) {
        CHECK_STATUS(a2d_wait(last, 20000, NULL, NULL), A2D_ERROR_DIED);
        a2d_release(last);
    }
    a2d_close(model);
    CHECK(calls == 102);
}

/* Deaths at random: by the worker's own hand at a random frame, or whenever. */
static void test_random_deaths(int runs) {
    char script[64];
    a2d_open_options options = quick_options();
    int lost = 0;
    for (int i = 0; i < runs; i++) {
        a2d_error error = A2D_ERROR_INIT;
        snprintf(script, sizeof script, "do=kill random=%d", i);
        a2d_status status = attempt(script, &options, &error);
        CHECK(status == A2D_OK || (status == A2D_ERROR_DIED && strstr(error.message, "worker") != NULL));
        lost += status != A2D_OK;
    }
    printf("%d of %d workers were killed\n", lost, runs);
    CHECK(runs < 20 || (lost > runs / 4 && lost < runs));
}

/* Frames with wrong bytes in them: whatever comes of it, it comes in time, and with a message if it is an error. */
static void test_random_damage(int runs) {
    char script[64];
    int noticed = 0;
    a2d_open_options options = impatient_options();
    options.silence_timeout_ms = 100;
    options.open_timeout_ms = 200;
    for (int i = 0; i < runs; i++) {
        a2d_error error = A2D_ERROR_INIT;
        snprintf(script, sizeof script, "damage=%d", i);
        a2d_status status = attempt(script, &options, &error);
        CHECK(status == A2D_OK || (status < 0 && error.message[0] != '\0'));
        noticed += status != A2D_OK;
    }
    printf("%d of %d damaged conversations were noticed\n", noticed, runs);
    check_works();
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    worker = argv[1];
    test_every_misdeed_at_every_boundary();
    test_damaged_frames();
    test_hanging();
    test_slowness_is_no_hang();
    test_a_worker_that_will_not_leave();
    test_a_flood_of_words();
    test_no_interpreter();
    test_all_that_wait_are_told();
    test_callbacks_of_a_lost_worker();
    test_random_deaths(argc > 2 ? atoi(argv[2]) : 30);
    test_random_damage(argc > 2 ? atoi(argv[2]) : 30);
    return 0;
}
