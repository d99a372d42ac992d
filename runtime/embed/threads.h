/* Locks, conditions, threads and a clock: the little of POSIX and Windows that the library needs, under one name each. C11's
 * own <threads.h> is missing on macOS and in older Windows kits. */
#ifndef A2D_THREADS_H
#define A2D_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#if defined(_WIN32)
#include <windows.h>
typedef SRWLOCK a2d_mutex;
typedef CONDITION_VARIABLE a2d_cond;
typedef struct a2d_thread {
    HANDLE handle;
    DWORD id;
} a2d_thread;
#else
#include <pthread.h>
typedef pthread_mutex_t a2d_mutex;
typedef pthread_cond_t a2d_cond;
typedef struct a2d_thread {
    pthread_t id;
} a2d_thread;
#endif

#define A2D_NEVER UINT64_MAX

/** Milliseconds of a clock that only goes forward. */
uint64_t a2d_now(void);
/** When `ms` from now is; A2D_NEVER for UINT32_MAX. */
uint64_t a2d_deadline(uint32_t ms);
/** Milliseconds until `deadline`, 0 where it has passed; at most `most`. */
uint32_t a2d_left(uint64_t deadline, uint32_t most);
void a2d_sleep(uint32_t ms);

bool a2d_mutex_init(a2d_mutex *mutex);
void a2d_mutex_destroy(a2d_mutex *mutex);
void a2d_lock(a2d_mutex *mutex);
void a2d_unlock(a2d_mutex *mutex);

bool a2d_cond_init(a2d_cond *cond);
void a2d_cond_destroy(a2d_cond *cond);
/** Wait for a signal, or the deadline: false where that has passed. May return without either, as all such waits. */
bool a2d_cond_wait(a2d_cond *cond, a2d_mutex *mutex, uint64_t deadline);
void a2d_cond_broadcast(a2d_cond *cond);

/** Run `work(argument)` on a thread that no signal of the host is delivered to. */
bool a2d_thread_start(a2d_thread *thread, void (*work)(void *), void *argument);
void a2d_thread_join(a2d_thread *thread);
/** The caller runs on this thread. */
bool a2d_thread_is_this(const a2d_thread *thread);

#endif
