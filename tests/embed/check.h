/* What the tests of the C library share: a check that says where it failed, and a model of the fake worker. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <a2d.h>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
            exit(1); \
        } \
    } while (0)

#define CHECK_STATUS(got, expected) check_status(__FILE__, __LINE__, (got), (expected), NULL)
#define CHECK_ERROR(got, expected, error, words) check_error(__FILE__, __LINE__, (got), (expected), &(error), (words))

static inline void check_status(const char *file, int line, a2d_status got, a2d_status expected, const char *message) {
    if (got == expected)
        return;
    fprintf(stderr, "%s:%d: got %s, expected %s. %s\n", file, line, a2d_status_name(got), a2d_status_name(expected),
            message ? message : "");
    exit(1);
}

/* A failure with this status, whose message holds these words. */
static inline void check_error(const char *file, int line, a2d_status got, a2d_status expected, const a2d_error *error,
                               const char *words) {
    check_status(file, line, got, expected, error->message);
    if (error->status == expected && strstr(error->message, words) != NULL)
        return;
    fprintf(stderr, "%s:%d: expected \"%s\" in: %s\n", file, line, words, error->message);
    exit(1);
}

static const char *worker; /* path of the fake worker, argument 1 of every test */

static inline a2d_open_options quick_options(void) {
    a2d_open_options options = A2D_OPEN_OPTIONS_INIT;
    options.python = worker;
    options.open_timeout_ms = 20000;
    options.silence_timeout_ms = 20000;
    return options;
}

static inline a2d_model *open_fake(const char *script) {
    a2d_open_options options = quick_options();
    a2d_error error = A2D_ERROR_INIT;
    a2d_model *model = NULL;
    check_status(__FILE__, __LINE__, a2d_open(script, &options, &model, &error), A2D_OK, error.message);
    return model;
}

static inline a2d_generation *start(a2d_model *model, const a2d_request *request) {
    const a2d_request usual = A2D_REQUEST_INIT;
    a2d_error error = A2D_ERROR_INIT;
    a2d_generation *generation = NULL;
    a2d_status status = a2d_start(model, request ? request : &usual, &generation, &error);
    check_status(__FILE__, __LINE__, status, A2D_OK, error.message);
    return generation;
}

#endif
