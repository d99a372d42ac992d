/* Fifty times open, use and close: no descriptor, thread or process is left behind. Memory is what the sanitizers and
 * valgrind look at. Counted where the system tells (Linux); elsewhere the cycles alone. */
#if defined(__linux__)
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <sys/wait.h>
#endif

#include "check.h"

static int entries(const char *folder) {
    int count = 0;
#if defined(__linux__)
    DIR *open = opendir(folder);
    CHECK(open != NULL);
    while (readdir(open) != NULL)
        count++;
    closedir(open);
#else
    (void)folder;
#endif
    return count;
}

static void check_no_children(void) {
#if defined(__linux__)
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
#endif
}

static void cycle(int number) {
    uint8_t pixels[3 * 40 * 30] = {0};
    const a2d_image image = {.pixels = pixels, .width = 40, .height = 30};
    a2d_request request = A2D_REQUEST_INIT;
    request.images = &image;
    request.image_count = 1;
    a2d_model *model = open_fake(number % 2 ? "steps=2" : "steps=1000 pause=1");
    a2d_generation *generation = start(model, &request);
    if (number % 2)
        CHECK_STATUS(a2d_wait(generation, 20000, NULL, NULL), A2D_OK);
    if (number % 3)
        a2d_release(generation); /* before the model, or after it */
    a2d_close(model);
    if (number % 3 == 0)
        a2d_release(generation);
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    worker = argv[1];
    cycle(0); /* whatever the system itself opens at the first thread or process is open now */
    int descriptors = entries("/proc/self/fd"), threads = entries("/proc/self/task");
    for (int i = 0; i < 50; i++) {
        cycle(i);
        check_no_children();
    }
    CHECK(entries("/proc/self/fd") == descriptors);
    CHECK(entries("/proc/self/task") == threads);
    return 0;
}
