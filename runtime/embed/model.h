/* A model and its generations, from the inside. One lock per model guards all that is said to be guarded here. */
#ifndef A2D_MODEL_H
#define A2D_MODEL_H

#include "a2d.h"

#include "arena.h"
#include "bytes.h"
#include "child.h"
#include "frame.h"
#include "threads.h"

typedef enum a2d_state {
    A2D_OPENING,
    A2D_IS_OPEN,
    A2D_BROKEN, /**< the worker is gone, or is being done away with; `failure` says why */
    A2D_CLOSING
} a2d_state;

struct a2d_generation {
    a2d_model *model;
    a2d_generation *next; /**< in the model's list of those that have not ended; guarded */
    uint32_t id;
    bool films;     /**< what comes of it: frames, or text */
    uint32_t given; /**< frames that on_frames was called with; the reader's */
    a2d_on_frames on_frames;
    a2d_on_step on_step;
    a2d_on_done on_done;
    void *user;
    a2d_region region; /**< its pixels in the arena; guarded */
    a2d_status status; /**< A2D_RUNNING until it has ended; guarded */
    char *message;     /**< of an error; guarded */
    a2d_result result; /**< guarded, then constant */
    a2d_step latest;   /**< guarded */
    a2d_step shown;    /**< what a2d_poll has handed out */
    bool called;       /**< a callback of it is running; guarded */
    bool released;     /**< by its own callback, which is still running; guarded */
};

struct a2d_model {
    a2d_mutex lock;
    a2d_cond changed; /**< anything that somebody may wait for */
    uint32_t uses;    /**< the host's and one for each generation that is not released; guarded */
    a2d_state state;  /**< guarded */
    a2d_error failure;
    a2d_generation *first; /**< those that have not ended, in the order of their starts; guarded */
    uint32_t last_id;      /**< guarded */
    a2d_arena arena;       /**< its list guarded, its bytes by whoever took the region */
    a2d_bytes outbox;      /**< frames to be sent; guarded */
    bool sent_all;         /**< the writer is to end when the outbox is empty; guarded */
    char said[1500];       /**< the end of what the worker said on stderr; guarded */
    size_t said_length;
    a2d_child child;
    a2d_thread reader, writer, listener;
    int started;                      /**< threads, in this order; guarded */
    bool reading, writing, listening; /**< these run; guarded */
    a2d_opened opened;                /**< constant once the model is open */
    uint32_t silence_ms, close_ms;
};

/* model.c */
/** Another use of the model, to be called with the lock held; a2d_model_drop ends one, without it. */
void a2d_model_hold(a2d_model *model);
void a2d_model_drop(a2d_model *model);

/* reader.c: what the threads do. */
void a2d_reader(void *model);
void a2d_writer(void *model);
void a2d_listener(void *model);

/* generation.c, all but a2d_generation_free with the lock held */
/** Out of the model's list, if it is there, and its pixels given back. */
void a2d_generation_unlist(a2d_generation *generation);
void a2d_generation_free(a2d_generation *generation);
/** The generation ends: out of the list, its pixels given back. */
void a2d_generation_end(a2d_generation *generation, a2d_status status, const char *message);
/** Call on_done, for which the lock is let go. Only on the reader's thread, after a2d_generation_end. */
void a2d_generation_tell(a2d_generation *generation);
/** Call on_step likewise, and take over the step. */
void a2d_generation_step(a2d_generation *generation, a2d_step *step);
/** Call on_frames likewise. */
void a2d_generation_frames(a2d_generation *generation, const a2d_frames *frames);
a2d_generation *a2d_generation_find(a2d_model *model, uint32_t id);

/* error.c */
/** Fill in a caller's error, if there is one. Returns `status`. */
a2d_status a2d_fail(a2d_error *error, a2d_status status, const char *form, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;
/** Copy a caller's struct of `size` bytes into ours of `known`, zeros behind it. False where the size makes no sense, or
 * the caller has set what this library does not know. */
bool a2d_struct_in(void *to, size_t known, const void *from);
/** Copy ours into a caller's, no further than it says. */
void a2d_struct_out(void *to, const void *from, size_t known);

#endif
