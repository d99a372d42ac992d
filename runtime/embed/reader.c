/* The three threads of a model: one reads frames and calls back, one writes, one listens to stderr.
 *
 * The reader alone decides that a worker is lost, and does away with it: so nobody else has to ask whether the process that
 * they mean is still that process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

enum {
    LEAVING = 500,   /* milliseconds for a worker whose pipe has closed to end by itself, so that we learn how */
    LAST_WORDS = 500 /* milliseconds for its last words to arrive */
};

void a2d_writer(void *given) {
    a2d_model *model = given;
    a2d_lock(&model->lock);
    for (;;) {
        while (model->outbox.length == 0 && !model->sent_all)
            a2d_cond_wait(&model->changed, &model->lock, A2D_NEVER);
        if (model->outbox.length == 0)
            break;
        a2d_bytes letters = model->outbox;
        model->outbox = (a2d_bytes){0};
        a2d_unlock(&model->lock);
        /* Where nobody reads any more, the reader learns it too, and says so. */
        a2d_child_write(&model->child, letters.data, letters.length);
        a2d_bytes_free(&letters);
        a2d_lock(&model->lock);
    }
    model->writing = false;
    a2d_cond_broadcast(&model->changed);
    a2d_unlock(&model->lock);
}

/* Keep the last bytes of what was said. */
static void remember(a2d_model *model, const char *words, size_t length) {
    size_t room = sizeof model->said - 1;
    if (length > room) {
        words += length - room;
        length = room;
    }
    size_t kept = model->said_length < room - length ? model->said_length : room - length;
    memmove(model->said, model->said + model->said_length - kept, kept);
    memcpy(model->said + kept, words, length);
    model->said_length = kept + length;
    model->said[model->said_length] = '\0';
}

void a2d_listener(void *given) {
    a2d_model *model = given;
    char words[1024];
    long got;
    while ((got = a2d_child_listen(&model->child, words, sizeof words)) > 0) {
        a2d_lock(&model->lock);
        remember(model, words, (size_t)got);
        a2d_unlock(&model->lock);
    }
    a2d_lock(&model->lock);
    model->listening = false;
    a2d_cond_broadcast(&model->changed);
    a2d_unlock(&model->lock);
}

/* What ends the reader's work. */
typedef struct ending {
    a2d_status status;
    const char *what;
} ending;

static const ending goes_on = {A2D_OK, NULL};
static const ending ended = {A2D_ERROR_DIED, NULL};

static ending nonsense(const char *what) { return (ending){A2D_ERROR_PROTOCOL, what}; }

/* Ask for a sign of life. A worker that is still loading is not asked, since loading may hold its interpreter; a2d_open has
 * a deadline of its own. Whether the worker has to answer. */
static bool ask(a2d_model *model, bool within_frame) {
    a2d_lock(&model->lock);
    bool open = model->state == A2D_IS_OPEN;
    if (open && !within_frame && a2d_frame_empty(&model->outbox, A2D_PING, 0))
        a2d_cond_broadcast(&model->changed);
    a2d_unlock(&model->lock);
    return open;
}

/* No sign of life for half the time: ask for one. For all of it: hung. So a host that was stopped for a while (a debugger, a
 * laptop asleep) asks before it judges. Within a frame there is nothing to ask: the rest has to come, and answers would be
 * taken for it for ever. */
static ending fill(a2d_model *model, uint8_t *to, size_t length, bool within_frame) {
    bool asked = false;
    while (length > 0) {
        long got = a2d_child_read(&model->child, to, length, model->silence_ms / 2 + 1);
        if (got == A2D_CHILD_EOF)
            return ended;
        if (got > 0) {
            to += got;
            length -= (size_t)got;
            asked = false;
            within_frame = true;
            continue;
        }
        bool open = ask(model, within_frame);
        if (open && asked)
            return (ending){A2D_ERROR_HUNG, NULL};
        asked = open;
    }
    return goes_on;
}

