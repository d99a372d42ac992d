/* Frames, byte by byte: what is written is read, all else is refused, and no bytes make the reader stumble. */
#include "check.h"

#include "frame.h"

static uint32_t state = 12345;

static uint32_t random_number(void) {
    state ^= state << 13;
    state ^= state >> 17;
    return state ^= state << 5;
}

static a2d_cursor payload_of(const a2d_bytes *frame) {
    return (a2d_cursor){frame->data + A2D_FRAME_HEADER, frame->length - A2D_FRAME_HEADER, false};
}

static a2d_bytes opened_frame(void) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_OPENED, 0);
    a2d_put_text(&bytes, "0.1.0");
    a2d_put_text(&bytes, "slate");
    a2d_put_text(&bytes, "int8");
    a2d_put_text(&bytes, "");
    a2d_put_u32(&bytes, 8);
    a2d_put_u32(&bytes, 512);
    a2d_put_u8(&bytes, 1);
    a2d_put_u8(&bytes, 1);
    a2d_put_u32(&bytes, 81);
    a2d_put_u32(&bytes, 480);
    a2d_put_u32(&bytes, 832);
    a2d_put_f64(&bytes, 16);
    CHECK(a2d_frame_end(&bytes, begin));
    return bytes;
}

static a2d_bytes step_frame(void) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_STEP, 7);
    for (uint32_t i = 1; i <= 5; i++)
        a2d_put_u32(&bytes, i);
    a2d_put_u8(&bytes, 1);
    a2d_put_f32(&bytes, 0.25f);
    a2d_put_text(&bytes, "t\xc3\xa4glich");
    CHECK(a2d_frame_end(&bytes, begin));
    return bytes;
}

static a2d_bytes done_frame(void) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_DONE, UINT32_MAX);
    a2d_put_u8(&bytes, A2D_STOP_REPEATS);
    for (uint32_t i = 1; i <= 5; i++)
        a2d_put_u32(&bytes, i);
    a2d_put_f32(&bytes, 1.0f);
    a2d_put_f64(&bytes, 0.1);
    a2d_put_f64(&bytes, 0.01);
    a2d_put_text(&bytes, "text");
    a2d_put_u32(&bytes, 2);
    a2d_put_u32(&bytes, 0);
    a2d_put_u32(&bytes, 151643);
    a2d_put_u32(&bytes, 2);
    a2d_put_f32(&bytes, 0.5f);
    a2d_put_f32(&bytes, 1.0f);
    CHECK(a2d_frame_end(&bytes, begin));
    return bytes;
}

static a2d_bytes denoised_frame(void) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_DENOISED, 7);
    for (uint32_t i = 2; i <= 5; i++)
        a2d_put_u32(&bytes, i);
    CHECK(a2d_frame_end(&bytes, begin));
    return bytes;
}

static a2d_bytes pixels_frame(void) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_PIXELS, 7);
    static const uint32_t numbers[] = {3, 9, 2, 4, 5, 120}; /* block, first, count, height, width, bytes */
    for (size_t i = 0; i < 6; i++)
        a2d_put_u32(&bytes, numbers[i]);
    for (uint32_t i = 0; i < 120; i++)
        a2d_put_u8(&bytes, (uint8_t)i);
    CHECK(a2d_frame_end(&bytes, begin));
    return bytes;
}

static a2d_bytes filmed_frame(void) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_FILMED, 7);
    a2d_put_u8(&bytes, A2D_STOP_CANCELLED);
    for (uint32_t i = 1; i <= 6; i++)
        a2d_put_u32(&bytes, i);
    a2d_put_f64(&bytes, 16);
    a2d_put_f64(&bytes, 0.1);
    a2d_put_f64(&bytes, 0.01);
    a2d_put_text(&bytes, "the prompt was cut");
    CHECK(a2d_frame_end(&bytes, begin));
    return bytes;
}

static a2d_bytes failed_frame(void) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_FAILED, 1);
    a2d_put_u32(&bytes, (uint32_t)A2D_ERROR_IMAGE);
    a2d_put_text(&bytes, "no image");
    CHECK(a2d_frame_end(&bytes, begin));
    return bytes;
}

/* The bytes of a frame as docs/embedding.md shows them. */
static void test_the_documented_bytes(void) {
    static const uint8_t expected[] = {'a', '2', 'd', 3, 3, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0};
    a2d_bytes bytes = {0};
    CHECK(a2d_frame_empty(&bytes, A2D_CANCEL, 0x1234));
    CHECK(bytes.length == sizeof expected && memcmp(bytes.data, expected, sizeof expected) == 0);
    a2d_bytes_free(&bytes);
}

