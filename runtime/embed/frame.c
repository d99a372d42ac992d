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

bool a2d_opened_read(a2d_cursor from, a2d_opened *opened) {
    *opened = (a2d_opened){0};
    opened->version = a2d_take_text(&from, NULL);
    opened->name = a2d_take_text(&from, NULL);
    opened->precision = a2d_take_text(&from, NULL);
    opened->engine = a2d_take_text(&from, NULL);
    opened->block_size = a2d_take_u32(&from);
    opened->max_context = a2d_take_u32(&from);
    opened->vision = a2d_take_u8(&from);
    opened->films = a2d_take_u8(&from);
    opened->frames = a2d_take_u32(&from);
    opened->height = a2d_take_u32(&from);
    opened->width = a2d_take_u32(&from);
    opened->fps = a2d_take_f64(&from);
    if (a2d_cursor_done(&from) && opened->vision <= 1 && opened->films <= 1)
        return true;
    a2d_opened_free(opened);
    return false;
}

/* Not a number is no probability either. */
static bool probability(float value) { return value >= 0 && value <= 1; }

bool a2d_step_read(a2d_cursor from, a2d_step *step) {
    *step = (a2d_step){.size = sizeof *step};
    step->block = a2d_take_u32(&from);
    step->index = a2d_take_u32(&from);
    step->accepted = a2d_take_u32(&from);
    step->masked = a2d_take_u32(&from);
    step->tokens = a2d_take_u32(&from);
    step->final = a2d_take_u8(&from);
    step->confidence = a2d_take_f32(&from);
    step->text = a2d_take_text(&from, &step->text_length);
    if (a2d_cursor_done(&from) && step->final <= 1 && probability(step->confidence))
        return true;
    a2d_step_free(step);
    return false;
}

static bool read_token_ids(a2d_cursor *from, a2d_result *result) {
    uint32_t count = a2d_take_u32(from);
    if (from->failed || count > from->left / 4)
        return false;
    int32_t *ids = malloc(((size_t)count + 1) * sizeof *ids);
    if (ids == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++)
        ids[i] = (int32_t)a2d_take_u32(from);
    result->token_count = count;
    result->token_ids = ids;
    return true;
}

/* One for each token. */
static bool read_confidences(a2d_cursor *from, a2d_result *result) {
    uint32_t count = a2d_take_u32(from);
    if (from->failed || count != result->token_count || count > from->left / 4)
        return false;
    float *values = malloc(((size_t)count + 1) * sizeof *values);
    if (values == NULL)
        return false;
    result->token_confidence = values;
    bool whole = true;
    for (uint32_t i = 0; i < count; i++)
        whole = probability(values[i] = a2d_take_f32(from)) && whole;
    return whole;
}

bool a2d_result_read(a2d_cursor from, a2d_result *result) {
    *result = (a2d_result){.size = sizeof *result};
    uint8_t stop = a2d_take_u8(&from);
    result->stop = (a2d_stop)stop;
    result->modality = A2D_MODALITY_TEXT;
    result->forwards = a2d_take_u32(&from);
    result->steps = a2d_take_u32(&from);
    result->blocks = a2d_take_u32(&from);
    result->prompt_tokens = a2d_take_u32(&from);
    result->cached_tokens = a2d_take_u32(&from);
    result->confidence = a2d_take_f32(&from);
    result->seconds = a2d_take_f64(&from);
    result->first_block_seconds = a2d_take_f64(&from);
    result->text = a2d_take_text(&from, &result->text_length);
    result->remarks = calloc(1, 1);
    bool whole = read_token_ids(&from, result) && read_confidences(&from, result) && a2d_cursor_done(&from);
    if (whole && result->remarks != NULL && stop <= A2D_STOP_BUDGET && probability(result->confidence))
        return true;
    a2d_result_free(result);
    return false;
}

bool a2d_denoised_read(a2d_cursor from, a2d_step *step) {
    *step = (a2d_step){.size = sizeof *step};
    step->block = a2d_take_u32(&from);
    step->index = a2d_take_u32(&from);
    step->steps = a2d_take_u32(&from);
    step->frames = a2d_take_u32(&from);
    step->final = step->index + 1 == step->steps;
    step->text = calloc(1, 1);
    if (a2d_cursor_done(&from) && step->text != NULL && step->index < step->steps)
        return true;
    a2d_step_free(step);
    return false;
}

bool a2d_pixels_read(a2d_cursor from, a2d_frames *frames) {
    *frames = (a2d_frames){.size = sizeof *frames};
    frames->block = a2d_take_u32(&from);
    frames->first = a2d_take_u32(&from);
    frames->count = a2d_take_u32(&from);
    frames->height = a2d_take_u32(&from);
    frames->width = a2d_take_u32(&from);
    uint32_t length = a2d_take_u32(&from);
    uint64_t rows = (uint64_t)frames->count * frames->height; /* each of these products fits: payloads are short */
    bool fits = !from.failed && length == from.left && frames->width > 0 && rows > 0 && rows <= A2D_FRAME_LONGEST
                && rows * frames->width * 3 == length;
    frames->pixels = from.at;
    frames->length = length;
    return fits;
}

bool a2d_filmed_read(a2d_cursor from, a2d_result *result) {
    *result = (a2d_result){.size = sizeof *result, .modality = A2D_MODALITY_PIXELS};
    uint8_t stop = a2d_take_u8(&from);
    result->stop = (a2d_stop)stop;
    result->forwards = a2d_take_u32(&from);
    result->steps = a2d_take_u32(&from);
    result->blocks = a2d_take_u32(&from);
    result->frames = a2d_take_u32(&from);
    result->height = a2d_take_u32(&from);
    result->width = a2d_take_u32(&from);
    result->fps = a2d_take_f64(&from);
    result->seconds = a2d_take_f64(&from);
    result->first_block_seconds = a2d_take_f64(&from);
    result->remarks = a2d_take_text(&from, NULL);
    result->text = calloc(1, 1);
    bool ended = stop == A2D_STOP_LENGTH || stop == A2D_STOP_CANCELLED;
    if (a2d_cursor_done(&from) && result->text != NULL && ended)
        return true;
    a2d_result_free(result);
    return false;
}

/* Errors that a worker may name: those of its own, not those of this library. */
static bool workers(int32_t status) {
    return status == A2D_ERROR_MEMORY || status == A2D_ERROR_PROTOCOL
           || (status <= A2D_ERROR_BUNDLE && status >= A2D_ERROR_INTERNAL);
}

bool a2d_failed_read(a2d_cursor from, a2d_status *status, char **message) {
    int32_t number = (int32_t)a2d_take_u32(&from);
    *message = a2d_take_text(&from, NULL);
    *status = A2D_ERROR_PROTOCOL;
    if (a2d_cursor_done(&from) && workers(number)) {
        *status = (a2d_status)number;
        return true;
    }
    free(*message);
    *message = NULL;
    return false;
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
