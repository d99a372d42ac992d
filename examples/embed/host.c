/* A host program: reads frames with a bundle while it goes on with its own work, and lets its user stop it.
 *
 *     host BUNDLE [--python PATH] [--prompt TEXT] [--steps N] FRAME...
 *
 * A frame is a path, or a PPM file, which is loaded here and handed over as pixels, as an edit suite would do with a frame
 * that it holds in memory. Prints what is written as it is written, then a line for each frame. Ctrl-C cancels. */
#include <a2d.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES 64

static volatile sig_atomic_t stopped;

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

typedef struct arguments {
    const char *bundle, *python, *prompt;
    uint32_t steps;
    const char *frames[FRAMES];
    size_t frame_count;
} arguments;

static int usage(void) {
    fputs("usage: host BUNDLE [--python PATH] [--prompt TEXT] [--steps N] FRAME...\n", stderr);
    return 2;
}

static int parse(int argc, char **argv, arguments *given) {
    for (int i = 1; i < argc; i++) {
        int has_value = i + 1 < argc;
        if (strcmp(argv[i], "--python") == 0 && has_value)
            given->python = argv[++i];
        else if (strcmp(argv[i], "--prompt") == 0 && has_value)
            given->prompt = argv[++i];
        else if (strcmp(argv[i], "--steps") == 0 && has_value)
            given->steps = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (argv[i][0] == '-')
            return 0;
        else if (given->bundle == NULL)
            given->bundle = argv[i];
        else if (given->frame_count < FRAMES)
            given->frames[given->frame_count++] = argv[i];
    }
    return given->bundle != NULL && given->frame_count > 0;
}

/* A binary PPM of 8 bits as pixels, to be freed; NULL where it is none. */
static uint8_t *load_ppm(const char *path, uint32_t *width, uint32_t *height) {
    unsigned most = 0;
    uint8_t *pixels = NULL;
    FILE *file = fopen(path, "rb");
    if (file != NULL && fscanf(file, "P6 %u %u %u", width, height, &most) == 3 && most == 255 && fgetc(file) != EOF) {
        size_t size = (size_t)*width * *height * 3;
        pixels = malloc(size + 1);
        if (pixels != NULL && fread(pixels, 1, size, file) != size) {
            free(pixels);
            pixels = NULL;
        }
    }
    if (file != NULL)
        fclose(file);
    return pixels;
}

/* On a thread of the library: a host would hand this to its own. */
static int on_step(const a2d_step *step, void *user) {
    fprintf(stderr, "  %s block %u step %u: %s\n", (const char *)user, step->block, step->index, step->text);
    return stopped;
}

static a2d_status start_frame(a2d_model *model, const arguments *given, const char *path, a2d_generation **generation,
                              a2d_error *error) {
    a2d_image image = {.path = path};
    a2d_request request = A2D_REQUEST_INIT;
    uint8_t *pixels = load_ppm(path, &image.width, &image.height);
    if (pixels != NULL) {
        image.path = NULL;
        image.pixels = pixels;
    }
    request.prompt = given->prompt;
    request.images = &image;
    request.image_count = 1;
    request.steps = given->steps;
    request.on_step = on_step;
    request.user = (void *)path;
    a2d_status status = a2d_start(model, &request, generation, error);
    free(pixels); /* they have been copied */
    return status;
}

/* Wait as a host does that has an interface to keep alive: a little at a time. */
static a2d_status finish_frame(a2d_generation *generation, const char *path) {
    a2d_result result = A2D_RESULT_INIT;
    a2d_error error = A2D_ERROR_INIT;
    a2d_status status;
    while ((status = a2d_wait(generation, 40, &result, &error)) == A2D_RUNNING)
        if (stopped)
            a2d_cancel(generation);
    if (status == A2D_OK)
        printf("%s\t%s\t%.2f%s\n", path, result.text, (double)result.confidence,
               result.stop == A2D_STOP_CANCELLED ? "\tcancelled" : "");
    else
        fprintf(stderr, "%s: %s: %s\n", path, a2d_status_name(status), error.message);
    return status;
}

int main(int argc, char **argv) {
    arguments given = {0};
    a2d_model *model = NULL;
    a2d_generation *generations[FRAMES] = {0};
    a2d_error error = A2D_ERROR_INIT;
    a2d_open_options options = A2D_OPEN_OPTIONS_INIT;
    int failed = 0;
    if (!parse(argc, argv, &given))
        return usage();
    signal(SIGINT, stop);
    options.python = given.python;
    if (a2d_open(given.bundle, &options, &model, &error) != A2D_OK) {
        fprintf(stderr, "%s: %s\n", a2d_status_name(error.status), error.message);
        return 1;
    }
    for (size_t i = 0; i < given.frame_count; i++) /* all of them at once: they are read in turn */
        if (start_frame(model, &given, given.frames[i], &generations[i], &error) != A2D_OK) {
            fprintf(stderr, "%s: %s\n", given.frames[i], error.message);
            failed = 1;
        }
    for (size_t i = 0; i < given.frame_count; i++) {
        if (generations[i] != NULL && finish_frame(generations[i], given.frames[i]) != A2D_OK)
            failed = 1;
        a2d_release(generations[i]);
    }
    a2d_close(model);
    return failed;
}
