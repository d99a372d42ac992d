#include <stdlib.h>
#include <string.h>

#include "model.h"

static const uint32_t channels[] = {[A2D_RGB8] = 3, [A2D_RGBA8] = 4, [A2D_BGR8] = 3, [A2D_BGRA8] = 4, [A2D_GRAY8] = 1};

enum { PATH = 0, PIXELS = 1 };  /* how an image travels */
#define MOST_BYTES (1ull << 30) /* of one image: the worker's budget of pixels is far below */

/* -- callbacks and ends, with the lock held */

a2d_generation *a2d_generation_find(a2d_model *model, uint32_t id) {
    a2d_generation *found = model->first;
    while (found != NULL && found->id != id)
        found = found->next;
    return found;
}

static void unlist(a2d_generation *generation) {
    a2d_generation **place = &generation->model->first;
    while (*place != NULL && *place != generation)
        place = &(*place)->next;
    if (*place != NULL)
        *place = generation->next;
    generation->next = NULL;
    if (generation->region.length)
        a2d_arena_give(&generation->model->arena, generation->region);
    generation->region.length = 0;
}

void a2d_generation_end(a2d_generation *generation, a2d_status status, const char *message) {
    unlist(generation);
    generation->status = status;
    if (message != NULL && (generation->message = malloc(strlen(message) + 1)) != NULL)
        strcpy(generation->message, message);
    a2d_cond_broadcast(&generation->model->changed);
}

static void free_generation(a2d_generation *generation) {
    a2d_step_free(&generation->latest);
    a2d_step_free(&generation->shown);
    a2d_result_free(&generation->result);
    free(generation->message);
    free(generation);
}

static void begin_callback(a2d_generation *generation) {
    generation->called = true;
    a2d_unlock(&generation->model->lock);
}

/* False where the callback has released the generation, which is freed then. */
static bool end_callback(a2d_generation *generation) {
    a2d_model *model = generation->model;
    a2d_lock(&model->lock);
    generation->called = false;
    if (generation->released) {
        model->uses--; /* never the last one: a2d_close waits for the thread that we are on */
        free_generation(generation);
        return false;
    }
    a2d_cond_broadcast(&model->changed);
    return true;
}

void a2d_generation_tell(a2d_generation *generation) {
    a2d_status status = generation->status;
    if (generation->on_done == NULL)
        return;
    begin_callback(generation);
    generation->on_done(generation, status, generation->user);
    end_callback(generation);
}

static void send_cancel(a2d_generation *generation) {
    if (generation->status == A2D_RUNNING && a2d_frame_empty(&generation->model->outbox, A2D_CANCEL, generation->id))
        a2d_cond_broadcast(&generation->model->changed);
}

void a2d_generation_step(a2d_generation *generation, a2d_step *step) {
    if (generation->on_step != NULL) {
        begin_callback(generation);
        int stop = generation->on_step(step, generation->user);
        if (!end_callback(generation)) {
            a2d_step_free(step);
            return;
        }
        if (stop)
            send_cancel(generation);
    }
    a2d_step_free(&generation->latest);
    generation->latest = *step;
}

/* -- a request on its way */

static const char *image_fault(const a2d_image *image) {
    if (image->path != NULL)
        return image->pixels == NULL ? NULL : "both a path and pixels; give one of them";
    if (image->pixels == NULL)
        return "neither a path nor pixels; give one of them";
    if ((unsigned)image->format >= sizeof channels / sizeof *channels)
        return "an unknown pixel format; see a2d_pixel_format";
    if (image->width == 0 || image->height == 0)
        return "no pixels in it; width and height are at least 1";
    uint64_t row = (uint64_t)image->width * channels[image->format];
    if (row > MOST_BYTES / image->height)
        return "more than a gigabyte of pixels; make it smaller";
    uint64_t stride = image->stride < 0 ? 0 - (uint64_t)image->stride : (uint64_t)image->stride;
    return stride != 0 && stride < row ? "a stride that is shorter than a row; it is in bytes" : NULL;
}

static a2d_status check(const a2d_request *request, a2d_error *error) {
    if ((unsigned)request->prompt_format > A2D_PROMPT_TOKENS)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "prompt_format: got %d; see a2d_prompt_format",
                        (int)request->prompt_format);
    if (request->prompt == NULL && request->prompt_format != A2D_PROMPT_TEXT)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "prompt: got NULL, which asks the bundle's own question, with a "
                                                   "prompt_format that is not A2D_PROMPT_TEXT; give the prompt");
    if (!(request->threshold >= 0 && request->threshold <= 1))
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "threshold: got %g, expected 0 to 1", (double)request->threshold);
    if (request->image_count > 0 && request->images == NULL)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "images: got NULL, and image_count is not 0");
    for (size_t i = 0; i < request->image_count; i++) {
        const char *fault = image_fault(&request->images[i]);
        if (fault != NULL)
            return a2d_fail(error, A2D_ERROR_ARGUMENT, "image %u of the request has %s", (unsigned)i, fault);
    }
    return A2D_OK;
}

