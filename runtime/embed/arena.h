/* Where pixels lie while they travel: a file in memory that has no name, which the child inherits. Nothing of it can be left
 * behind, whoever dies. Knows places and bytes, not pictures. Not for several threads at once, but for a2d_arena_write. */
#ifndef A2D_ARENA_H
#define A2D_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#include <windows.h>
#endif

/** A stretch of the arena. */
typedef struct a2d_region {
    uint64_t offset;
    uint64_t length;
} a2d_region;

typedef struct a2d_arena {
#if defined(_WIN32)
    HANDLE file;   /**< ours, to write */
    HANDLE shared; /**< the child's, to read: a position of its own */
#else
    int file;
#endif
    a2d_region *taken; /**< by rising offset */
    size_t count, capacity;
} a2d_arena;

bool a2d_arena_open(a2d_arena *arena, char *why, size_t why_size);
/** Find room for `length` bytes: the first gap that is large enough. False where there is no memory for the list. */
bool a2d_arena_take(a2d_arena *arena, uint64_t length, a2d_region *region);
void a2d_arena_give(a2d_arena *arena, a2d_region region);
/** Write within a region. False, with the reason: no space left, for one. */
bool a2d_arena_write(a2d_arena *arena, uint64_t offset, const void *from, size_t length, char *why, size_t why_size);
void a2d_arena_close(a2d_arena *arena);

/** Give memory back to the system: nothing is taken any more. */
void a2d_arena_shrink(a2d_arena *arena);

#endif
