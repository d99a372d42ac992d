#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "threads.h"

#if defined(__APPLE__)
#include <crt_externs.h>
#define environ (*_NSGetEnviron())
#else
extern char **environ;
#endif

#if !defined(MSG_NOSIGNAL)
#define MSG_NOSIGNAL 0 /* macOS: SO_NOSIGPIPE instead */
#endif

enum {
    ABOVE = 10,     /* our descriptors lie at or above this, so that none is one of those that the child gets */
    PIXELS = 3,     /* the arena's descriptor in the child */
    KILLED_IN = 2000 /* milliseconds until a killed process is gone; longer only where the kernel holds it */
};

/* Sockets and not pipes: shutdown() ends whatever somebody waits for on them, even if a grandchild holds the other end. */
static bool socket_pair(int ends[2]) {
    int made[2];
#if defined(SOCK_CLOEXEC)
    int type = SOCK_STREAM | SOCK_CLOEXEC;
#else
    int type = SOCK_STREAM;
#endif
    if (socketpair(AF_UNIX, type, 0, made) != 0)
        return false;
    for (int i = 0; i < 2; i++) {
        ends[i] = fcntl(made[i], F_DUPFD_CLOEXEC, ABOVE);
        close(made[i]);
#if defined(SO_NOSIGPIPE)
        setsockopt(ends[i], SOL_SOCKET, SO_NOSIGPIPE, &(int){1}, sizeof(int));
#endif
    }
    if (ends[0] >= 0 && ends[1] >= 0)
        return true;
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    return false;
}

/* "NAME" or "NAME=value": whether an entry of the environment is that variable. */
static bool same_name(const char *entry, const char *change) {
    size_t length = strcspn(change, "=");
    return strncmp(entry, change, length) == 0 && entry[length] == '=';
}