static void test_headers(void) {
    a2d_bytes bytes = step_frame();
    a2d_header header;
    CHECK(a2d_header_read(bytes.data, &header) == NULL);
    CHECK(header.kind == A2D_STEP && header.id == 7 && header.length == bytes.length - A2D_FRAME_HEADER);
    for (size_t i = 0; i < 4; i++) { /* magic and version */
        bytes.data[i] ^= 1;
        CHECK(a2d_header_read(bytes.data, &header) != NULL);
        bytes.data[i] ^= 1;
    }
    bytes.data[6] = 1;
    CHECK(strstr(a2d_header_read(bytes.data, &header), "reserved") != NULL);
    bytes.data[6] = 0;
    bytes.data[15] = 1; /* 16 MiB and some */
    CHECK(strstr(a2d_header_read(bytes.data, &header), "longer") != NULL);
    a2d_bytes_free(&bytes);
}

static void test_payloads(void) {
    a2d_bytes bytes = opened_frame();
    a2d_opened opened;
    CHECK(a2d_opened_read(payload_of(&bytes), &opened));
    CHECK(strcmp(opened.name, "slate") == 0 && strcmp(opened.engine, "") == 0);
    CHECK(opened.block_size == 8 && opened.max_context == 512 && opened.vision == 1);
    CHECK(opened.films == 1 && opened.frames == 81 && opened.height == 480 && opened.width == 832 && opened.fps == 16);
    a2d_opened_free(&opened);
    a2d_bytes_free(&bytes);

    bytes = step_frame();
    a2d_step step;
    CHECK(a2d_step_read(payload_of(&bytes), &step));
    CHECK(step.block == 1 && step.index == 2 && step.accepted == 3 && step.masked == 4 && step.tokens == 5);
    CHECK(step.final == 1 && step.confidence == 0.25f && step.text_length == 8 && step.text[8] == '\0');
    a2d_step_free(&step);
    a2d_bytes_free(&bytes);

    bytes = done_frame();
    a2d_result result;
    CHECK(a2d_result_read(payload_of(&bytes), &result));
    CHECK(result.stop == A2D_STOP_REPEATS && result.forwards == 1 && result.cached_tokens == 5);
    CHECK(result.seconds == 0.1 && result.token_count == 2 && result.token_ids[1] == 151643);
    CHECK(result.token_confidence[0] == 0.5f && result.token_confidence[1] == 1.0f);
    a2d_result_free(&result);
    a2d_bytes_free(&bytes);

    bytes = denoised_frame();
    CHECK(a2d_denoised_read(payload_of(&bytes), &step));
    CHECK(step.block == 2 && step.index == 3 && step.steps == 4 && step.frames == 5 && step.final == 1);
    CHECK(step.text_length == 0 && step.text[0] == '\0');
    a2d_step_free(&step);
    a2d_bytes_free(&bytes);

    bytes = pixels_frame();
    a2d_frames frames;
    CHECK(a2d_pixels_read(payload_of(&bytes), &frames));
    CHECK(frames.block == 3 && frames.first == 9 && frames.count == 2 && frames.height == 4 && frames.width == 5);
    CHECK(frames.length == 120 && frames.pixels[119] == 119);
    a2d_bytes_free(&bytes);

    bytes = filmed_frame();
    CHECK(a2d_filmed_read(payload_of(&bytes), &result));
    CHECK(result.modality == A2D_MODALITY_PIXELS && result.stop == A2D_STOP_CANCELLED && result.frames == 4);
    CHECK(result.height == 5 && result.width == 6 && result.fps == 16 && strcmp(result.remarks, "the prompt was cut") == 0);
    a2d_result_free(&result);
    a2d_bytes_free(&bytes);

    bytes = failed_frame();
    a2d_status status;
    char *message;
    CHECK(a2d_failed_read(payload_of(&bytes), &status, &message));
    CHECK(status == A2D_ERROR_IMAGE && strcmp(message, "no image") == 0);
    free(message);
    a2d_bytes_free(&bytes);
}

/* Whether a payload is read; frees what comes. */
static bool reads(uint32_t kind, a2d_cursor from) {
    a2d_opened opened;
    a2d_step step;
    a2d_result result;
    a2d_frames frames;
    a2d_status status;
    char *message = NULL;
    bool read = false;
    if (kind == A2D_DENOISED && (read = a2d_denoised_read(from, &step)))
        a2d_step_free(&step);
    if (kind == A2D_PIXELS && (read = a2d_pixels_read(from, &frames)))
        for (size_t i = 0; i < frames.length; i++)
            state += frames.pixels[i]; /* all of them can be read */
    if (kind == A2D_FILMED && (read = a2d_filmed_read(from, &result)))
        a2d_result_free(&result);
    if (kind == A2D_OPENED && (read = a2d_opened_read(from, &opened)))
        a2d_opened_free(&opened);
    if (kind == A2D_STEP && (read = a2d_step_read(from, &step)))
        a2d_step_free(&step);
    if (kind == A2D_DONE && (read = a2d_result_read(from, &result)))
        a2d_result_free(&result);
    if (kind == A2D_FAILED && (read = a2d_failed_read(from, &status, &message)))
        free(message);
    return read;
}

