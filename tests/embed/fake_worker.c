/* A worker without a model, which behaves as the path of its bundle says:
 *
 *     "steps=3 blocks=2 pause=5 do=hang at=4"
 *
 * at=N is before its Nth frame, in=N after the Nth that it received, both from 0; `do` is what happens there, see `misdeeds`.
 * With `films` in it, it films as well, one frame and then blocks of four. With random=SEED, `at` is drawn at random. With damage=SEED, some frames have some wrong bytes. Its text says what it was asked for, pixels as a
 * checksum, so that a test can see what arrived. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "threads.h"

#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>
#define STDIN_FILENO 0
#define STDOUT_FILENO 1
#define STDERR_FILENO 2
#define read _read
#define write _write
#define close _close
typedef int ssize_type;
#else
#include <sys/socket.h>
#include <unistd.h>
typedef ssize_t ssize_type;
#endif

enum { QUEUE = 256 };

typedef struct job {
    uint32_t id;
    char *text;
    bool cancelled, films;
    uint32_t frames, height, width;
} job;

static struct {
    a2d_mutex lock;
    a2d_cond changed;
    job queue[QUEUE];
    uint32_t first, last; /* of the queue; both only rise */
    char script[512];
    bool open, ended, hung;
    long sent, received, at, in;
    int pixels;
} all = {.at = -1, .in = -1};

static long setting(const char *name, long otherwise) {
    const char *found = strstr(all.script, name);
    return found == NULL ? otherwise : strtol(found + strlen(name), NULL, 10);
}

static bool wants(const char *deed) { return strstr(all.script, deed) != NULL; }

static void put_out(const void *data, size_t length) {
    const char *at = data;
    while (length > 0) {
        ssize_type sent = write(STDOUT_FILENO, at, (unsigned)length);
        if (sent <= 0)
            _Exit(0); /* the host is gone */
        at += sent;
        length -= (size_t)sent;
    }
}

static void raw(a2d_kind kind, uint32_t id, uint32_t length, const char *payload, size_t sent) {
    a2d_bytes bytes = {0};
    a2d_frame_empty(&bytes, kind, id);
    for (int i = 0; i < 4; i++)
        bytes.data[12 + i] = (uint8_t)(length >> (8 * i));
    a2d_put(&bytes, payload, sent);
    put_out(bytes.data, bytes.length);
    a2d_bytes_free(&bytes);
}

static void stop_answering(void) {
    all.hung = true;
    for (;;)
        a2d_sleep(1000);
}

static void kill_myself(void) {
#if defined(_WIN32)
    TerminateProcess(GetCurrentProcess(), 9);
#else
    kill(getpid(), SIGKILL);
#endif
}

static const char zeros[32];
static const char a_step[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1};
static const char a_pixel[27] = {0, 0, 0, 0, 77, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3};

static void misbehave(uint32_t id) {
    if (wants("do=exit"))
        _Exit(7);
    if (wants("do=kill"))
        kill_myself();
    if (wants("do=abort"))
        abort();
    if (wants("do=hang"))
        stop_answering();
    if (wants("do=print"))
        put_out("Warning: something was imported\n", 32);
    if (wants("do=words")) {
        fputs("Traceback: the model fell over\n", stderr);
        fflush(stderr);
        _Exit(3);
    }
    if (wants("do=half")) {
        raw(A2D_DONE, id, 100, "short", 5);
        _Exit(0);
    }
    if (wants("do=stall")) { /* half a frame, and then nothing */
        raw(A2D_DONE, id, 100, "short", 5);
        stop_answering();
    }
    if (wants("do=huge"))
        raw(A2D_DONE, id, UINT32_MAX, "", 0);
    if (wants("do=stranger"))
        raw(A2D_STEP, id + 1000, 0, "", 0);
    if (wants("do=nobody"))
        raw(A2D_STEP, 0, 0, "", 0);
    if (wants("do=unknown"))
        raw((a2d_kind)200, id, 0, "", 0);
    if (wants("do=damaged"))
        raw(wants("films") ? A2D_FILMED : A2D_DONE, id, 5, "\7\1\1\1\1", 5);
    if (wants("do=other")) /* a step of the other kind of generation */
        raw(wants("films") ? A2D_STEP : A2D_DENOISED, id, wants("films") ? 29 : 16, wants("films") ? zeros : a_step,
            wants("films") ? 29 : 16);
    if (wants("do=skip")) /* a frame that is not the next one */
        raw(A2D_PIXELS, id, 27, a_pixel, 27);
    if (wants("do=version"))
        put_out("a2d\x63\x42\0\0\0\0\0\0\0\0\0\0\0", 16);
    if (wants("do=again"))
        raw(A2D_OPENED, 0, 0, "", 0);
    if (wants("do=close")) { /* no more frames, but it lives on */
        all.hung = true;
#if !defined(_WIN32)
        shutdown(STDOUT_FILENO, SHUT_RDWR);
#endif
        close(STDOUT_FILENO);
        stop_answering();
    }
    if (wants("do=flood")) { /* more on stderr than a pipe holds */
        for (int i = 0; i < 20000; i++)
            fputs("the same warning, once more, and once more\n", stderr);
        fflush(stderr);
    }
}

