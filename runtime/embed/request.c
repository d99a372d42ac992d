/* A request on its way to the worker, for text or for a film: checked, its pixels in the arena, its frame in the outbox. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

static const uint32_t channels[] = A2D_CHANNELS; /* by a2d_pixel_format */

#define MOST_BYTES (1ull << 30) /* of one image: the worker's budget of pixels is far below */

/* One of the two kinds, and its images. */
typedef struct wanted {
    const a2d_request *words;
    const a2d_film_request *film;
    const a2d_image *images;
    size_t image_count;
} wanted;

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

static a2d_status check_images(wanted of, a2d_error *error) {
    if (of.image_count > 0 && of.images == NULL)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "images: got NULL, and image_count is not 0");
    for (size_t i = 0; i < of.image_count; i++) {
        const char *fault = image_fault(&of.images[i]);
        if (fault != NULL)
            return a2d_fail(error, A2D_ERROR_ARGUMENT, "image %u of the request has %s", (unsigned)i, fault);
    }
    return A2D_OK;
}

static a2d_status check_words(const a2d_request *request, a2d_error *error) {
    if ((unsigned)request->prompt_format > A2D_PROMPT_TOKENS)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "prompt_format: got %d; see a2d_prompt_format",
                        (int)request->prompt_format);
    if (request->prompt == NULL && request->prompt_format != A2D_PROMPT_TEXT)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "prompt: got NULL, which asks the bundle's own question, with a "
                                                   "prompt_format that is not A2D_PROMPT_TEXT; give the prompt");
    if (!(request->threshold >= 0 && request->threshold <= 1))
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "threshold: got %g, expected 0 to 1", (double)request->threshold);
    return A2D_OK;
}

static a2d_status check_film(const a2d_model *model, const a2d_film_request *request, a2d_error *error) {
    if (request->prompt == NULL)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "prompt: got NULL; say what the film shows");
    if (request->on_frames == NULL)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "on_frames: got NULL, and frames have no other way to go; give a function");
    if (!model->opened.films)
        return a2d_fail(error, A2D_ERROR_BUNDLE, "%s writes text and does not film; open a bundle that films",
                        model->opened.name);
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

static bool pack_all(a2d_arena *arena, a2d_region region, wanted of, char *why, size_t why_size) {
    uint64_t offset = region.offset;
    for (size_t i = 0; i < of.image_count; i++) {
        if (of.images[i].path == NULL && !pack(arena, offset, &of.images[i], why, why_size))
            return false;
        offset += packed_bytes(&of.images[i]);
    }
    return true;
}

static void put_images(a2d_bytes *to, wanted of, uint64_t offset) {
    a2d_put_u32(to, (uint32_t)of.image_count);
    for (size_t i = 0; i < of.image_count; i++) {
        const a2d_image *image = &of.images[i];
        const struct {
            const char *path;
            uint64_t offset;
            uint32_t width, height;
            a2d_pixel_format layout;
        } sent = {image->path, offset, image->width, image->height, image->format}, *from = &sent;
        a2d_put_u8(to, image->path != NULL ? A2D_IMAGE_PATH : A2D_IMAGE_PIXELS);
        if (image->path != NULL) {
            A2D_IMAGE_PATH_FIELDS(A2D_PUT)
        } else {
            A2D_IMAGE_PIXELS_FIELDS(A2D_PUT)
        }
        offset += packed_bytes(image);
    }
}

#define A2D_PUT_images(name) put_images(to, of, offset);

static void put_words(a2d_bytes *to, const a2d_request *from, wanted of, uint64_t offset) {
    A2D_GENERATE_FIELDS(A2D_PUT)
}

static void put_film(a2d_bytes *to, const a2d_film_request *from, wanted of, uint64_t offset) {
    A2D_FILM_FIELDS(A2D_PUT)
}

