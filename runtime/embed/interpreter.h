/* The Python interpreter beside this library: in a wheel, the one of the environment that it is installed in; in a plug-in,
 * the one that its maker put there. */
#ifndef A2D_INTERPRETER_H
#define A2D_INTERPRETER_H

#include <stdbool.h>
#include <stddef.h>

/** The path of an interpreter, UTF-8; false where there is none, with the library's own folder in `to`. */
bool a2d_find_interpreter(char *to, size_t size);

#endif