static void damage(a2d_bytes *bytes) {
    if (!wants("damage=") || rand() % 4 != 0)
        return;
    for (int flips = rand() % 3 + 1; flips; flips--)
        bytes->data[(size_t)rand() % bytes->length] ^= (uint8_t)(1 << rand() % 8);
}

/* With the lock held. */
static void send_frame(a2d_bytes *bytes, size_t begin, uint32_t id) {
    if (all.hung)
        stop_answering();
    if (all.sent++ == all.at)
        misbehave(id);
    a2d_frame_end(bytes, begin);
    damage(bytes);
    put_out(bytes->data, bytes->length);
    a2d_bytes_free(bytes);
}

static void send_opened(void) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_OPENED, 0);
    a2d_put_text(&bytes, "0.0.fake");
    a2d_put_text(&bytes, all.script);
    a2d_put_text(&bytes, "fp32");
    a2d_put_text(&bytes, "fake engine");
    a2d_put_u32(&bytes, 8);
    a2d_put_u32(&bytes, 4096);
    a2d_put_u8(&bytes, 1);
    a2d_put_u8(&bytes, wants("films"));
    a2d_put_u32(&bytes, 9);
    a2d_put_u32(&bytes, 8);
    a2d_put_u32(&bytes, 12);
    a2d_put_f64(&bytes, 16);
    send_frame(&bytes, begin, 0);
}

static void send_failed(uint32_t id, a2d_status status, const char *message) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_FAILED, id);
    a2d_put_u32(&bytes, (uint32_t)status);
    a2d_put_text(&bytes, message);
    send_frame(&bytes, begin, id);
}

static void send_step(const job *work, uint32_t block, uint32_t index, bool final, uint32_t tokens) {
    a2d_bytes bytes = {0};
    char text[64];
    size_t begin = a2d_frame_begin(&bytes, A2D_STEP, work->id);
    snprintf(text, sizeof text, "%u tokens", (unsigned)tokens);
    a2d_put_u32(&bytes, block);
    a2d_put_u32(&bytes, index);
    a2d_put_u32(&bytes, 2);
    a2d_put_u32(&bytes, final ? 0 : 2);
    a2d_put_u32(&bytes, tokens);
    a2d_put_u8(&bytes, final);
    a2d_put_f32(&bytes, 0.5f);
    a2d_put_text(&bytes, text);
    send_frame(&bytes, begin, work->id);
}

static void send_done(const job *work, a2d_stop stop, uint32_t steps, uint32_t blocks) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_DONE, work->id);
    a2d_put_u8(&bytes, (uint8_t)stop);
    a2d_put_u32(&bytes, steps);
    a2d_put_u32(&bytes, steps);
    a2d_put_u32(&bytes, blocks);
    a2d_put_u32(&bytes, 11);
    a2d_put_u32(&bytes, 0);
    a2d_put_f32(&bytes, 0.75f);
    a2d_put_f64(&bytes, 0.125);
    a2d_put_f64(&bytes, 0.0625);
    a2d_put_text(&bytes, work->text);
    a2d_put_u32(&bytes, 3);
    for (uint32_t i = 0; i < 3; i++)
        a2d_put_u32(&bytes, 100 + i);
    a2d_put_u32(&bytes, 3);
    for (uint32_t i = 0; i < 3; i++)
        a2d_put_f32(&bytes, 0.25f * (float)(i + 1));
    send_frame(&bytes, begin, work->id);
}

