#include "arena.h"

#include <stdlib.h>
#include <string.h>

#define KEPT (64u << 20) /* bytes that stay with an empty arena: the next frame is as large as the last one */

static uint64_t end_of(a2d_region region) { return region.offset + region.length; }

bool a2d_arena_take(a2d_arena *arena, uint64_t length, a2d_region *region) {
    if (arena->count == arena->capacity) {
        size_t capacity = arena->capacity ? arena->capacity * 2 : 8;
        a2d_region *taken = realloc(arena->taken, capacity * sizeof *taken);
        if (taken == NULL)
            return false;
        arena->taken = taken;
        arena->capacity = capacity;
    }
    size_t place = 0;
    uint64_t offset = 0;
    while (place < arena->count && arena->taken[place].offset - offset < length)
        offset = end_of(arena->taken[place++]);
    memmove(arena->taken + place + 1, arena->taken + place, (arena->count - place) * sizeof *arena->taken);
    *region = arena->taken[place] = (a2d_region){offset, length};
    arena->count++;
    return true;
}

void a2d_arena_give(a2d_arena *arena, a2d_region region) {
    uint64_t end = arena->count ? end_of(arena->taken[arena->count - 1]) : 0;
    for (size_t i = 0; i < arena->count; i++) {
        if (arena->taken[i].offset != region.offset || arena->taken[i].length != region.length)
            continue;
        arena->count--;
        memmove(arena->taken + i, arena->taken + i + 1, (arena->count - i) * sizeof *arena->taken);
        break;
    }
    if (arena->count == 0 && end > KEPT)
        a2d_arena_shrink(arena);
}