static bool post(a2d_generation *generation, wanted of) {
    a2d_bytes *to = &generation->model->outbox;
    size_t begin = a2d_frame_begin(to, of.film != NULL ? A2D_FILM : A2D_GENERATE, generation->id);
    if (of.film != NULL)
        put_film(to, of.film, of, generation->region.offset);
    else
        put_words(to, of.words, of, generation->region.offset);
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
static a2d_status leave(a2d_generation *generation, wanted of, a2d_error *error) {
    a2d_model *model = generation->model;
    if (model->state != A2D_IS_OPEN)
        return a2d_fail(error, model->failure.status, "%s", model->failure.message);
    generation->id = model->last_id + 1;
    if (!post(generation, of))
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

static a2d_status begin(a2d_generation *generation, wanted of, a2d_error *error) {
    a2d_model *model = generation->model;
    uint64_t bytes = 0;
    char why[256] = "out of memory";
    for (size_t i = 0; i < of.image_count; i++)
        bytes += packed_bytes(&of.images[i]);
    a2d_lock(&model->lock);
    a2d_status status = enter(generation, bytes, error);
    a2d_unlock(&model->lock);
    if (status != A2D_OK)
        return status;
    if (!pack_all(&model->arena, generation->region, of, why, sizeof why))
        status = a2d_fail(error, A2D_ERROR_SYSTEM, "no room for %llu bytes of pixels: %s", (unsigned long long)bytes, why);
    a2d_lock(&model->lock);
    if (status == A2D_OK)
        status = leave(generation, of, error);
    if (status != A2D_OK)
        a2d_generation_unlist(generation);
    a2d_unlock(&model->lock);
    if (status != A2D_OK)
        a2d_model_drop(model);
    return status;
}

/* Hand out `like`, a generation with a model and callbacks, and send it off. */
static a2d_status launch(const a2d_generation *like, wanted of, a2d_generation **generation, a2d_error *error) {
    a2d_status status = check_images(of, error);
    if (status != A2D_OK)
        return status;
    a2d_generation *made = calloc(1, sizeof *made);
    if (made == NULL)
        return a2d_fail(error, A2D_ERROR_MEMORY, "out of memory for a generation");
    *made = *like;
    /* Before the worker hears of it: a callback may come before this function has returned. */
    *generation = made;
    status = begin(made, of, error);
    if (status != A2D_OK) {
        *generation = NULL;
        a2d_generation_free(made);
    }
    return status;
}

/* Whether all is there, and the caller's request, of whatever size, is copied into ours. */
static a2d_status receive(const char *call, a2d_model *model, const void *given, void *request, size_t known,
                          a2d_generation **generation, a2d_error *error) {
    if (generation != NULL)
        *generation = NULL;
    if (model == NULL || given == NULL || generation == NULL)
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "%s: got NULL as model, request or generation", call);
    if (!a2d_struct_in(request, known, given))
        return a2d_fail(error, A2D_ERROR_ARGUMENT, "%s: the request's size is not one; use its _INIT macro, and a header "
                                                   "that is not newer than the library (%s)", call, A2D_VERSION);
    return A2D_OK;
}

a2d_status a2d_start(a2d_model *model, const a2d_request *given, a2d_generation **generation, a2d_error *error) {
    a2d_request request;
    a2d_status status = receive("a2d_start", model, given, &request, sizeof request, generation, error);
    if (status == A2D_OK)
        status = check_words(&request, error);
    if (status != A2D_OK)
        return status;
    const wanted of = {.words = &request, .images = request.images, .image_count = request.image_count};
    const a2d_generation like = {
        .model = model, .on_step = request.on_step, .on_done = request.on_done, .user = request.user};
    return launch(&like, of, generation, error);
}

a2d_status a2d_film(a2d_model *model, const a2d_film_request *given, a2d_generation **generation, a2d_error *error) {
    a2d_film_request request;
    a2d_status status = receive("a2d_film", model, given, &request, sizeof request, generation, error);
    if (status == A2D_OK)
        status = check_film(model, &request, error);
    if (status != A2D_OK)
        return status;
    const wanted of = {.film = &request, .images = request.image, .image_count = request.image != NULL};
    const a2d_generation like = {.model = model, .films = true, .on_frames = request.on_frames, .on_step = request.on_step,
                                 .on_done = request.on_done, .user = request.user};
    return launch(&like, of, generation, error);
}
