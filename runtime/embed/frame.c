#include "frame.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t magic[3] = {'a', '2', 'd'};

size_t a2d_frame_begin(a2d_bytes *to, a2d_kind kind, uint32_t id) {
    size_t begin = to->length;
    a2d_put(to, magic, sizeof magic);
    a2d_put_u8(to, A2D_FRAME_VERSION);
    a2d_put_u32(to, (uint32_t)kind); /* u16 kind, u16 zero */
    a2d_put_u32(to, id);
    a2d_put_u32(to, 0);
    return begin;
}

bool a2d_frame_end(a2d_bytes *to, size_t begin) {
    size_t length = to->length - begin - A2D_FRAME_HEADER;
    if (to->failed || length > A2D_FRAME_LONGEST) {
        to->length = begin;
        to->failed = false;
        return false;
    }
    for (size_t i = 0; i < 4; i++)
        to->data[begin + 12 + i] = (uint8_t)(length >> (8 * i));
    return true;
}

bool a2d_frame_empty(a2d_bytes *to, a2d_kind kind, uint32_t id) {
    return a2d_frame_end(to, a2d_frame_begin(to, kind, id));
}

const char *a2d_header_read(const uint8_t bytes[A2D_FRAME_HEADER], a2d_header *header) {
    if (memcmp(bytes, magic, sizeof magic) != 0)
        return "no frame at all";
    if (bytes[3] != A2D_FRAME_VERSION)
        return "a frame of another version; install an a2d of the same release as this library";
    a2d_cursor from = {bytes + 4, A2D_FRAME_HEADER - 4, false};
    uint32_t kind = a2d_take_u32(&from);
    header->kind = (uint16_t)kind;
    header->id = a2d_take_u32(&from);
    header->length = a2d_take_u32(&from);
    if (kind > UINT16_MAX)
        return "a frame whose reserved bytes are not zero";
    return header->length > A2D_FRAME_LONGEST ? "a frame that is longer than frames may be" : NULL;
}

/* A number that has to be below `limit`. */
static uint8_t take_below(a2d_cursor *from, uint8_t limit) {
    uint8_t number = a2d_take_u8(from);
    from->failed = from->failed || number >= limit;
    return from->failed ? 0 : number;
}

/* Rows of wire.h that fill the members of `*into`; `length` is that of the latest text. */
#define TAKE(form, name) TAKE_##form(name)
#define TAKE_flag(name) into->name = take_below(&from, 2);
#define TAKE_name(name) into->name = take_below(&from, A2D_NAMES_##name);
#define TAKE_u32(name) into->name = a2d_take_u32(&from);
#define TAKE_i32(name) into->name = (int32_t)a2d_take_u32(&from);
#define TAKE_f32(name) into->name = a2d_take_f32(&from);
#define TAKE_f64(name) into->name = a2d_take_f64(&from);
#define TAKE_text(name) into->name = a2d_take_text(&from, &length);
#define TAKE_i32s(name) take_##name(&from, into);
#define TAKE_f32s(name) take_##name(&from, into);
#define TAKE_bytes(name) length = a2d_take_u32(&from), into->name = from.at;

bool a2d_opened_read(a2d_cursor from, a2d_opened *into) {
    size_t length = 0;
    *into = (a2d_opened){0};
    A2D_OPENED_FIELDS(TAKE)
    if (a2d_cursor_done(&from))
        return true;
    a2d_opened_free(into);
    return false;
}

/* Not a number is no probability either. */
static bool probability(float value) { return value >= 0 && value <= 1; }

bool a2d_step_read(a2d_cursor from, a2d_step *into) {
    size_t length = 0;
    *into = (a2d_step){.size = sizeof *into};
    A2D_STEP_FIELDS(TAKE)
    into->text_length = length;
    if (a2d_cursor_done(&from) && probability(into->confidence))
        return true;
    a2d_step_free(into);
    return false;
}

/* Room for a list of numbers of four bytes; NULL where the payload holds fewer. */
static void *take_count(a2d_cursor *from, uint32_t *count) {
    *count = a2d_take_u32(from);
    void *room = from->failed || *count > from->left / 4 ? NULL : malloc(((size_t)*count + 1) * 4);
    from->failed = room == NULL;
    return room;
}

