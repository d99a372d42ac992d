#include "threads.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define MILLION 1000000

uint64_t a2d_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / MILLION;
}

static struct timespec timespec_of(uint64_t ms) {
    return (struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * MILLION};
}

void a2d_sleep(uint32_t ms) {
    struct timespec span = timespec_of(ms);
    nanosleep(&span, NULL);
}

bool a2d_mutex_init(a2d_mutex *mutex) { return pthread_mutex_init(mutex, NULL) == 0; }
void a2d_mutex_destroy(a2d_mutex *mutex) { pthread_mutex_destroy(mutex); }
void a2d_lock(a2d_mutex *mutex) { pthread_mutex_lock(mutex); }
void a2d_unlock(a2d_mutex *mutex) { pthread_mutex_unlock(mutex); }

bool a2d_cond_init(a2d_cond *cond) {
#if defined(__APPLE__)
    return pthread_cond_init(cond, NULL) == 0;
#else
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return false;
    bool made = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0
                && pthread_cond_init(cond, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return made;
#endif
}

void a2d_cond_destroy(a2d_cond *cond) { pthread_cond_destroy(cond); }
void a2d_cond_broadcast(a2d_cond *cond) { pthread_cond_broadcast(cond); }

bool a2d_cond_wait(a2d_cond *cond, a2d_mutex *mutex, uint64_t deadline) {
    if (deadline == A2D_NEVER)
        return pthread_cond_wait(cond, mutex) == 0;
#if defined(__APPLE__)
    struct timespec span = timespec_of(a2d_left(deadline, UINT32_MAX));
    return pthread_cond_timedwait_relative_np(cond, mutex, &span) != ETIMEDOUT;
#else
    struct timespec until = timespec_of(deadline);
    return pthread_cond_timedwait(cond, mutex, &until) != ETIMEDOUT;
#endif
}

typedef struct errand {
    void (*work)(void *);
    void *argument;
} errand;

static void *run(void *given) {
    errand todo = *(errand *)given;
    free(given);
    todo.work(todo.argument);
    return NULL;
}

bool a2d_thread_start(a2d_thread *thread, void (*work)(void *), void *argument) {
    errand *todo = malloc(sizeof *todo);
    if (todo == NULL)
        return false;
    *todo = (errand){work, argument};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a new thread inherits the mask */
    bool started = pthread_create(&thread->id, NULL, run, todo) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!started)
        free(todo);
    return started;
}

void a2d_thread_join(a2d_thread *thread) { pthread_join(thread->id, NULL); }
bool a2d_thread_is_this(const a2d_thread *thread) { return pthread_equal(thread->id, pthread_self()) != 0; }
