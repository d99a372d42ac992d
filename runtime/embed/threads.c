#include "threads.h"

uint64_t a2d_deadline(uint32_t ms) { return ms == UINT32_MAX ? A2D_NEVER : a2d_now() + ms; }

uint32_t a2d_left(uint64_t deadline, uint32_t most) {
    uint64_t now = a2d_now();
    uint64_t left = deadline > now ? deadline - now : 0;
    return left < most ? (uint32_t)left : most;
}
