/* a2d.h: run an A2D model from C, in a process of its own.
 *
 * liba2d starts the Python runtime as a child process (`python -m a2d.runtime.host.worker`) and speaks framed messages with
 * it. The host links a few kilobytes of C and no Python, no engine, no GPU library: nothing of the runtime's can clash
 * with the host's, hold its interface, or take it down. If the child dies, hangs or talks nonsense, a call returns an
 * error within a bounded time, and the next a2d_open works. docs/embedding.md has the frame format and the reasons.
 *
 * A complete host (examples/embed/ has a longer one):
 *
 *     #include <a2d.h>
 *     #include <stdio.h>
 *
 *     int main(void) {
 *         a2d_error error = A2D_ERROR_INIT;
 *         a2d_model *model = NULL;
 *         if (a2d_open("slate.a2d", NULL, &model, &error) != A2D_OK) {
 *             fprintf(stderr, "%s\n", error.message);
 *             return 1;
 *         }
 *         a2d_image image = {.path = "frame.png"};
 *         a2d_request request = A2D_REQUEST_INIT;
 *         request.images = &image;
 *         request.image_count = 1;
 *         a2d_generation *generation = NULL;
 *         a2d_result result = A2D_RESULT_INIT;
 *         a2d_status status = a2d_start(model, &request, &generation, &error);
 *         if (status == A2D_OK)
 *             status = a2d_wait(generation, A2D_FOREVER, &result, &error);
 *         if (status == A2D_OK)
 *             printf("%s\n", result.text);
 *         else
 *             fprintf(stderr, "%s\n", error.message);
 *         a2d_release(generation);
 *         a2d_close(model);
 *         return status != A2D_OK;
 *     }
 *
 * Ownership. What you pass in is copied before a call returns; you keep it. A handle is yours until you hand it to
 * a2d_close or a2d_release. Texts in a2d_info belong to the model until a2d_close, those in a2d_result to the generation
 * until a2d_release, those in an a2d_step of a callback, and the pixels of an a2d_frames, to the callback, those in an a2d_step of a2d_poll
 * to the generation until its next a2d_poll. All texts are UTF-8 and end with a zero byte.
 *
 * Threads. Every function may be called from any thread. Two exceptions, as with free(): nothing else may use a model
 * while a2d_close runs on it (its generations may be used: they end with A2D_ERROR_CLOSED), and nothing else a generation
 * while a2d_release runs on it. Callbacks come on a thread of the library, one at a time per model; they should be
 * short, because the next step waits for them. A callback may call everything but a2d_wait with a time to wait and
 * a2d_close, which return A2D_ERROR_STATE there. After a2d_release has returned, no callback of that generation comes.
 *
 * Versions. Every struct begins with its size, which the _INIT macros set; all its other members may be zero. A library
 * newer than the header reads and writes no further than that size; an older library refuses members that it does not
 * know unless they are zero. Values of enums never change their meaning. The library has no global state, installs no
 * signal handler, changes no setting of the process, and throws nothing.
 */
#ifndef A2D_H
#define A2D_H

#include <stddef.h>
#include <stdint.h>

#if defined(A2D_STATIC)
#define A2D_API
#elif defined(_WIN32)
#if defined(A2D_BUILDING)
#define A2D_API __declspec(dllexport)
#else
#define A2D_API __declspec(dllimport)
#endif
#else
#define A2D_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** The ABI that this header describes; a2d_abi() is the library's. It rises when a program has to be compiled again. */
#define A2D_ABI 2

/** A time to wait that never passes. */
#define A2D_FOREVER UINT32_MAX