static void send_denoised(const job *work, uint32_t block, uint32_t index, uint32_t steps, uint32_t frames) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_DENOISED, work->id);
    a2d_put_u32(&bytes, block);
    a2d_put_u32(&bytes, index);
    a2d_put_u32(&bytes, steps);
    a2d_put_u32(&bytes, frames);
    send_frame(&bytes, begin, work->id);
}

/* A pixel is told by its frame's number and its place. */
static void send_pixels(const job *work, uint32_t block, uint32_t first, uint32_t count) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_PIXELS, work->id), size = (size_t)3 * work->height * work->width;
    a2d_put_u32(&bytes, block);
    a2d_put_u32(&bytes, first);
    a2d_put_u32(&bytes, count);
    a2d_put_u32(&bytes, work->height);
    a2d_put_u32(&bytes, work->width);
    a2d_put_u32(&bytes, (uint32_t)(count * size));
    for (uint32_t frame = first; frame < first + count; frame++)
        for (size_t i = 0; i < size; i++)
            a2d_put_u8(&bytes, (uint8_t)(frame * 7 + i));
    send_frame(&bytes, begin, work->id);
}

static void send_filmed(const job *work, a2d_stop stop, uint32_t steps, uint32_t blocks, uint32_t frames) {
    a2d_bytes bytes = {0};
    size_t begin = a2d_frame_begin(&bytes, A2D_FILMED, work->id);
    a2d_put_u8(&bytes, (uint8_t)stop);
    a2d_put_u32(&bytes, steps + blocks);
    a2d_put_u32(&bytes, steps);
    a2d_put_u32(&bytes, blocks);
    a2d_put_u32(&bytes, frames);
    a2d_put_u32(&bytes, work->height);
    a2d_put_u32(&bytes, work->width);
    a2d_put_f64(&bytes, 16);
    a2d_put_f64(&bytes, 0.125);
    a2d_put_f64(&bytes, 0.0625);
    a2d_put_text(&bytes, work->text);
    send_frame(&bytes, begin, work->id);
}

/* -- what it was asked for, as text */

static uint32_t checksum(uint64_t offset, uint64_t length) {
    uint32_t sum = 2166136261u; /* FNV-1a */
    uint8_t chunk[4096];
#if defined(_WIN32)
    _lseeki64(all.pixels, (long long)offset, SEEK_SET);
#endif
    while (length > 0) {
        size_t most = length < sizeof chunk ? (size_t)length : sizeof chunk;
#if defined(_WIN32)
        ssize_type got = read(all.pixels, chunk, (unsigned)most);
#else
        ssize_type got = pread(all.pixels, chunk, most, (off_t)offset);
#endif
        if (got <= 0)
            return 0;
        for (ssize_type i = 0; i < got; i++)
            sum = (sum ^ chunk[i]) * 16777619u;
        offset += (uint64_t)got;
        length -= (uint64_t)got;
    }
    return sum;
}

static void describe_image(a2d_cursor *from, char *to, size_t size) {
    static const uint32_t channels[] = {3, 4, 3, 4, 1};
    if (a2d_take_u8(from) == 0) {
        char *path = a2d_take_text(from, NULL);
        snprintf(to, size, "|%s", path ? path : "?");
        free(path);
        return;
    }
    uint64_t offset = a2d_take_u64(from);
    uint32_t width = a2d_take_u32(from), height = a2d_take_u32(from), format = a2d_take_u8(from);
    uint32_t sum = checksum(offset, (uint64_t)width * height * channels[format % 5]);
    snprintf(to, size, "|%ux%u:%u:%08x", (unsigned)width, (unsigned)height, (unsigned)format, (unsigned)sum);
}