static uint64_t packed_bytes(const a2d_image *image) {
    return image->path != NULL ? 0 : (uint64_t)image->width * image->height * channels[image->format];
}

/* Rows without gaps, top first; many at a time, since a write costs more than a copy. */
static bool pack(a2d_arena *arena, uint64_t offset, const a2d_image *image, char *why, size_t why_size) {
    size_t row = (size_t)image->width * channels[image->format];
    ptrdiff_t stride = image->stride ? image->stride : (ptrdiff_t)row;
    if (stride == (ptrdiff_t)row)
        return a2d_arena_write(arena, offset, image->pixels, row * image->height, why, why_size);
    size_t rows = row < (1u << 18) ? (1u << 18) / row : 1;
    uint8_t *chunk = malloc(rows * row);
    bool written = chunk != NULL;
    for (uint32_t y = 0; y < image->height && written; y += (uint32_t)rows) {
        size_t count = image->height - y < rows ? image->height - y : rows;
        for (size_t i = 0; i < count; i++)
            memcpy(chunk + i * row, image->pixels + stride * (ptrdiff_t)(y + i), row);
        written = a2d_arena_write(arena, offset + (uint64_t)y * row, chunk, count * row, why, why_size);
    }
    free(chunk);
    return written;
}

static bool pack_all(a2d_arena *arena, a2d_region region, const a2d_request *request, char *why, size_t why_size) {
    uint64_t offset = region.offset;
    for (size_t i = 0; i < request->image_count; i++) {
        const a2d_image *image = &request->images[i];
        if (image->path == NULL && !pack(arena, offset, image, why, why_size))
            return false;
        offset += packed_bytes(image);
    }
    return true;
}

static bool post(a2d_generation *generation, const a2d_request *request) {
    a2d_bytes *to = &generation->model->outbox;
    uint64_t offset = generation->region.offset;
    size_t begin = a2d_frame_begin(to, A2D_GENERATE, generation->id);
    a2d_put_u8(to, (uint8_t)request->prompt_format);
    a2d_put_text(to, request->prompt);
    a2d_put_u32(to, request->max_tokens);
    a2d_put_u32(to, request->steps);
    a2d_put_f32(to, request->threshold);
    a2d_put_text(to, request->options);
    a2d_put_u32(to, (uint32_t)request->image_count);
    for (size_t i = 0; i < request->image_count; i++) {
        const a2d_image *image = &request->images[i];
        a2d_put_u8(to, image->path != NULL ? PATH : PIXELS);
        if (image->path != NULL) {
            a2d_put_text(to, image->path);
            continue;
        }
        a2d_put_u64(to, offset);
        a2d_put_u32(to, image->width);
        a2d_put_u32(to, image->height);
        a2d_put_u8(to, (uint8_t)image->format);
        offset += packed_bytes(image);
    }
    return a2d_frame_end(to, begin);
}

/* A place in the queue and one in the arena. With the lock held. */
static a2d_status enter(a2d_generation *generation, uint64_t bytes, a2d_error *error) {
    a2d_model *model = generation->model;
    if (model->state != A2D_IS_OPEN)
        return a2d_fail(error, model->failure.status, "%s", model->failure.message);
    if (model->last_id == UINT32_MAX)
        return a2d_fail(error, A2D_ERROR_SYSTEM, "four billion generations came before this one; open the bundle again");
    if (bytes && !a2d_arena_take(&model->arena, bytes, &generation->region))
        return a2d_fail(error, A2D_ERROR_MEMORY, "out of memory for a request");
    a2d_model_hold(model);
    return A2D_OK;
}

/* Into the list and the outbox. With the lock held. */
static a2d_status leave(a2d_generation *generation, const a2d_request *request, a2d_error *error) {
    a2d_model *model = generation->model;
    if (model->state != A2D_IS_OPEN)
        return a2d_fail(error, model->failure.status, "%s", model->failure.message);
    generation->id = model->last_id + 1;
    if (!post(generation, request))
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "the request does not fit a message of %u bytes, or memory ran out; "
                                                   "shorten the prompt", A2D_FRAME_LONGEST);
    model->last_id = generation->id;
    generation->status = A2D_RUNNING;
    a2d_generation **last = &model->first;
    while (*last != NULL)
        last = &(*last)->next;
    *last = generation;
    a2d_cond_broadcast(&model->changed);
    return A2D_OK;
}