/** What a call came to. Zero is success, positive numbers say "not yet", negative ones are errors. */
typedef enum a2d_status {
    A2D_OK = 0,
    A2D_RUNNING = 1, /**< the generation is queued or running, and the time to wait has passed */

    A2D_ERROR_ARGUMENT = -1,    /**< an argument cannot be used as given; nothing has changed */
    A2D_ERROR_STATE = -2,       /**< not possible here: in a callback */
    A2D_ERROR_CLOSED = -3,      /**< the model was closed before the generation ended */
    A2D_ERROR_MEMORY = -4,      /**< out of memory, here or in the worker */
    A2D_ERROR_SYSTEM = -5,      /**< the operating system refused something: a process, a pipe, a thread, disk space */
    A2D_ERROR_INTERPRETER = -6, /**< no Python interpreter, or it cannot be started */

    A2D_ERROR_DIED = -10,     /**< the worker ended by itself or was killed; open the bundle again */
    A2D_ERROR_HUNG = -11,     /**< the worker gave no sign of life in time and was killed; open the bundle again */
    A2D_ERROR_PROTOCOL = -12, /**< the worker sent what no worker of this version sends, and was killed */

    A2D_ERROR_BUNDLE = -20,   /**< the bundle is missing, incomplete, too new, or not what its manifest says */
    A2D_ERROR_ENGINE = -21,   /**< a graph cannot be loaded or run on this machine */
    A2D_ERROR_REQUEST = -22,  /**< a prompt or an option cannot be used as given */
    A2D_ERROR_IMAGE = -23,    /**< an image cannot be read, or is over the pixel budget */
    A2D_ERROR_CONTEXT = -24,  /**< the prompt does not fit the model's context */
    A2D_ERROR_NUMERICS = -25, /**< a graph computed something that is not finite */
    A2D_ERROR_INTERNAL = -26  /**< an error in a2d itself; the message names it, and the worker goes on */
} a2d_status;

/** Why a generation ended. */
typedef enum a2d_stop {
    A2D_STOP_TOKEN = 0,     /**< the model wrote a stop token */
    A2D_STOP_LENGTH = 1,    /**< max_tokens were written; of a film: all frames were made */
    A2D_STOP_CONTEXT = 2,   /**< the context is full */
    A2D_STOP_CANCELLED = 3, /**< cancelled; the text, or the frames, are what had been made */
    A2D_STOP_REPEATS = 4,   /**< the end of the answer repeats itself, as often as option stop_repeats allows */
    A2D_STOP_BUDGET = 5     /**< cut where the time of option budget was spent */
} a2d_stop;

/** What a result is made of. */
typedef enum a2d_modality {
    A2D_MODALITY_TEXT = 0,  /**< text and token_ids: of a2d_start */
    A2D_MODALITY_PIXELS = 1 /**< frames, which were handed to on_frames: of a2d_film */
} a2d_modality;

/** How a request's prompt is to be read. */
typedef enum a2d_prompt_format {
    A2D_PROMPT_TEXT = 0,     /**< a user's message, through the bundle's chat template if it has one */
    A2D_PROMPT_RAW = 1,      /**< text that is taken as it is */
    A2D_PROMPT_MESSAGES = 2, /**< a JSON list of {"role": ..., "content": ...} */
    A2D_PROMPT_TOKENS = 3    /**< a JSON list of token ids */
} a2d_prompt_format;

/** Bytes of a pixel, in the order in which they lie in memory; 8 bits each. Alpha is composed onto white. */
typedef enum a2d_pixel_format {
    A2D_RGB8 = 0,
    A2D_RGBA8 = 1,
    A2D_BGR8 = 2,
    A2D_BGRA8 = 3,
    A2D_GRAY8 = 4
} a2d_pixel_format;

/** A loaded bundle in its child process. */
typedef struct a2d_model a2d_model;
/** One generation, queued, running or ended. */
typedef struct a2d_generation a2d_generation;

/** What went wrong, in words: what came, what was expected, what to do next. Filled only when a call fails. */
typedef struct a2d_error {
    uint32_t size;
    a2d_status status;
    char message[2040];
} a2d_error;
#define A2D_ERROR_INIT {sizeof(a2d_error), A2D_OK, {0}}