static char *take_nullable(a2d_cursor *from) {
    a2d_cursor ahead = *from;
    if (a2d_take_u32(&ahead) == A2D_ABSENT) {
        *from = ahead;
        return NULL;
    }
    return a2d_take_text(from, NULL);
}

static char *describe_request(a2d_cursor from) {
    size_t size = from.left + 4096, at;
    char *text = malloc(size);
    unsigned format = a2d_take_u8(&from);
    char *prompt = take_nullable(&from);
    unsigned most = a2d_take_u32(&from), steps = a2d_take_u32(&from);
    float threshold = a2d_take_f32(&from);
    char *options = take_nullable(&from);
    uint32_t images = a2d_take_u32(&from);
    if (text == NULL)
        exit(1);
    at = (size_t)snprintf(text, size, "%u|%s|%u|%u|%g|%s", format, prompt ? prompt : "-", most, steps, (double)threshold,
                          options ? options : "-");
    for (uint32_t i = 0; i < images && !from.failed && at < size; i++) {
        describe_image(&from, text + at, size - at);
        at += strlen(text + at);
    }
    if (!a2d_cursor_done(&from))
        snprintf(text, size, "%s", "malformed");
    free(prompt);
    free(options);
    return text;
}

static job film_job(uint32_t id, a2d_cursor from) {
    job made = {.id = id, .films = true};
    size_t size = from.left + 4096;
    char *text = malloc(size), *prompt = a2d_take_text(&from, NULL);
    if (text == NULL)
        exit(1);
    uint32_t frames = a2d_take_u32(&from), height = a2d_take_u32(&from), width = a2d_take_u32(&from);
    uint32_t steps = a2d_take_u32(&from);
    uint64_t seed = a2d_take_u64(&from);
    char *options = take_nullable(&from);
    int at = snprintf(text, size, "%s|%u|%u|%u|%u|%llu|%s", prompt ? prompt : "-", (unsigned)frames, (unsigned)height,
                      (unsigned)width, (unsigned)steps, (unsigned long long)seed, options ? options : "-");
    for (uint32_t images = a2d_take_u32(&from); images > 0 && !from.failed; images--)
        describe_image(&from, text + at, size - (size_t)at);
    if (!a2d_cursor_done(&from))
        snprintf(text, size, "%s", "malformed");
    free(prompt);
    free(options);
    made.text = text;
    made.frames = frames ? frames : 9;
    made.height = height ? height : 8;
    made.width = width ? width : 12;
    return made;
}

/* -- the two threads: one reads, one works */

static void open_with(a2d_cursor payload) {
    char *script = a2d_take_text(&payload, NULL);
    snprintf(all.script, sizeof all.script, "%s", script ? script : "");
    free(script);
    all.at = setting("at=", -1);
    all.in = setting("in=", -1);
    if (wants("random=")) {
        srand((unsigned)setting("random=", 0));
        all.at = rand() % 12;
    }
    if (wants("damage="))
        srand((unsigned)setting("damage=", 0));
    if (wants("slow="))
        a2d_sleep((uint32_t)setting("slow=", 0));
    all.open = true;
}

static void enqueue(a2d_header header, a2d_cursor payload) {
    job *place = &all.queue[all.last % QUEUE];
    *place = header.kind == A2D_FILM ? film_job(header.id, payload)
                                     : (job){.id = header.id, .text = describe_request(payload)};
    all.last++;
}

static void cancel(uint32_t id) {
    for (uint32_t i = all.first; i < all.last; i++)
        if (all.queue[i % QUEUE].id == id)
            all.queue[i % QUEUE].cancelled = true;
}

static void receive(a2d_header header, a2d_cursor payload) {
    if (header.kind == A2D_OPEN)
        open_with(payload);
    if (all.received++ == all.in)
        misbehave(header.id);
    if (header.kind == A2D_GENERATE || header.kind == A2D_FILM)
        enqueue(header, payload);
    if (header.kind == A2D_CANCEL)
        cancel(header.id);
    if (header.kind == A2D_PING) {
        a2d_bytes bytes = {0};
        send_frame(&bytes, a2d_frame_begin(&bytes, A2D_PONG, 0), 0);
    }
    if (header.kind == A2D_CLOSE) {
        if (wants("do=stay"))
            stop_answering();
        _Exit(0);
    }
    a2d_cond_broadcast(&all.changed);
}

