#include "bytes.h"

#include <stdlib.h>
#include <string.h>

static bool room(a2d_bytes *to, size_t length) {
    if (to->failed || length > SIZE_MAX / 2 - to->length) {
        to->failed = true;
        return false;
    }
    size_t wanted = to->length + length;
    if (wanted <= to->capacity)
        return true;
    size_t capacity = wanted < 256 ? 256 : wanted * 2;
    uint8_t *data = realloc(to->data, capacity);
    if (data == NULL) {
        to->failed = true;
        return false;
    }
    to->data = data;
    to->capacity = capacity;
    return true;
}

void a2d_put(a2d_bytes *to, const void *data, size_t length) {
    if (length == 0 || !room(to, length))
        return;
    memcpy(to->data + to->length, data, length);
    to->length += length;
}

static void put_number(a2d_bytes *to, uint64_t value, size_t width) {
    uint8_t bytes[8];
    for (size_t i = 0; i < width; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    a2d_put(to, bytes, width);
}

void a2d_put_u8(a2d_bytes *to, uint8_t value) { put_number(to, value, 1); }
void a2d_put_u32(a2d_bytes *to, uint32_t value) { put_number(to, value, 4); }
void a2d_put_u64(a2d_bytes *to, uint64_t value) { put_number(to, value, 8); }

void a2d_put_f32(a2d_bytes *to, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_number(to, bits, 4);
}

void a2d_put_f64(a2d_bytes *to, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_number(to, bits, 8);
}

void a2d_put_text(a2d_bytes *to, const char *text) {
    if (text == NULL) {
        a2d_put_u32(to, A2D_ABSENT);
        return;
    }
    size_t length = strlen(text);
    if (length >= A2D_ABSENT) {
        to->failed = true;
        return;
    }
    a2d_put_u32(to, (uint32_t)length);
    a2d_put(to, text, length);
}

void a2d_bytes_free(a2d_bytes *bytes) {
    free(bytes->data);
    *bytes = (a2d_bytes){0};
}

static const uint8_t *take(a2d_cursor *from, size_t length) {
    if (from->failed || length > from->left) {
        from->failed = true;
        return NULL;
    }
    const uint8_t *at = from->at;
    from->at += length;
    from->left -= length;
    return at;
}

static uint64_t take_number(a2d_cursor *from, size_t width) {
    const uint8_t *at = take(from, width);
    uint64_t value = 0;
    for (size_t i = 0; at != NULL && i < width; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

uint8_t a2d_take_u8(a2d_cursor *from) { return (uint8_t)take_number(from, 1); }
uint32_t a2d_take_u32(a2d_cursor *from) { return (uint32_t)take_number(from, 4); }
uint64_t a2d_take_u64(a2d_cursor *from) { return take_number(from, 8); }

float a2d_take_f32(a2d_cursor *from) {
    uint32_t bits = a2d_take_u32(from);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

double a2d_take_f64(a2d_cursor *from) {
    uint64_t bits = a2d_take_u64(from);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

char *a2d_take_text(a2d_cursor *from, size_t *length) {
    uint32_t size = a2d_take_u32(from);
    const uint8_t *at = take(from, size);
    char *text = at == NULL ? NULL : malloc((size_t)size + 1);
    if (text == NULL) {
        from->failed = true;
        return NULL;
    }
    memcpy(text, at, size);
    text[size] = '\0';
    if (length != NULL)
        *length = size;
    return text;
}

bool a2d_cursor_done(const a2d_cursor *from) { return !from->failed && from->left == 0; }