/** How to open a bundle; NULL or zeros are the defaults. */
typedef struct a2d_open_options {
    uint32_t size;
    /** Threads of one operator; 0 is all physical cores. */
    uint32_t threads;
    /** The interpreter that has a2d installed: a path, or a name on PATH. NULL looks beside the library: in `bin/`,
     * `Scripts/`, `python/bin/` and `python/` of its folder and of the folders above it, nearest first. */
    const char *python;
    /** A precision that the bundle holds; NULL is the best for the device. */
    const char *precision;
    /** An engine and a device by name; NULL are the defaults of a2d.load. */
    const char *engine;
    const char *device;
    /** Changes to the host's environment for the worker, ended by NULL: "NAME=value" sets, "NAME" takes away. PYTHON...
     * variables are ignored by the worker anyway. Variables by which a host finds libraries of its own (LD_LIBRARY_PATH,
     * LD_PRELOAD, DYLD_LIBRARY_PATH and the like) do not reach the worker, unless they are set here. */
    const char *const *environment;
    /** Milliseconds from start to loaded; 0 is 120,000. */
    uint32_t open_timeout_ms;
    /** Milliseconds without any sign of life after which an opened worker counts as hung; 0 is 30,000. The worker answers
     * while it computes, so this bounds a hang and not a slow step. */
    uint32_t silence_timeout_ms;
    /** Milliseconds that a2d_close gives the worker to leave by itself; 0 is 2,000. */
    uint32_t close_timeout_ms;
} a2d_open_options;
#define A2D_OPEN_OPTIONS_INIT {sizeof(a2d_open_options), 0, 0, 0, 0, 0, 0, 0, 0, 0}

/** What was opened. */
typedef struct a2d_info {
    uint32_t size;
    uint32_t block_size;  /**< tokens per block, the bundle's default; 0 where it writes no text */
    uint32_t max_context; /**< tokens that prompt and answer may have together; 0 where it writes no text */
    uint32_t vision;      /**< 1 where the bundle takes images */
    uint64_t process;     /**< the worker's process id */
    const char *version;  /**< of a2d in the worker */
    const char *name;     /**< of the checkpoint */
    const char *precision;
    const char *engine;   /**< the engine and its device, in words */
    uint32_t films;       /**< 1 where the bundle films */
    uint32_t film_frames; /**< length of a film, its size in pixels, and frames a second, where nothing else is asked for */
    uint32_t film_height;
    uint32_t film_width;
    double film_fps;
} a2d_info;
#define A2D_INFO_INIT {sizeof(a2d_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/** An image: a path, or pixels in memory (path is NULL then). This struct never grows; zero what you do not use. */
typedef struct a2d_image {
    const char *path;     /**< PNG, JPEG, WebP, BMP, TIFF or GIF */
    const uint8_t *pixels; /**< the first byte of the top row */
    uint32_t width;        /**< in pixels */
    uint32_t height;
    ptrdiff_t stride; /**< bytes from a row to the one below it; negative where rows lie bottom up; 0 is no gap */
    a2d_pixel_format format;
    uint32_t reserved;
} a2d_image;

/** What one denoising step did. Of a film, the members about tokens are 0 and the text is empty. */
typedef struct a2d_step {
    uint32_t size;
    uint32_t block;    /**< index of the block, from 0 */
    uint32_t index;    /**< index of the step within its block, from 0 */
    uint32_t accepted; /**< tokens that were settled or changed in this step */
    uint32_t masked;   /**< tokens of the block that are still open */
    uint32_t final;    /**< 1 where the block is finished with this step */
    uint32_t tokens;   /**< tokens written so far, those of the open block included */
    float confidence;  /**< mean probability of the tokens accepted in this step, 0..1; 0 where there is none */
    const char *text;  /**< all text so far, up to a stop token */
    size_t text_length;
    uint32_t steps;  /**< of a film: steps of this block */
    uint32_t frames; /**< of a film: frames that on_frames was given so far */
} a2d_step;
#define A2D_STEP_INIT {sizeof(a2d_step), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/** Frames of a film, one after the other, as they were decoded. */
typedef struct a2d_frames {
    uint32_t size;
    uint32_t block; /**< index of the block that they belong to, from 0; a large block comes in several calls */
    uint32_t first; /**< number of the first of them in the film, from 0: calls follow each other without gaps */
    uint32_t count;
    uint32_t height; /**< in pixels, the same in all calls of a film */
    uint32_t width;
    const uint8_t *pixels; /**< [count, height, width, 3]: A2D_RGB8, rows without gaps, top first; the callback's */
    size_t length;         /**< bytes: count * height * width * 3 */
} a2d_frames;

