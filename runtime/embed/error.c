#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model.h"

uint32_t a2d_abi(void) { return A2D_ABI; }
const char *a2d_version(void) { return A2D_VERSION; }

const char *a2d_status_name(a2d_status status) {
    switch (status) {
#define NAME(status) \
    case status: \
        return #status
        NAME(A2D_OK);
        NAME(A2D_RUNNING);
        NAME(A2D_ERROR_ARGUMENT);
        NAME(A2D_ERROR_STATE);
        NAME(A2D_ERROR_CLOSED);
        NAME(A2D_ERROR_MEMORY);
        NAME(A2D_ERROR_SYSTEM);
        NAME(A2D_ERROR_INTERPRETER);
        NAME(A2D_ERROR_DIED);
        NAME(A2D_ERROR_HUNG);
        NAME(A2D_ERROR_PROTOCOL);
        NAME(A2D_ERROR_BUNDLE);
        NAME(A2D_ERROR_ENGINE);
        NAME(A2D_ERROR_REQUEST);
        NAME(A2D_ERROR_IMAGE);
        NAME(A2D_ERROR_CONTEXT);
        NAME(A2D_ERROR_NUMERICS);
        NAME(A2D_ERROR_INTERNAL);
#undef NAME
    }
    return "unknown status";
}

/* The size that a caller's struct says it has; all of them begin with it. */
static uint32_t size_of(const void *given) {
    uint32_t size;
    memcpy(&size, given, sizeof size);
    return size;
}

bool a2d_struct_in(void *to, size_t known, const void *from) {
    size_t size = size_of(from);
    const char *bytes = from;
    memset(to, 0, known);
    if (size < sizeof(uint32_t) || size > 4096)
        return false;
    for (size_t i = known; i < size; i++)
        if (bytes[i] != 0)
            return false;
    memcpy(to, from, size < known ? size : known);
    return true;
}

void a2d_struct_out(void *to, const void *from, size_t known) {
    size_t size = size_of(to);
    const size_t head = sizeof(uint32_t);
    if (size > head)
        memcpy((char *)to + head, (const char *)from + head, (size < known ? size : known) - head);
}

a2d_status a2d_fail(a2d_error *error, a2d_status status, const char *form, ...) {
    a2d_error made = {.status = status};
    va_list arguments;
    va_start(arguments, form);
    vsnprintf(made.message, sizeof made.message, form, arguments);
    va_end(arguments);
    if (error != NULL)
        a2d_struct_out(error, &made, sizeof made);
    return status;
}
