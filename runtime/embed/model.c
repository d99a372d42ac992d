#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interpreter.h"

#define OR(given, otherwise) ((given) ? (given) : (otherwise))

void a2d_model_hold(a2d_model *model) { model->uses++; }

void a2d_model_drop(a2d_model *model) {
    a2d_lock(&model->lock);
    bool last = --model->uses == 0;
    a2d_unlock(&model->lock);
    if (!last)
        return;
    a2d_opened_free(&model->opened);
    a2d_cond_destroy(&model->changed);
    a2d_mutex_destroy(&model->lock);
    free(model);
}

static a2d_model *new_model(const a2d_open_options *options) {
    a2d_model *model = calloc(1, sizeof *model);
    if (model == NULL)
        return NULL;
    if (!a2d_mutex_init(&model->lock)) {
        free(model);
        return NULL;
    }
    if (!a2d_cond_init(&model->changed)) {
        a2d_mutex_destroy(&model->lock);
        free(model);
        return NULL;
    }
    model->uses = 1;
    model->failure.size = sizeof model->failure;
    model->silence_ms = OR(options->silence_timeout_ms, 30000);
    model->close_ms = OR(options->close_timeout_ms, 2000);
    return model;
}

static bool post_open(a2d_model *model, const char *path, const a2d_open_options *options) {
    const struct {
        const char *path, *precision, *engine, *device;
        uint32_t threads;
    } open = {path, options->precision, options->engine, options->device, options->threads}, *from = &open;
    a2d_bytes *to = &model->outbox;
    size_t begin = a2d_frame_begin(to, A2D_OPEN, 0);
    A2D_OPEN_FIELDS(A2D_PUT)
    return a2d_frame_end(to, begin);
}

static a2d_status launch(a2d_model *model, const a2d_open_options *options, a2d_error *error) {
    char found[4096], why[256];
    const char *python = options->python;
    if (python == NULL && !a2d_find_interpreter(found, sizeof found))
        return a2d_fail(error, A2D_ERROR_INTERPRETER,
                        "found no Python beside %s or in the folders above it; give a2d_open_options.python the "
                        "interpreter of an environment in which a2d is installed", found);
    python = OR(python, found);
    if (!a2d_arena_open(&model->arena, why, sizeof why))
        return a2d_fail(error, A2D_ERROR_SYSTEM, "no file in memory for pixels: %s", why);
    /* -E: the host's PYTHONHOME and PYTHONPATH are for its own interpreter. -P: no module out of the current folder. */
    const char *const arguments[] = {python, "-E", "-P", "-m", "a2d.runtime.host.worker", "--pixels", NULL};
    if (a2d_child_start(&model->child, python, arguments, options->environment, &model->arena, why, sizeof why))
        return A2D_OK;
    a2d_arena_close(&model->arena);
    return a2d_fail(error, A2D_ERROR_INTERPRETER,
                    "cannot start %s: %s; a2d_open_options.python is the interpreter of an environment in which a2d is "
                    "installed", python, why);
}

/* The lock is held meanwhile, so that no thread sees half of them started. */
static bool start_threads(a2d_model *model) {
    a2d_lock(&model->lock);
    model->reading = a2d_thread_start(&model->reader, a2d_reader, model);
    model->writing = model->reading && a2d_thread_start(&model->writer, a2d_writer, model);
    model->listening = model->writing && a2d_thread_start(&model->listener, a2d_listener, model);
    model->started = model->reading + model->writing + model->listening;
    a2d_unlock(&model->lock);
    return model->started == 3;
}

/* With the lock held: a state in which nothing more is started, no generation runs, and the worker has been told. */
static void say_goodbye(a2d_model *model) {
    if (model->failure.status == A2D_OK)
        a2d_fail(&model->failure, A2D_ERROR_CLOSED, "the model was closed before this generation had ended");
    bool lost = model->state == A2D_BROKEN;
    model->state = A2D_CLOSING;
    while (model->first != NULL)
        a2d_generation_end(model->first, A2D_ERROR_CLOSED, "the model was closed before this generation had ended");
    if (!lost)
        a2d_frame_empty(&model->outbox, A2D_CLOSE, 0);
    model->sent_all = true;
    a2d_cond_broadcast(&model->changed);
}