static bool fill(void *to, size_t length) {
    char *at = to;
    while (length > 0) {
        ssize_type got = read(STDIN_FILENO, at, (unsigned)length);
        if (got <= 0)
            return false;
        at += got;
        length -= (size_t)got;
    }
    return true;
}

static void reader(void *unused) {
    (void)unused;
    uint8_t head[A2D_FRAME_HEADER];
    a2d_header header;
    while (fill(head, sizeof head)) {
        if (a2d_header_read(head, &header) != NULL)
            _Exit(9);
        uint8_t *data = malloc(header.length + 1u);
        if (data == NULL || !fill(data, header.length))
            break;
        a2d_lock(&all.lock);
        receive(header, (a2d_cursor){data, header.length, false});
        a2d_unlock(&all.lock);
        free(data);
    }
    if (all.hung)
        stop_answering();
    _Exit(0); /* the host is gone */
}

static void rest(long ms) {
    if (ms <= 0)
        return;
    a2d_unlock(&all.lock);
    a2d_sleep((uint32_t)ms);
    a2d_lock(&all.lock);
}

static void work_on(job *work) {
    uint32_t blocks = (uint32_t)setting("blocks=", 2), steps = (uint32_t)setting("steps=", 3), done = 0;
    if (strstr(work->text, "refuse") != NULL) {
        send_failed(work->id, A2D_ERROR_IMAGE, "this is no image");
        return;
    }
    for (uint32_t block = 0; block < blocks; block++) {
        for (uint32_t index = 0; index < steps; index++) {
            if (work->cancelled) {
                send_done(work, A2D_STOP_CANCELLED, done, block);
                return;
            }
            done++;
            send_step(work, block, index, index + 1 == steps, 2 * done);
            rest(setting("pause=", 0));
        }
    }
    send_done(work, A2D_STOP_LENGTH, done, blocks);
}

/* One frame, then blocks of four. */
static void film(job *work) {
    uint32_t steps = (uint32_t)setting("steps=", 3), done = 0, block = 0, frames = 0;
    if (strstr(work->text, "refuse") != NULL) {
        send_failed(work->id, A2D_ERROR_NUMERICS, "block 1, step 2: the velocity is not finite");
        return;
    }
    for (; frames < work->frames; block++) {
        uint32_t count = block == 0 ? 1 : work->frames - frames < 4 ? work->frames - frames : 4;
        for (uint32_t index = 0; index < steps; index++) {
            if (work->cancelled) {
                send_filmed(work, A2D_STOP_CANCELLED, done, block, frames);
                return;
            }
            done++;
            send_denoised(work, block, index, steps, frames);
            rest(setting("pause=", 0));
        }
        send_pixels(work, block, frames, count);
        frames += count;
    }
    send_filmed(work, A2D_STOP_LENGTH, done, block, frames);
}

int main(int argc, char **argv) {
    a2d_thread thread;
#if defined(_WIN32)
    _setmode(STDIN_FILENO, _O_BINARY);
    _setmode(STDOUT_FILENO, _O_BINARY);
    all.pixels = _open_osfhandle((intptr_t)strtoull(argv[argc - 1], NULL, 10), _O_RDONLY | _O_BINARY);
#else
    all.pixels = (int)strtol(argv[argc - 1], NULL, 10);
#endif
    a2d_mutex_init(&all.lock);
    a2d_cond_init(&all.changed);
    a2d_lock(&all.lock);
    if (!a2d_thread_start(&thread, reader, NULL))
        return 1;
    while (!all.open)
        a2d_cond_wait(&all.changed, &all.lock, A2D_NEVER);
    if (wants("missing")) {
        send_failed(0, A2D_ERROR_BUNDLE, "there is no such bundle");
        return 2;
    }
    send_opened();
    for (;;) {
        while (all.first == all.last)
            a2d_cond_wait(&all.changed, &all.lock, A2D_NEVER);
        job *next = &all.queue[all.first % QUEUE];
        (next->films ? film : work_on)(next);
        free(all.queue[all.first % QUEUE].text);
        all.first++;
    }
}