static a2d_status begin(a2d_generation *generation, const a2d_request *request, a2d_error *error) {
    a2d_model *model = generation->model;
    uint64_t bytes = 0;
    char why[256] = "out of memory";
    for (size_t i = 0; i < request->image_count; i++)
        bytes += packed_bytes(&request->images[i]);
    a2d_lock(&model->lock);
    a2d_status status = enter(generation, bytes, error);
    a2d_unlock(&model->lock);
    if (status != A2D_OK)
        return status;
    if (!pack_all(&model->arena, generation->region, request, why, sizeof why))
        status = a2d_fail(error, A2D_ERROR_SYSTEM, "no room for %llu bytes of pixels: %s", (unsigned long long)bytes, why);
    a2d_lock(&model->lock);
    if (status == A2D_OK)
        status = leave(generation, request, error);
    if (status != A2D_OK)
        unlist(generation);
    a2d_unlock(&model->lock);
    if (status != A2D_OK)
        a2d_model_drop(model);
    return status;
}

a2d_status a2d_start(a2d_model *model, const a2d_request *given, a2d_generation **generation, a2d_error *error) {
    a2d_request request;
    if (generation != NULL)
        *generation = NULL;
    if (model == NULL || given == NULL || generation == NULL)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "a2d_start: got NULL as model, request or generation");
    if (!a2d_struct_in(&request, sizeof request, given))
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "a2d_start: the request's size is not one; use A2D_REQUEST_INIT, and "
                                                   "a header that is not newer than the library (%s)", A2D_VERSION);
    a2d_status status = check(&request, error);
    if (status != A2D_OK)
        return status;
    a2d_generation *made = calloc(1, sizeof *made);
    if (made == NULL)
        return a2d_fail(error, A2D_ERROR_MEMORY, "out of memory for a generation");
    made->model = model;
    made->on_step = request.on_step;
    made->on_done = request.on_done;
    made->user = request.user;
    /* Before the worker hears of it: a callback may come before this function has returned. */
    *generation = made;
    status = begin(made, &request, error);
    if (status != A2D_OK) {
        *generation = NULL;
        free_generation(made);
    }
    return status;
}

/* -- asking about one */

static a2d_status outcome(a2d_generation *generation, a2d_result *result, a2d_error *error) {
    a2d_status status = generation->status;
    if (status == A2D_OK && result != NULL)
        a2d_struct_out(result, &generation->result, sizeof generation->result);
    if (status < 0)
        a2d_fail(error, status, "%s", generation->message ? generation->message : "out of memory for the message");
    return status;
}

a2d_status a2d_wait(a2d_generation *generation, uint32_t timeout_ms, a2d_result *result, a2d_error *error) {
    if (generation == NULL)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "a2d_wait: got NULL as generation");
    a2d_model *model = generation->model;
    uint64_t deadline = a2d_deadline(timeout_ms);
    a2d_lock(&model->lock);
    a2d_status status = A2D_OK;
    if (generation->status == A2D_RUNNING && timeout_ms > 0 && a2d_thread_is_this(&model->reader))
        status = a2d_fail(error, A2D_ERROR_STATE, "a2d_wait: waiting in a callback would wait for itself; use a2d_poll");
    while (status == A2D_OK && generation->status == A2D_RUNNING && a2d_left(deadline, 1) > 0)
        a2d_cond_wait(&model->changed, &model->lock, deadline);
    if (status == A2D_OK)
        status = outcome(generation, result, error);
    a2d_unlock(&model->lock);
    return status;
}

a2d_status a2d_poll(a2d_generation *generation, a2d_step *step) {
    if (generation == NULL)
        return A2D_ERROR_ARGUMENT;
    a2d_lock(&generation->model->lock);
    if (generation->latest.text != NULL) {
        a2d_step_free(&generation->shown);
        generation->shown = generation->latest;
        generation->latest = (a2d_step){0};
    }
    a2d_step shown = generation->shown;
    a2d_status status = generation->status;
    a2d_unlock(&generation->model->lock);
    if (shown.text == NULL)
        shown.text = "";
    if (step != NULL)
        a2d_struct_out(step, &shown, sizeof shown);
    return status;
}

void a2d_cancel(a2d_generation *generation) {
    if (generation == NULL)
        return;
    a2d_lock(&generation->model->lock);
    send_cancel(generation);
    a2d_unlock(&generation->model->lock);
}

void a2d_release(a2d_generation *generation) {
    if (generation == NULL)
        return;
    a2d_model *model = generation->model;
    a2d_lock(&model->lock);
    send_cancel(generation);
    unlist(generation);
    if (generation->called && a2d_thread_is_this(&model->reader)) {
        generation->released = true;
        a2d_unlock(&model->lock);
        return;
    }
    while (generation->called)
        a2d_cond_wait(&model->changed, &model->lock, A2D_NEVER);
    a2d_unlock(&model->lock);
    free_generation(generation);
    a2d_model_drop(model);
}
