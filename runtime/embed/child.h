/* The child process and the two streams to it: frames both ways, and the words it says on stderr. Knows processes and bytes,
 * not what the bytes mean.
 *
 * Threads: one may read, one write and one listen at the same time, and any may hang up. Ending, reaping and closing is for
 * one thread alone, after the others have been told to stop. */
#ifndef A2D_CHILD_H
#define A2D_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"

#if defined(_WIN32)
#include <windows.h>
typedef struct a2d_pipe {
    HANDLE ours;
    HANDLE event;
} a2d_pipe;
typedef struct a2d_child {
    HANDLE process, job, hangup;
    a2d_pipe in, out, words;
    DWORD id;
    DWORD status;
} a2d_child;
#else
#include <sys/types.h>
typedef struct a2d_child {
    pid_t id;
    int frames; /**< a socket: the child's stdin and stdout */
    int words;  /**< a socket: the child's stderr */
    bool gone; /**< reaped, by us or by a host that waits for all children */
    bool told; /**< by us: how it ended is known */
    int status;
} a2d_child;
#endif

/** Reads that gave no bytes. */
enum { A2D_CHILD_EOF = 0, A2D_CHILD_QUIET = -1 };

/** Start `program` with `arguments` (ended by NULL, the program's own name first) and the host's environment with
 * `changes` (as in a2d_open_options). The arena is handed on; a last argument says where the child finds it. False, with the
 * reason in `why`. */
bool a2d_child_start(a2d_child *child, const char *program, const char *const *arguments, const char *const *changes,
                     const a2d_arena *arena, char *why, size_t why_size);

/** Bytes that came, up to `length`; A2D_CHILD_EOF where no more will come, A2D_CHILD_QUIET where `timeout_ms` passed. */
long a2d_child_read(a2d_child *child, void *to, size_t length, uint32_t timeout_ms);
/** All of it, however long that takes; false where nobody will read it. */
bool a2d_child_write(a2d_child *child, const void *from, size_t length);
/** What the child says on stderr; A2D_CHILD_EOF at its end. */
long a2d_child_listen(a2d_child *child, void *to, size_t length);

/** Make reads, writes and listening end soon, whatever the child does. */
void a2d_child_hang_up(a2d_child *child);
/** Whether the child ends by itself within `timeout_ms`. */
bool a2d_child_ended(a2d_child *child, uint32_t timeout_ms);
/** Kill the child and what it has started, and wait until it is gone. */
void a2d_child_kill(a2d_child *child);
/** How it ended: "exited with status 1". */
void a2d_child_fate(const a2d_child *child, char *to, size_t size);
/** Close what is ours. */
void a2d_child_close(a2d_child *child);

#endif
