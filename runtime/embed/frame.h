/* The frames that host and worker exchange: a header of 16 bytes, then a payload. docs/embedding.md explains
 * them, and wire.h has their kinds and fields, written from the Python side's. Knows bytes, not processes.
 *
 *     offset  0  "a2d"      3 bytes
 *             3  version    u8, A2D_FRAME_VERSION
 *             4  kind       u16
 *             6  zero       u16
 *             8  id         u32, the generation that it is about; 0 is the worker as a whole
 *            12  length     u32, bytes of the payload, at most A2D_FRAME_LONGEST
 */
#ifndef A2D_FRAME_H
#define A2D_FRAME_H

#include "bytes.h"

#include "a2d.h"
#include "wire.h"

/** Rows of wire.h that write the members of `*from` to the bytes `to`. */
#define A2D_PUT(form, name) A2D_PUT_##form(name)
#define A2D_PUT_u32(name) a2d_put_u32(to, from->name);
#define A2D_PUT_u64(name) a2d_put_u64(to, from->name);
#define A2D_PUT_f32(name) a2d_put_f32(to, from->name);
#define A2D_PUT_name(name) a2d_put_u8(to, (uint8_t)from->name);
#define A2D_PUT_text(name) a2d_put_text(to, from->name);

typedef struct a2d_header {
    uint16_t kind;
    uint32_t id;
    uint32_t length;
} a2d_header;

/** Begin a frame; write the payload, then end it. Returns where it begins, for a2d_frame_end. */
size_t a2d_frame_begin(a2d_bytes *to, a2d_kind kind, uint32_t id);
/** Fill in the length. False where the payload is too long, or memory ran out: the frame is taken away again then. */
bool a2d_frame_end(a2d_bytes *to, size_t begin);
/** A frame without a payload. */
bool a2d_frame_empty(a2d_bytes *to, a2d_kind kind, uint32_t id);

/** Read a header. NULL, or what is wrong with it. */
const char *a2d_header_read(const uint8_t bytes[A2D_FRAME_HEADER], a2d_header *header);

/** The payload of OPENED. Its texts are to be freed. */
typedef struct a2d_opened {
    char *version, *name, *precision, *engine;
    uint32_t block_size, max_context, vision;
    uint32_t films, frames, height, width;
    double fps;
} a2d_opened;

/* Each reads one payload; false where it is malformed, with nothing to be freed. Texts and lists are the caller's. */
bool a2d_opened_read(a2d_cursor from, a2d_opened *opened);
bool a2d_step_read(a2d_cursor from, a2d_step *step);
bool a2d_result_read(a2d_cursor from, a2d_result *result);
bool a2d_denoised_read(a2d_cursor from, a2d_step *step);
bool a2d_filmed_read(a2d_cursor from, a2d_result *result);
bool a2d_failed_read(a2d_cursor from, a2d_status *status, char **message);

/** The pixels stay where the payload has them. */
bool a2d_pixels_read(a2d_cursor from, a2d_frames *frames);

void a2d_opened_free(a2d_opened *opened);
void a2d_step_free(a2d_step *step);
void a2d_result_free(a2d_result *result);

#endif
