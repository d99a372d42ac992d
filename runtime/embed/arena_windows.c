#include "arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

static bool fail(char *why, size_t why_size) {
    snprintf(why, why_size, "Windows error %lu", (unsigned long)GetLastError());
    return false;
}

/* A temporary file that Windows keeps in its cache and takes away with the last handle. It is opened twice: two handles of
 * one opening share a position. */
bool a2d_arena_open(a2d_arena *arena, char *why, size_t why_size) {
    *arena = (a2d_arena){.file = INVALID_HANDLE_VALUE, .shared = INVALID_HANDLE_VALUE};
    wchar_t folder[MAX_PATH + 1], path[MAX_PATH + 1];
    if (GetTempPathW(MAX_PATH + 1, folder) == 0 || GetTempFileNameW(folder, L"a2d", 0, path) == 0)
        return fail(why, why_size);
    DWORD shared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    DWORD kind = FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE;
    SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
    arena->file = CreateFileW(path, GENERIC_WRITE | DELETE, shared, NULL, CREATE_ALWAYS, kind, NULL);
    if (arena->file != INVALID_HANDLE_VALUE)
        arena->shared = CreateFileW(path, GENERIC_READ, shared, &inherited, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (arena->shared != INVALID_HANDLE_VALUE)
        return true;
    fail(why, why_size);
    a2d_arena_close(arena);
    return false;
}

bool a2d_arena_write(a2d_arena *arena, uint64_t offset, const void *from, size_t length, char *why, size_t why_size) {
    const char *at = from;
    while (length > 0) {
        OVERLAPPED place = {.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
        DWORD written = 0, most = length < (1u << 30) ? (DWORD)length : 1u << 30;
        if (!WriteFile(arena->file, at, most, &written, &place) || written == 0)
            return fail(why, why_size);
        at += written;
        offset += written;
        length -= written;
    }
    return true;
}

void a2d_arena_shrink(a2d_arena *arena) {
    LARGE_INTEGER begin = {0};
    if (SetFilePointerEx(arena->file, begin, NULL, FILE_BEGIN))
        SetEndOfFile(arena->file);
}

void a2d_arena_close(a2d_arena *arena) {
    if (arena->shared != INVALID_HANDLE_VALUE)
        CloseHandle(arena->shared);
    if (arena->file != INVALID_HANDLE_VALUE)
        CloseHandle(arena->file);
    free(arena->taken);
    *arena = (a2d_arena){.file = INVALID_HANDLE_VALUE, .shared = INVALID_HANDLE_VALUE};
}