/** What a generation gave. */
typedef struct a2d_result {
    uint32_t size;
    a2d_stop stop;
    uint32_t token_count;   /**< up to and including the block that holds a stop token */
    uint32_t forwards;      /**< of the network, prefill and commits included */
    uint32_t steps;         /**< denoising steps */
    uint32_t blocks;        /**< finished ones */
    uint32_t prompt_tokens;
    uint32_t cached_tokens; /**< prompt tokens that did not have to be computed again */
    float confidence;       /**< mean probability with which the tokens up to the stop token were accepted, 0..1 */
    a2d_modality modality;
    double seconds;             /**< decoding, in the worker */
    double first_block_seconds; /**< from the beginning of decoding to the end of the first block */
    const char *text;           /**< up to the stop token; empty where the bundle has no tokenizer */
    size_t text_length;
    const int32_t *token_ids; /**< [token_count] */
    const float *token_confidence; /**< [token_count] probability with which each token was accepted, 0..1 */
    uint32_t frames;               /**< of a film: frames made, their size in pixels, and frames a second */
    uint32_t height;
    uint32_t width;
    double fps;
    const char *remarks; /**< of a film: a sentence a line about what was done differently from what was asked, as a
                              prompt that was cut; empty where there is nothing to say */
} a2d_result;
#define A2D_RESULT_INIT \
    {sizeof(a2d_result), A2D_STOP_TOKEN, 0, 0, 0, 0, 0, 0, 0, A2D_MODALITY_TEXT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/** Called after each step, on a thread of the library. Any other return value than 0 cancels the generation. */
typedef int (*a2d_on_step)(const a2d_step *step, void *user);
/** Called with the frames of a film as they come, on a thread of the library. Any other return value than 0 cancels. */
typedef int (*a2d_on_frames)(const a2d_frames *frames, void *user);
/** Called once when a generation has ended, well or not, on a thread of the library; a2d_wait returns at once then. Not
 * called for a generation that is released or whose model is closed. */
typedef void (*a2d_on_done)(a2d_generation *generation, a2d_status status, void *user);

/** What to generate; zeros leave the choice to the bundle. */
typedef struct a2d_request {
    uint32_t size;
    a2d_prompt_format prompt_format;
    const char *prompt; /**< NULL asks the bundle's own question, if it has one */
    const a2d_image *images;
    size_t image_count;
    uint32_t max_tokens; /**< 0 is 256 */
    uint32_t steps;      /**< forwards per block; alone the pace, in the place of the bundle's steps and threshold */
    float threshold;     /**< accept every token whose confidence is above this; 0 is the bundle's choice */
    uint32_t reserved;
    /** All other options of a generation as a JSON object, by the names of `a2d run`'s flags with underscores:
     * {"temperature": 0.7, "seed": 1}. NULL is none. */
    const char *options;
    a2d_on_step on_step; /**< NULL: none */
    a2d_on_done on_done; /**< NULL: none */
    void *user;          /**< handed to both */
} a2d_request;
#define A2D_REQUEST_INIT {sizeof(a2d_request), A2D_PROMPT_TEXT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/** A film to make; zeros leave the choice to the bundle. */
typedef struct a2d_film_request {
    uint32_t size;
    uint32_t frames; /**< length: 1 + 4 k for most bundles, and the error says what would do */
    uint32_t height; /**< in pixels */
    uint32_t width;
    uint32_t steps; /**< of a block, of those that the bundle has */
    uint32_t reserved;
    uint64_t seed;          /**< of the noise: another one is another take */
    const char *prompt;     /**< what the film shows */
    const a2d_image *image; /**< the first frame; NULL: it is made up as well */
    /** All other options as a JSON object, by the names of `a2d film`'s flags with underscores: {"commit": "merged"}.
     * NULL is none. */
    const char *options;
    a2d_on_frames on_frames; /**< has to be there: it is where the frames go */
    a2d_on_step on_step;     /**< NULL: none */
    a2d_on_done on_done;     /**< NULL: none */
    void *user;              /**< handed to all three */
} a2d_film_request;
#define A2D_FILM_REQUEST_INIT {sizeof(a2d_film_request), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/** The library's A2D_ABI. */
A2D_API uint32_t a2d_abi(void);

/** The library's version, "0.1.0". */
A2D_API const char *a2d_version(void);

/** A status as text: "A2D_ERROR_HUNG". Never NULL. */
A2D_API const char *a2d_status_name(a2d_status status);

/** Start a worker and load the bundle at `path` into it. Returns when it is loaded (seconds for a large one), with *model
 * set, or with an error and *model NULL; nothing is left behind then. `options` and `error` may be NULL. */
A2D_API a2d_status a2d_open(const char *path, const a2d_open_options *options, a2d_model **model, a2d_error *error);

/** What was opened. Fills *info. */
A2D_API a2d_status a2d_describe(a2d_model *model, a2d_info *info);

/** Queue a generation, and return at once with *generation set. Generations of a model run one after the other, in the
 * order in which they were started; for several at a time open the bundle several times. Options that do not fit are an
 * error of the generation (a2d_wait), not of this call. The pixels of images are copied. */
A2D_API a2d_status a2d_start(a2d_model *model, const a2d_request *request, a2d_generation **generation,
                             a2d_error *error);

/** Queue a film, with a bundle that films (a2d_info.films), and return at once with *generation set: as a2d_start, in the
 * same queue. Frames come by on_frames, block after block, while later ones are made; a2d_wait's result counts them. A
 * cancellation takes effect before the next step. The pixels of the image are copied. */
A2D_API a2d_status a2d_film(a2d_model *model, const a2d_film_request *request, a2d_generation **generation,
                            a2d_error *error);

/** Wait up to `timeout_ms` for a generation to end. A2D_OK fills *result, A2D_RUNNING says that the time has passed,
 * anything else is what the generation failed with. May be called again at any time. `result`, `error` may be NULL. */
A2D_API a2d_status a2d_wait(a2d_generation *generation, uint32_t timeout_ms, a2d_result *result, a2d_error *error);

/** Look without waiting: A2D_RUNNING, or what a2d_wait returns. Fills *step, if it is not NULL, with the latest step
 * (zeros and an empty text before the first). For hosts that have a timer and want no callbacks. */
A2D_API a2d_status a2d_poll(a2d_generation *generation, a2d_step *step);

/** End a generation before its next step, or before its first. Returns at once; the generation ends with A2D_OK and
 * A2D_STOP_CANCELLED, unless it was over already. */
A2D_API void a2d_cancel(a2d_generation *generation);

/** Let go of a generation, cancelling it if it still runs. Waits for a callback of it that is running, unless it is called
 * from that callback. NULL is allowed. */
A2D_API void a2d_release(a2d_generation *generation);

/** End the worker and free the model. Generations that have not ended get A2D_ERROR_CLOSED, and stay yours until they are
 * released. Waits for a running callback; the worker is given `close_timeout_ms`, then it is killed. NULL is allowed.
 * Returns A2D_OK, or A2D_ERROR_STATE in a callback of this model. */
A2D_API a2d_status a2d_close(a2d_model *model);

#ifdef __cplusplus
}
#endif
#endif
