#include <stdlib.h>
#include <string.h>

#include "model.h"

/* -- callbacks and ends, with the lock held */

a2d_generation *a2d_generation_find(a2d_model *model, uint32_t id) {
    a2d_generation *found = model->first;
    while (found != NULL && found->id != id)
        found = found->next;
    return found;
}

void a2d_generation_unlist(a2d_generation *generation) {
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
    a2d_generation_unlist(generation);
    generation->status = status;
    if (message != NULL && (generation->message = malloc(strlen(message) + 1)) != NULL)
        strcpy(generation->message, message);
    a2d_cond_broadcast(&generation->model->changed);
}

void a2d_generation_free(a2d_generation *generation) {
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
        a2d_generation_free(generation);
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

void a2d_generation_frames(a2d_generation *generation, const a2d_frames *frames) {
    generation->given += frames->count;
    begin_callback(generation);
    int stop = generation->on_frames(frames, generation->user);
    if (end_callback(generation) && stop)
        send_cancel(generation);
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
    a2d_generation_unlist(generation);
    if (generation->called && a2d_thread_is_this(&model->reader)) {
        generation->released = true;
        a2d_unlock(&model->lock);
        return;
    }
    while (generation->called)
        a2d_cond_wait(&model->changed, &model->lock, A2D_NEVER);
    a2d_unlock(&model->lock);
    a2d_generation_free(generation);
    a2d_model_drop(model);
}
