#include "threads.h"

#include <process.h>
#include <stdlib.h>

uint64_t a2d_now(void) { return GetTickCount64(); }
void a2d_sleep(uint32_t ms) { Sleep(ms); }

bool a2d_mutex_init(a2d_mutex *mutex) {
    InitializeSRWLock(mutex);
    return true;
}
void a2d_mutex_destroy(a2d_mutex *mutex) { (void)mutex; }
void a2d_lock(a2d_mutex *mutex) { AcquireSRWLockExclusive(mutex); }
void a2d_unlock(a2d_mutex *mutex) { ReleaseSRWLockExclusive(mutex); }

bool a2d_cond_init(a2d_cond *cond) {
    InitializeConditionVariable(cond);
    return true;
}
void a2d_cond_destroy(a2d_cond *cond) { (void)cond; }
void a2d_cond_broadcast(a2d_cond *cond) { WakeAllConditionVariable(cond); }

bool a2d_cond_wait(a2d_cond *cond, a2d_mutex *mutex, uint64_t deadline) {
    DWORD ms = deadline == A2D_NEVER ? INFINITE : a2d_left(deadline, INFINITE - 1);
    return SleepConditionVariableSRW(cond, mutex, ms, 0) != 0;
}

typedef struct errand {
    void (*work)(void *);
    void *argument;
} errand;

static unsigned __stdcall run(void *given) {
    errand todo = *(errand *)given;
    free(given);
    todo.work(todo.argument);
    return 0;
}

bool a2d_thread_start(a2d_thread *thread, void (*work)(void *), void *argument) {
    errand *todo = malloc(sizeof *todo);
    if (todo == NULL)
        return false;
    *todo = (errand){work, argument};
    unsigned id = 0;
    thread->handle = (HANDLE)_beginthreadex(NULL, 0, run, todo, 0, &id);
    thread->id = id;
    if (thread->handle == NULL)
        free(todo);
    return thread->handle != NULL;
}

void a2d_thread_join(a2d_thread *thread) {
    WaitForSingleObject(thread->handle, INFINITE);
    CloseHandle(thread->handle);
}
bool a2d_thread_is_this(const a2d_thread *thread) { return thread->id == GetCurrentThreadId(); }