/* Variables by which a host finds libraries of its own, which are not those of the worker's interpreter. */
static bool is_hosts_own(const char *entry) {
    static const char *const names[] = {"LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT", "DYLD_LIBRARY_PATH",
                                        "DYLD_FALLBACK_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH", "DYLD_INSERT_LIBRARIES"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (same_name(entry, names[i]))
            return true;
    return false;
}

/* The host's environment without its library paths, and with changes: a list to be freed, of texts that are not. */
static char **changed_environment(const char *const *changes) {
    size_t most = 1;
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
        most++;
    for (const char *const *change = changes; change != NULL && *change != NULL; change++)
        most++;
    char **made = calloc(most, sizeof *made);
    size_t count = 0;
    for (char **entry = environ; made != NULL && entry != NULL && *entry != NULL; entry++) {
        bool kept = !is_hosts_own(*entry);
        for (const char *const *change = changes; change != NULL && *change != NULL; change++)
            kept = kept && !same_name(*entry, *change);
        if (kept)
            made[count++] = *entry;
    }
    for (const char *const *change = changes; made != NULL && change != NULL && *change != NULL; change++)
        if (strchr(*change, '=') != NULL)
            made[count++] = (char *)*change;
    return made;
}

/* A group of its own, so that whatever it starts is killed with it and a terminal's Ctrl-C goes to the host alone; no signal
 * blocked or ignored, whatever the host does. */
static int set_attributes(posix_spawnattr_t *attributes) {
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    const int ordinary[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM, SIGTERM, SIGCHLD, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof ordinary / sizeof *ordinary; i++)
        sigaddset(&usual, ordinary[i]);
    short flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
#if defined(POSIX_SPAWN_CLOEXEC_DEFAULT)
    flags |= POSIX_SPAWN_CLOEXEC_DEFAULT;
#endif
    int failed = posix_spawnattr_setflags(attributes, flags);
    failed = failed ? failed : posix_spawnattr_setpgroup(attributes, 0);
    failed = failed ? failed : posix_spawnattr_setsigmask(attributes, &none);
    return failed ? failed : posix_spawnattr_setsigdefault(attributes, &usual);
}

static int set_descriptors(posix_spawn_file_actions_t *actions, int frames, int words, int arena) {
    int failed = posix_spawn_file_actions_adddup2(actions, frames, STDIN_FILENO);
    failed = failed ? failed : posix_spawn_file_actions_adddup2(actions, frames, STDOUT_FILENO);
    failed = failed ? failed : posix_spawn_file_actions_adddup2(actions, words, STDERR_FILENO);
    return failed ? failed : posix_spawn_file_actions_adddup2(actions, arena, PIXELS);
}

static int spawn(pid_t *id, const char *program, char **arguments, char **environment, int frames, int words, int arena) {
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    int failed = posix_spawnattr_init(&attributes);
    if (failed)
        return failed;
    failed = posix_spawn_file_actions_init(&actions);
    if (!failed) {
        failed = set_attributes(&attributes);
        failed = failed ? failed : set_descriptors(&actions, frames, words, arena);
        failed = failed ? failed : posix_spawnp(id, program, &actions, &attributes, arguments, environment);
        posix_spawn_file_actions_destroy(&actions);
    }
    posix_spawnattr_destroy(&attributes);
    return failed;
}

bool a2d_child_start(a2d_child *child, const char *program, const char *const *arguments, const char *const *changes,
                     const a2d_arena *arena, char *why, size_t why_size) {
    *child = (a2d_child){.id = -1, .frames = -1, .words = -1, .gone = true};
    size_t count = 0;
    while (arguments[count] != NULL)
        count++;
    char **given = calloc(count + 2, sizeof *given);
    char **environment = changed_environment(changes);
    int frames[2] = {-1, -1}, words[2] = {-1, -1};
    int failed = ENOMEM;
    if (given != NULL && environment != NULL) {
        memcpy(given, arguments, count * sizeof *given);
        given[count] = "3"; /* PIXELS */
        failed = socket_pair(frames) && socket_pair(words) ? 0 : errno;
    }
    if (!failed)
        failed = spawn(&child->id, program, given, environment, frames[1], words[1], arena->file);
    free(given);
    free(environment);
    for (int i = failed ? 0 : 1; i < 2; i++) {
        if (frames[i] >= 0)
            close(frames[i]);
        if (words[i] >= 0)
            close(words[i]);
    }
    if (failed) {
        snprintf(why, why_size, "%s", strerror(failed));
        return false;
    }
    child->frames = frames[0];
    child->words = words[0];
    child->gone = false;
    return true;
}

static long receive(int from, void *to, size_t length, int flags) {
    for (;;) {
        ssize_t got = recv(from, to, length, flags);
        if (got >= 0)
            return (long)got;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return A2D_CHILD_QUIET;
        if (errno != EINTR)
            return A2D_CHILD_EOF; /* the connection was reset */
    }
}

long a2d_child_read(a2d_child *child, void *to, size_t length, uint32_t timeout_ms) {
    uint64_t deadline = a2d_deadline(timeout_ms);
    for (;;) {
        struct pollfd awaited = {.fd = child->frames, .events = POLLIN};
        int ready = poll(&awaited, 1, deadline == A2D_NEVER ? -1 : (int)a2d_left(deadline, INT32_MAX));
        if (ready < 0 && errno != EINTR)
            return A2D_CHILD_EOF;
        long got = ready > 0 ? receive(child->frames, to, length, MSG_DONTWAIT) : A2D_CHILD_QUIET;
        if (got != A2D_CHILD_QUIET || (deadline != A2D_NEVER && a2d_left(deadline, 1) == 0))
            return got;
    }
}

bool a2d_child_write(a2d_child *child, const void *from, size_t length) {
    const char *at = from;
    while (length > 0) {
        ssize_t sent = send(child->frames, at, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return false;
        if (sent > 0) {
            at += sent;
            length -= (size_t)sent;
        }
    }
    return true;
}

long a2d_child_listen(a2d_child *child, void *to, size_t length) { return receive(child->words, to, length, 0); }

void a2d_child_hang_up(a2d_child *child) {
    shutdown(child->frames, SHUT_RDWR);
    shutdown(child->words, SHUT_RDWR);
}

/* Whether the child has ended, without reaping it: until then nobody else is given its number. */
static bool ended(a2d_child *child) {
    siginfo_t info = {0};
    if (child->gone)
        return true;
    if (waitid(P_PID, (id_t)child->id, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        return info.si_pid == child->id;
    child->gone = errno == ECHILD; /* the host ignores SIGCHLD, or has waited for all children: ours among them */
    return child->gone;
}

bool a2d_child_ended(a2d_child *child, uint32_t timeout_ms) {
    uint64_t deadline = a2d_deadline(timeout_ms);
    for (uint32_t pause = 1; !ended(child); pause = pause < 20 ? pause * 2 : pause) {
        uint32_t left = a2d_left(deadline, pause);
        if (left == 0)
            return false;
        a2d_sleep(left);
    }
    return true;
}

void a2d_child_kill(a2d_child *child) {
    if (!child->gone)
        kill(-child->id, SIGKILL);
    if (a2d_child_ended(child, KILLED_IN) && !child->gone)
        child->told = child->gone = waitpid(child->id, &child->status, 0) == child->id;
}

void a2d_child_fate(const a2d_child *child, char *to, size_t size) {
    if (!child->told)
        snprintf(to, size, "%s", child->gone ? "ended, and the host was told how" : "does not end");
    else if (WIFSIGNALED(child->status))
        snprintf(to, size, "was killed by signal %d", WTERMSIG(child->status));
    else
        snprintf(to, size, "exited with status %d", WEXITSTATUS(child->status));
}

void a2d_child_close(a2d_child *child) {
    if (child->frames >= 0)
        close(child->frames);
    if (child->words >= 0)
        close(child->words);
    child->frames = child->words = -1;
}