static ending on_opened(a2d_model *model, a2d_cursor payload) {
    a2d_opened opened;
    if (model->state == A2D_IS_OPEN || !a2d_opened_read(payload, &opened))
        return nonsense("a second or damaged OPENED");
    if (model->state != A2D_OPENING) {
        a2d_opened_free(&opened); /* a2d_open has given up */
        return goes_on;
    }
    model->opened = opened;
    model->state = A2D_IS_OPEN;
    a2d_cond_broadcast(&model->changed);
    return goes_on;
}

static ending on_step(a2d_model *model, a2d_header header, a2d_cursor payload) {
    a2d_step step;
    bool films = header.kind == A2D_DENOISED;
    if (!(films ? a2d_denoised_read : a2d_step_read)(payload, &step))
        return nonsense(films ? "a damaged DENOISED" : "a damaged STEP");
    a2d_generation *generation = a2d_generation_find(model, header.id);
    bool fits = generation == NULL || generation->films == films;
    if (generation != NULL && fits)
        a2d_generation_step(generation, &step);
    else
        a2d_step_free(&step); /* released meanwhile */
    return fits ? goes_on : nonsense("a step of the other kind of generation");
}

/* Frames come in order, each once: a host may count on it. */
static ending on_pixels(a2d_model *model, uint32_t id, a2d_cursor payload) {
    a2d_frames frames;
    if (!a2d_pixels_read(payload, &frames))
        return nonsense("damaged PIXELS");
    a2d_generation *generation = a2d_generation_find(model, id);
    if (generation == NULL)
        return goes_on;
    if (!generation->films || frames.first != generation->given)
        return nonsense("frames that nobody waits for");
    a2d_generation_frames(generation, &frames);
    return goes_on;
}

static ending on_done(a2d_model *model, a2d_header header, a2d_cursor payload) {
    a2d_result result;
    bool films = header.kind == A2D_FILMED;
    if (!(films ? a2d_filmed_read : a2d_result_read)(payload, &result))
        return nonsense(films ? "a damaged FILMED" : "a damaged DONE");
    a2d_generation *generation = a2d_generation_find(model, header.id);
    bool fits = generation == NULL || (generation->films == films && generation->given == result.frames);
    if (generation == NULL || !fits) {
        a2d_result_free(&result);
        return fits ? goes_on : nonsense("a result that does not fit what came before it");
    }
    generation->result = result;
    a2d_generation_end(generation, A2D_OK, NULL);
    a2d_generation_tell(generation);
    return goes_on;
}

static ending on_failed(a2d_model *model, uint32_t id, a2d_cursor payload) {
    a2d_status status;
    char *message;
    if (!a2d_failed_read(payload, &status, &message))
        return nonsense("a damaged FAILED");
    a2d_generation *generation = a2d_generation_find(model, id);
    if (id == 0 && model->state != A2D_CLOSING) { /* about the worker as a whole */
        a2d_fail(&model->failure, status, "%s", message);
        model->state = A2D_BROKEN;
    } else if (generation != NULL) {
        a2d_generation_end(generation, status, message);
        a2d_generation_tell(generation);
    }
    free(message);
    return id == 0 ? ended : goes_on;
}

/* With the lock held; callbacks let it go. */
static ending dispatch(a2d_model *model, a2d_header header, const uint8_t *data) {
    a2d_cursor payload = {data, header.length, false};
    bool about_all = header.kind == A2D_OPENED || header.kind == A2D_PONG;
    bool about_one = header.kind == A2D_STEP || header.kind == A2D_DONE
                     || (header.kind >= A2D_DENOISED && header.kind <= A2D_FILMED);
    if ((about_all && header.id != 0) || (about_one && header.id == 0) || header.id > model->last_id)
        return nonsense("a frame about a generation that it was never asked for");
    switch (header.kind) {
    case A2D_OPENED:
        return on_opened(model, payload);
    case A2D_STEP:
    case A2D_DENOISED:
        return on_step(model, header, payload);
    case A2D_PIXELS:
        return on_pixels(model, header.id, payload);
    case A2D_DONE:
    case A2D_FILMED:
        return on_done(model, header, payload);
    case A2D_FAILED:
        return on_failed(model, header.id, payload);
    case A2D_PONG:
        return header.length == 0 ? goes_on : nonsense("a damaged PONG");
    default:
        return nonsense("a frame of an unknown kind");
    }
}

