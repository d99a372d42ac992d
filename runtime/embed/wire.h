/* Written by packaging/wire_header.py from runtime/host/wire.py and messages.py; `make wire` writes it again.
 *
 * Kinds of frames, and the fields of each payload in their order, as rows ROW(form, name). Forms are numbers (u32, u64,
 * i32, f32, f64); flag, a u8 that is 0 or 1; name, a u8 below A2D_NAMES_name; text and bytes, behind their length; and
 * lists, behind their count. Names are those of the structs of a2d.h. */
#ifndef A2D_WIRE_H
#define A2D_WIRE_H

#define A2D_FRAME_VERSION 3
#define A2D_FRAME_HEADER 16
#define A2D_FRAME_LONGEST 16777216u

typedef enum a2d_kind {
    A2D_OPEN = 1,
    A2D_GENERATE = 2,
    A2D_CANCEL = 3,
    A2D_PING = 4,
    A2D_CLOSE = 5,
    A2D_FILM = 6,
    A2D_OPENED = 65,
    A2D_STEP = 66,
    A2D_DONE = 67,
    A2D_FAILED = 68,
    A2D_PONG = 69,
    A2D_DENOISED = 70,
    A2D_PIXELS = 71,
    A2D_FILMED = 72
} a2d_kind;

enum {
    A2D_IMAGE_PATH = 0,
    A2D_IMAGE_PIXELS = 1
};

#define A2D_NAMES_prompt_format 4
#define A2D_NAMES_stop 6
#define A2D_NAMES_layout 5
/* Bytes of a pixel, by layout. */
#define A2D_CHANNELS {3, 4, 3, 4, 1}

#define A2D_OPEN_FIELDS(ROW) \
    ROW(text, path) \
    ROW(text, precision) \
    ROW(text, engine) \
    ROW(text, device) \
    ROW(u32, threads)

#define A2D_GENERATE_FIELDS(ROW) \
    ROW(name, prompt_format) \
    ROW(text, prompt) \
    ROW(u32, max_tokens) \
    ROW(u32, steps) \
    ROW(f32, threshold) \
    ROW(text, options) \
    ROW(images, images)

#define A2D_FILM_FIELDS(ROW) \
    ROW(text, prompt) \
    ROW(u32, frames) \
    ROW(u32, height) \
    ROW(u32, width) \
    ROW(u32, steps) \
    ROW(u64, seed) \
    ROW(text, options) \
    ROW(images, images)

#define A2D_OPENED_FIELDS(ROW) \
    ROW(text, version) \
    ROW(text, name) \
    ROW(text, precision) \
    ROW(text, engine) \
    ROW(u32, block_size) \
    ROW(u32, max_context) \
    ROW(flag, vision) \
    ROW(flag, films) \
    ROW(u32, frames) \
    ROW(u32, height) \
    ROW(u32, width) \
    ROW(f64, fps)

#define A2D_STEP_FIELDS(ROW) \
    ROW(u32, block) \
    ROW(u32, index) \
    ROW(u32, accepted) \
    ROW(u32, masked) \
    ROW(u32, tokens) \
    ROW(flag, final) \
    ROW(f32, confidence) \
    ROW(text, text)

#define A2D_DONE_FIELDS(ROW) \
    ROW(name, stop) \
    ROW(u32, forwards) \
    ROW(u32, steps) \
    ROW(u32, blocks) \
    ROW(u32, prompt_tokens) \
    ROW(u32, cached_tokens) \
    ROW(f32, confidence) \
    ROW(f64, seconds) \
    ROW(f64, first_block_seconds) \
    ROW(text, text) \
    ROW(i32s, token_ids) \
    ROW(f32s, token_confidence)

#define A2D_FAILED_FIELDS(ROW) \
    ROW(i32, status) \
    ROW(text, message)

#define A2D_DENOISED_FIELDS(ROW) \
    ROW(u32, block) \
    ROW(u32, index) \
    ROW(u32, steps) \
    ROW(u32, frames)

#define A2D_PIXELS_FIELDS(ROW) \
    ROW(u32, block) \
    ROW(u32, first) \
    ROW(u32, count) \
    ROW(u32, height) \
    ROW(u32, width) \
    ROW(bytes, pixels)

#define A2D_FILMED_FIELDS(ROW) \
    ROW(name, stop) \
    ROW(u32, forwards) \
    ROW(u32, steps) \
    ROW(u32, blocks) \
    ROW(u32, frames) \
    ROW(u32, height) \
    ROW(u32, width) \
    ROW(f64, fps) \
    ROW(f64, seconds) \
    ROW(f64, first_block_seconds) \
    ROW(text, remarks)

#define A2D_IMAGE_PATH_FIELDS(ROW) \
    ROW(text, path)

#define A2D_IMAGE_PIXELS_FIELDS(ROW) \
    ROW(u64, offset) \
    ROW(u32, width) \
    ROW(u32, height) \
    ROW(name, layout)

#endif