static void take_token_ids(a2d_cursor *from, a2d_result *into) {
    int32_t *ids = take_count(from, &into->token_count);
    into->token_ids = ids;
    for (uint32_t i = 0; !from->failed && i < into->token_count; i++)
        ids[i] = (int32_t)a2d_take_u32(from);
}

/* One for each token. */
static void take_token_confidence(a2d_cursor *from, a2d_result *into) {
    uint32_t count;
    float *values = take_count(from, &count);
    into->token_confidence = values;
    bool whole = !from->failed && count == into->token_count;
    for (uint32_t i = 0; whole && i < count; i++)
        whole = probability(values[i] = a2d_take_f32(from));
    from->failed = !whole;
}

bool a2d_result_read(a2d_cursor from, a2d_result *into) {
    size_t length = 0;
    *into = (a2d_result){.size = sizeof *into, .modality = A2D_MODALITY_TEXT};
    A2D_DONE_FIELDS(TAKE)
    into->text_length = length;
    into->remarks = calloc(1, 1);
    if (a2d_cursor_done(&from) && into->remarks != NULL && probability(into->confidence))
        return true;
    a2d_result_free(into);
    return false;
}

bool a2d_denoised_read(a2d_cursor from, a2d_step *into) {
    *into = (a2d_step){.size = sizeof *into};
    A2D_DENOISED_FIELDS(TAKE)
    into->final = into->index + 1 == into->steps;
    into->text = calloc(1, 1);
    if (a2d_cursor_done(&from) && into->text != NULL && into->index < into->steps)
        return true;
    a2d_step_free(into);
    return false;
}

bool a2d_pixels_read(a2d_cursor from, a2d_frames *into) {
    size_t length = 0;
    *into = (a2d_frames){.size = sizeof *into};
    A2D_PIXELS_FIELDS(TAKE)
    into->length = length;
    uint64_t rows = (uint64_t)into->count * into->height; /* each of these products fits: payloads are short */
    return !from.failed && length == from.left && into->width > 0 && rows > 0 && rows <= A2D_FRAME_LONGEST
           && rows * into->width * 3 == length;
}

bool a2d_filmed_read(a2d_cursor from, a2d_result *into) {
    size_t length = 0;
    *into = (a2d_result){.size = sizeof *into, .modality = A2D_MODALITY_PIXELS};
    A2D_FILMED_FIELDS(TAKE)
    into->text = calloc(1, 1);
    bool ended = into->stop == A2D_STOP_LENGTH || into->stop == A2D_STOP_CANCELLED;
    if (a2d_cursor_done(&from) && into->text != NULL && ended)
        return true;
    a2d_result_free(into);
    return false;
}

/* Errors that a worker may name: those of its own, not those of this library. */
static bool workers(int32_t status) {
    return status == A2D_ERROR_MEMORY || status == A2D_ERROR_PROTOCOL
           || (status <= A2D_ERROR_BUNDLE && status >= A2D_ERROR_INTERNAL);
}

bool a2d_failed_read(a2d_cursor from, a2d_status *status, char **message) {
    struct {
        int32_t status;
        char *message;
    } failed, *into = &failed;
    size_t length = 0;
    A2D_FAILED_FIELDS(TAKE)
    bool known = a2d_cursor_done(&from) && workers(failed.status);
    if (!known)
        free(failed.message);
    *status = known ? (a2d_status)failed.status : A2D_ERROR_PROTOCOL;
    *message = known ? failed.message : NULL;
    return known;
}

void a2d_opened_free(a2d_opened *opened) {
    free(opened->version);
    free(opened->name);
    free(opened->precision);
    free(opened->engine);
    *opened = (a2d_opened){0};
}

void a2d_step_free(a2d_step *step) {
    free((char *)step->text);
    *step = (a2d_step){0};
}

void a2d_result_free(a2d_result *result) {
    free((char *)result->text);
    free((int32_t *)result->token_ids);
    free((float *)result->token_confidence);
    free((char *)result->remarks);
    *result = (a2d_result){0};
}