static ending receive(a2d_model *model) {
    uint8_t head[A2D_FRAME_HEADER];
    a2d_header header;
    ending came = fill(model, head, sizeof head, false);
    if (came.status != A2D_OK)
        return came;
    const char *wrong = a2d_header_read(head, &header);
    if (wrong != NULL)
        return nonsense(wrong);
    uint8_t *data = malloc((size_t)header.length + 1);
    if (data == NULL)
        return (ending){A2D_ERROR_MEMORY, NULL};
    came = fill(model, data, header.length, true);
    if (came.status == A2D_OK) {
        a2d_lock(&model->lock);
        came = dispatch(model, header, data);
        a2d_unlock(&model->lock);
    }
    free(data);
    return came;
}

/* The last lines of stderr, as they are shown behind a message. */
static const char *last_words(const a2d_model *model) { return model->said_length ? model->said : "nothing"; }

/* Why the worker was lost, in words. With the lock held, and after the worker is gone. */
static void explain(a2d_model *model, ending why) {
    char fate[128];
    a2d_child_fate(&model->child, fate, sizeof fate);
    if (why.status == A2D_ERROR_HUNG)
        a2d_fail(&model->failure, why.status,
                 "the a2d worker gave no sign of life for %u ms and was killed; open the bundle again, or raise "
                 "silence_timeout_ms. It had said on stderr: %s",
                 (unsigned)model->silence_ms, last_words(model));
    else if (why.status == A2D_ERROR_PROTOCOL)
        a2d_fail(&model->failure, why.status,
                 "the a2d worker sent %s and was killed; check that the interpreter runs a2d.runtime.host.worker, and that it "
                 "is of the same release (%s). It had said on stderr: %s",
                 why.what, A2D_VERSION, last_words(model));
    else if (why.status == A2D_ERROR_MEMORY)
        a2d_fail(&model->failure, why.status, "out of memory for a message of the a2d worker, which was ended");
    else
        a2d_fail(&model->failure, why.status,
                 "the a2d worker %s%s; open the bundle again. It had said on stderr: %s", fate,
                 model->state == A2D_OPENING ? " before the bundle was loaded" : "", last_words(model));
}

/* Do away with the worker, and tell everybody. */
static void finish(a2d_model *model, ending why) {
    if (why.status == A2D_ERROR_DIED)
        a2d_child_ended(&model->child, LEAVING);
    a2d_child_kill(&model->child);
    a2d_lock(&model->lock);
    uint64_t deadline = a2d_deadline(LAST_WORDS);
    while (model->listening && a2d_cond_wait(&model->changed, &model->lock, deadline)) {
    }
    if (model->state == A2D_OPENING || model->state == A2D_IS_OPEN) {
        explain(model, why);
        model->state = A2D_BROKEN;
    }
    if (model->state == A2D_BROKEN) {
        while (model->first != NULL) {
            a2d_generation *generation = model->first;
            a2d_generation_end(generation, model->failure.status, model->failure.message);
            a2d_generation_tell(generation);
        }
    }
    a2d_child_hang_up(&model->child); /* wakes a writer that waits for room */
    model->sent_all = true;
    model->outbox.length = 0;
    model->reading = false;
    a2d_cond_broadcast(&model->changed);
    a2d_unlock(&model->lock);
}

void a2d_reader(void *given) {
    a2d_model *model = given;
    ending why = goes_on;
    while (why.status == A2D_OK)
        why = receive(model);
    finish(model, why);
}
