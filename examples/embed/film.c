/* A host program that films: frames come to its memory while later ones are made, and its user may stop.
 *
 *     film BUNDLE PROMPT FOLDER [--python PATH] [--image PATH] [--frames N] [--seed N] [--options JSON]
 *
 * Writes FOLDER/00000.ppm and so on as frames come; an edit suite would put them on a track instead. Ctrl-C cancels, and
 * what was written stays. */
#include <a2d.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t stopped;

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

typedef struct arguments {
    const char *bundle, *prompt, *folder, *python, *image, *options;
    uint32_t frames;
    uint64_t seed;
} arguments;

static int usage(void) {
    fputs("usage: film BUNDLE PROMPT FOLDER [--python PATH] [--image PATH] [--frames N] [--seed N] [--options JSON]\n",
          stderr);
    return 2;
}

static int parse(int argc, char **argv, arguments *given) {
    const char **places[] = {&given->bundle, &given->prompt, &given->folder};
    size_t place = 0;
    for (int i = 1; i < argc; i++) {
        int has_value = i + 1 < argc;
        if (strcmp(argv[i], "--python") == 0 && has_value)
            given->python = argv[++i];
        else if (strcmp(argv[i], "--image") == 0 && has_value)
            given->image = argv[++i];
        else if (strcmp(argv[i], "--options") == 0 && has_value)
            given->options = argv[++i];
        else if (strcmp(argv[i], "--frames") == 0 && has_value)
            given->frames = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && has_value)
            given->seed = strtoull(argv[++i], NULL, 10);
        else if (argv[i][0] == '-' || place == 3)
            return 0;
        else
            *places[place++] = argv[i];
    }
    return place == 3;
}

typedef struct writer {
    const char *folder;
    uint32_t written;
} writer;

static int write_ppm(const char *folder, uint32_t number, const uint8_t *pixels, uint32_t height, uint32_t width) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%05u.ppm", folder, (unsigned)number) >= (int)sizeof path)
        return 0;
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return 0;
    size_t size = (size_t)3 * height * width;
    int written = fprintf(file, "P6\n%u %u\n255\n", (unsigned)width, (unsigned)height) > 0;
    written = fwrite(pixels, 1, size, file) == size && written;
    return fclose(file) == 0 && written;
}

/* On a thread of the library, in order; the pixels are ours until this returns. */
static int on_frames(const a2d_frames *frames, void *user) {
    writer *to = user;
    size_t size = (size_t)3 * frames->height * frames->width;
    for (uint32_t i = 0; i < frames->count; i++) {
        if (!write_ppm(to->folder, frames->first + i, frames->pixels + i * size, frames->height, frames->width)) {
            fprintf(stderr, "%s: frame %u cannot be written\n", to->folder, (unsigned)(frames->first + i));
            return 1; /* no use in going on */
        }
        to->written++;
    }
    return stopped;
}

static int on_step(const a2d_step *step, void *user) {
    (void)user;
    fprintf(stderr, "  block %u, step %u of %u, %u frames so far\n", (unsigned)step->block, (unsigned)step->index + 1,
            (unsigned)step->steps, (unsigned)step->frames);
    return stopped;
}

static a2d_status film(a2d_model *model, const arguments *given, writer *to, a2d_result *result, a2d_error *error) {
    a2d_image image = {.path = given->image};
    a2d_film_request request = A2D_FILM_REQUEST_INIT;
    a2d_generation *generation = NULL;
    request.prompt = given->prompt;
    request.image = given->image != NULL ? &image : NULL;
    request.frames = given->frames;
    request.seed = given->seed;
    request.options = given->options;
    request.on_frames = on_frames;
    request.on_step = on_step;
    request.user = to;
    a2d_status status = a2d_film(model, &request, &generation, error);
    if (status != A2D_OK)
        return status;
    while ((status = a2d_wait(generation, 40, result, error)) == A2D_RUNNING)
        if (stopped)
            a2d_cancel(generation);
    if (status == A2D_OK && result->remarks[0] != '\0')
        fprintf(stderr, "%s\n", result->remarks);
    a2d_release(generation);
    result->text = result->remarks = NULL; /* they went with it */
    return status;
}

int main(int argc, char **argv) {
    arguments given = {0};
    a2d_model *model = NULL;
    a2d_error error = A2D_ERROR_INIT;
    a2d_result result = A2D_RESULT_INIT;
    a2d_open_options options = A2D_OPEN_OPTIONS_INIT;
    if (!parse(argc, argv, &given))
        return usage();
    signal(SIGINT, stop);
    options.python = given.python;
    writer to = {given.folder, 0};
    a2d_status status = a2d_open(given.bundle, &options, &model, &error);
    if (status == A2D_OK)
        status = film(model, &given, &to, &result, &error);
    if (status == A2D_OK)
        printf("%s\t%u frames of %ux%u at %g a second%s\n", given.folder, (unsigned)to.written, (unsigned)result.width,
               (unsigned)result.height, result.fps, result.stop == A2D_STOP_CANCELLED ? "\tcancelled" : "");
    else
        fprintf(stderr, "%s: %s\n", a2d_status_name(status), error.message);
    a2d_close(model);
    return status != A2D_OK || to.written != result.frames;
}