/* All but the memory, which generations may still need. The reader does away with the worker, unless there is no reader. */
static void shut_down(a2d_model *model, uint32_t grace_ms) {
    a2d_lock(&model->lock);
    say_goodbye(model);
    uint64_t deadline = a2d_deadline(grace_ms);
    while (model->reading && a2d_left(deadline, 1) > 0)
        a2d_cond_wait(&model->changed, &model->lock, deadline);
    a2d_unlock(&model->lock);
    a2d_child_hang_up(&model->child);
    a2d_thread *threads[] = {&model->reader, &model->writer, &model->listener};
    for (int i = 0; i < model->started; i++)
        a2d_thread_join(threads[i]);
    if (model->started == 0)
        a2d_child_kill(&model->child);
    a2d_child_close(&model->child);
    a2d_arena_close(&model->arena);
    a2d_bytes_free(&model->outbox);
}

/* Wait until the bundle is loaded, or is not. */
static a2d_status await_opened(a2d_model *model, const char *path, uint32_t timeout_ms, a2d_error *error) {
    uint64_t deadline = a2d_deadline(timeout_ms);
    a2d_status status = A2D_OK;
    a2d_lock(&model->lock);
    while (model->state == A2D_OPENING && a2d_left(deadline, 1) > 0)
        a2d_cond_wait(&model->changed, &model->lock, deadline);
    if (model->state == A2D_OPENING)
        status = a2d_fail(error, A2D_ERROR_HUNG,
                          "%s was not loaded within %u ms, and the worker was ended; raise open_timeout_ms if the bundle is "
                          "large or the disk slow. It had said on stderr: %s", path, (unsigned)timeout_ms,
                          model->said_length ? model->said : "nothing");
    else if (model->state == A2D_BROKEN)
        status = a2d_fail(error, model->failure.status, "%s", model->failure.message);
    a2d_unlock(&model->lock);
    return status;
}

static a2d_status start_worker(a2d_model *model, const char *path, const a2d_open_options *options, a2d_error *error) {
    a2d_status status = launch(model, options, error);
    if (status != A2D_OK)
        return status;
    if (!post_open(model, path, options))
        status = a2d_fail(error, A2D_ERROR_ARGUMENT, "the path or an option is longer than a message may be");
    else if (!start_threads(model))
        status = a2d_fail(error, A2D_ERROR_SYSTEM, "no more threads; close something else first");
    else
        status = await_opened(model, path, OR(options->open_timeout_ms, 120000), error);
    if (status != A2D_OK)
        shut_down(model, 0);
    return status;
}

a2d_status a2d_open(const char *path, const a2d_open_options *given, a2d_model **model, a2d_error *error) {
    const a2d_open_options usual = A2D_OPEN_OPTIONS_INIT;
    a2d_open_options options;
    if (model != NULL)
        *model = NULL;
    if (path == NULL || *path == '\0' || model == NULL)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "a2d_open: got no path or no place for the model; give both");
    if (!a2d_struct_in(&options, sizeof options, OR(given, &usual)))
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "a2d_open: the options' size is not one; use A2D_OPEN_OPTIONS_INIT, and "
                                                   "a header that is not newer than the library (%s)", A2D_VERSION);
    a2d_model *made = new_model(&options);
    if (made == NULL)
        return a2d_fail(error, A2D_ERROR_MEMORY, "out of memory for a model");
    a2d_status status = start_worker(made, path, &options, error);
    if (status == A2D_OK)
        *model = made;
    else
        a2d_model_drop(made);
    return status;
}

a2d_status a2d_describe(a2d_model *model, a2d_info *info) {
    if (model == NULL || info == NULL)
        return A2D_ERROR_ARGUMENT;
    const a2d_opened *opened = &model->opened;
    const a2d_info made = {
        .size = sizeof made,
        .block_size = opened->block_size,
        .max_context = opened->max_context,
        .vision = opened->vision,
        .process = (uint64_t)model->child.id,
        .version = opened->version,
        .name = opened->name,
        .precision = opened->precision,
        .engine = opened->engine,
        .films = opened->films,
        .film_frames = opened->frames,
        .film_height = opened->height,
        .film_width = opened->width,
        .film_fps = opened->fps,
    };
    a2d_struct_out(info, &made, sizeof made);
    return A2D_OK;
}

a2d_status a2d_close(a2d_model *model) {
    if (model == NULL)
        return A2D_OK;
    if (a2d_thread_is_this(&model->reader))
        return A2D_ERROR_STATE;
    shut_down(model, model->close_ms);
    a2d_model_drop(model);
    return A2D_OK;
}