/* A copy that is exactly as long as it says: a sanitizer sees the first byte that is read behind it. */
static bool reads_copy(uint32_t kind, const uint8_t *data, size_t length) {
    uint8_t *copy = malloc(length + !length);
    CHECK(copy != NULL);
    memcpy(copy, data, length);
    bool read = reads(kind, (a2d_cursor){copy, length, false});
    free(copy);
    return read;
}

static void fuzz(a2d_bytes bytes) {
    uint32_t kind = bytes.data[4];
    uint8_t *payload = bytes.data + A2D_FRAME_HEADER;
    size_t length = bytes.length - A2D_FRAME_HEADER;
    CHECK(reads_copy(kind, payload, length));
    for (size_t shorter = 0; shorter < length; shorter++)
        CHECK(!reads_copy(kind, payload, shorter));
    a2d_put_u8(&bytes, 0);
    payload = bytes.data + A2D_FRAME_HEADER;
    CHECK(!reads_copy(kind, payload, length + 1));
    uint8_t kept[256];
    memcpy(kept, payload, length);
    for (int i = 0; i < 20000; i++) {
        for (uint32_t flips = random_number() % 4 + 1; flips; flips--)
            payload[random_number() % length] = (uint8_t)random_number();
        reads_copy(kind, payload, random_number() % (length + 1));
        reads_copy(kind, payload, length);
        memcpy(payload, kept, length);
    }
    a2d_bytes_free(&bytes);
}

static void test_numbers_that_are_none(void) {
    a2d_bytes bytes = step_frame();
    bytes.data[A2D_FRAME_HEADER + 20] = 2; /* final is 0 or 1 */
    CHECK(!reads(A2D_STEP, payload_of(&bytes)));
    a2d_bytes_free(&bytes);
    bytes = step_frame();
    memcpy(bytes.data + A2D_FRAME_HEADER + 21, "\0\0\xc0\x7f", 4); /* not a number */
    CHECK(!reads(A2D_STEP, payload_of(&bytes)));
    a2d_bytes_free(&bytes);
    bytes = denoised_frame();
    bytes.data[A2D_FRAME_HEADER + 4] = 4; /* step 4 of 4, from 0 */
    CHECK(!reads(A2D_DENOISED, payload_of(&bytes)));
    a2d_bytes_free(&bytes);
    static const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {{8, 0}, {8, 3}, {12, 0}, {16, 6}, {20, 119}, {11, 128}, {15, 128}, {19, 128}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) { /* no frames, or other bytes than their sizes say */
        bytes = pixels_frame();
        bytes.data[A2D_FRAME_HEADER + wrong[i].at] = wrong[i].value;
        CHECK(!reads(A2D_PIXELS, payload_of(&bytes)));
        a2d_bytes_free(&bytes);
    }
    bytes = filmed_frame();
    bytes.data[A2D_FRAME_HEADER] = A2D_STOP_REPEATS;
    CHECK(!reads(A2D_FILMED, payload_of(&bytes)));
    a2d_bytes_free(&bytes);
    bytes = failed_frame();
    memset(bytes.data + A2D_FRAME_HEADER, 0, 4); /* a failure that is A2D_OK */
    CHECK(!reads(A2D_FAILED, payload_of(&bytes)));
    a2d_bytes_free(&bytes);
}

static void test_too_long(void) {
    a2d_bytes bytes = {0};
    CHECK(a2d_frame_empty(&bytes, A2D_PING, 0));
    char *text = malloc(A2D_FRAME_LONGEST + 1u);
    CHECK(text != NULL);
    memset(text, 'x', A2D_FRAME_LONGEST);
    text[A2D_FRAME_LONGEST] = '\0';
    size_t begin = a2d_frame_begin(&bytes, A2D_GENERATE, 1);
    a2d_put_text(&bytes, text);
    CHECK(!a2d_frame_end(&bytes, begin));
    CHECK(bytes.length == A2D_FRAME_HEADER); /* what stood before it still does */
    free(text);
    a2d_bytes_free(&bytes);
}

int main(void) {
    test_the_documented_bytes();
    test_headers();
    test_payloads();
    fuzz(opened_frame());
    fuzz(step_frame());
    fuzz(done_frame());
    fuzz(failed_frame());
    fuzz(denoised_frame());
    fuzz(pixels_frame());
    fuzz(filmed_frame());
    test_numbers_that_are_none();
    test_too_long();
    return 0;
}
