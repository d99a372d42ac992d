#define _GNU_SOURCE
#include "arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ABOVE = 10 }; /* as in child_posix.c */

/* Not every system has files that live in memory alone; a temporary one whose name is gone at once is the next best. */
static int temporary_file(void) {
    const char *folder = getenv("TMPDIR");
    char path[4096];
    if (snprintf(path, sizeof path, "%s/a2d-XXXXXX", folder && *folder ? folder : "/tmp") >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int file = mkstemp(path);
    if (file >= 0)
        unlink(path);
    return file;
}

static int unnamed_file(void) {
#if defined(__linux__)
    int file = memfd_create("a2d", MFD_CLOEXEC);
    if (file >= 0)
        return file;
#endif
    return temporary_file();
}

bool a2d_arena_open(a2d_arena *arena, char *why, size_t why_size) {
    *arena = (a2d_arena){.file = -1};
    int made = unnamed_file();
    if (made >= 0) {
        arena->file = fcntl(made, F_DUPFD_CLOEXEC, ABOVE);
        int failed = errno;
        close(made);
        errno = failed;
    }
    if (arena->file < 0)
        snprintf(why, why_size, "%s", strerror(errno));
    return arena->file >= 0;
}

/* A write beyond the limit for files would be answered by a signal that ends the host. */
static bool within_limit(uint64_t end) {
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || end <= limit.rlim_cur;
}

bool a2d_arena_write(a2d_arena *arena, uint64_t offset, const void *from, size_t length, char *why, size_t why_size) {
    const char *at = from;
    if (!within_limit(offset + length)) {
        snprintf(why, why_size, "%s", strerror(EFBIG));
        return false;
    }
    while (length > 0) {
        ssize_t written = pwrite(arena->file, at, length, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            snprintf(why, why_size, "%s", written < 0 ? strerror(errno) : "nothing could be written");
            return false;
        }
        at += written;
        offset += (uint64_t)written;
        length -= (size_t)written;
    }
    return true;
}

void a2d_arena_shrink(a2d_arena *arena) {
    if (ftruncate(arena->file, 0) != 0) {
        /* then it stays as large as it is, which hurts nobody */
    }
}

void a2d_arena_close(a2d_arena *arena) {
    if (arena->file >= 0)
        close(arena->file);
    free(arena->taken);
    *arena = (a2d_arena){.file = -1};
}
