/* Bytes being written and bytes being read: little-endian numbers, and texts with their length in front. Knows no
 * message. A writer that runs out of memory and a reader that runs out of bytes remember it; the user asks once, at the end. */
#ifndef A2D_BYTES_H
#define A2D_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The length that stands for "no text", which is not the same as an empty one. */
#define A2D_ABSENT UINT32_MAX

/** A buffer that grows; all zeros is an empty one. */
typedef struct a2d_bytes {
    uint8_t *data;
    size_t length;
    size_t capacity;
    bool failed; /**< out of memory: what was written since is lost */
} a2d_bytes;

void a2d_put(a2d_bytes *to, const void *data, size_t length);
void a2d_put_u8(a2d_bytes *to, uint8_t value);
void a2d_put_u32(a2d_bytes *to, uint32_t value);
void a2d_put_u64(a2d_bytes *to, uint64_t value);
void a2d_put_f32(a2d_bytes *to, float value);
void a2d_put_f64(a2d_bytes *to, double value);
/** A text, or A2D_ABSENT for NULL. */
void a2d_put_text(a2d_bytes *to, const char *text);
void a2d_bytes_free(a2d_bytes *bytes);

/** A place in somebody else's bytes. */
typedef struct a2d_cursor {
    const uint8_t *at;
    size_t left;
    bool failed; /**< something did not fit: all that was taken since is zero */
} a2d_cursor;

uint8_t a2d_take_u8(a2d_cursor *from);
uint32_t a2d_take_u32(a2d_cursor *from);
uint64_t a2d_take_u64(a2d_cursor *from);
float a2d_take_f32(a2d_cursor *from);
double a2d_take_f64(a2d_cursor *from);
/** A copy of a text, with a zero byte behind it, to be freed; its length in *length, which may be NULL. NULL where it does
 * not fit, or there is no memory: the cursor has failed then. */
char *a2d_take_text(a2d_cursor *from, size_t *length);
/** Everything was there, and nothing is left. */
bool a2d_cursor_done(const a2d_cursor *from);

#endif
