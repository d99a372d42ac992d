// The C++ header over the same library: handles that let go, exceptions, lambdas. Against the fake worker.
#include <a2d.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
            std::exit(1); \
        } \
    } while (0)

static a2d_open_options options_for(const char *worker) {
    a2d_open_options options = A2D_OPEN_OPTIONS_INIT;
    options.python = worker;
    return options;
}

template <class Work> static a2d_status status_of(Work work) {
    try {
        work();
    } catch (const a2d::Error &error) {
        CHECK(std::string(error.what()).size() > 0);
        return error.status();
    }
    return A2D_OK;
}

int main(int, char **argv) {
    using namespace std::chrono_literals;
    const a2d_open_options options = options_for(argv[1]);
    a2d::Model model("steps=3 pause=1", options);
    CHECK(std::string(model.info().engine) == "fake engine");

    const std::uint8_t pixels[12] = {};
    a2d::Request request;
    request.prompt("what is it").image("a.png").image(pixels, 2, 2).options("{}").steps = 4;
    int steps = 0;
    a2d::Result result = model.generate(request, [&](const a2d_step &) { return ++steps > 0; });
    CHECK(steps == 6 && result.text.find("0|what is it|0|4|0|{}|a.png|2x2:0:") == 0);
    CHECK(result.token_confidence.size() == 3 && result.token_confidence[0] == 0.25f);
    CHECK(result.token_ids.size() == 3 && result.numbers.steps == 6 && !result.cancelled());

    a2d::Generation generation = model.start(request);
    while (!generation.wait(1ms)) {
    }
    CHECK(generation.latest().tokens == 12 && generation.get().text == result.text);

    CHECK(model.generate(request, [](const a2d_step &) { return false; }).cancelled());
    bool thrown = false;
    try {
        model.generate(request, [](const a2d_step &) -> bool { throw std::runtime_error("the host's own"); });
    } catch (const std::runtime_error &error) {
        thrown = std::string(error.what()) == "the host's own";
    }
    CHECK(thrown);
    a2d::Generation cancelled = model.start(request);
    cancelled.cancel();
    CHECK(cancelled.get().numbers.steps <= 6);

    a2d::Request bad;
    bad.threshold = 2;
    CHECK(status_of([&] { model.start(bad); }) == A2D_ERROR_ARGUMENT);
    bad.threshold = 0;
    bad.prompt("refuse this");
    CHECK(status_of([&] { model.generate(bad); }) == A2D_ERROR_IMAGE);
    CHECK(status_of([&] { a2d::Model("missing", options); }) == A2D_ERROR_BUNDLE);
    CHECK(status_of([&] { a2d::Model("x", options_for("/no/such/python")); }) == A2D_ERROR_INTERPRETER);

    a2d::Model studio("films steps=2", options);
    a2d::FilmRequest shot("a ball");
    a2d_image board = {};
    board.pixels = pixels;
    board.width = board.height = 2;
    shot.image(board).options("{}").seed = 3;
    std::uint32_t frames = 0;
    auto keep = [&](const a2d_frames &some) {
        CHECK(some.first == frames && some.pixels[0] == static_cast<std::uint8_t>(7 * frames));
        frames += some.count;
        return true;
    };
    int film_steps = 0;
    a2d::Result film = studio.film(shot, keep, [&](const a2d_step &) { return ++film_steps > 0; }).get();
    CHECK(frames == 9 && film_steps == 6 && film.numbers.modality == A2D_MODALITY_PIXELS && film.text.empty());
    CHECK(film.remarks.find("a ball|0|0|0|0|3|{}|2x2:0:") == 0 && film.numbers.frames == 9);
    CHECK(studio.film(shot.image("b.png"), [](const a2d_frames &) { return true; }).get().remarks.find("|b.png") > 0);
    thrown = false;
    try {
        studio.film(shot, [](const a2d_frames &) -> bool { throw std::runtime_error("no disk"); }).get();
    } catch (const std::runtime_error &error) {
        thrown = std::string(error.what()) == "no disk";
    }
    CHECK(thrown && status_of([&] { studio.film(shot, {}); }) == A2D_ERROR_ARGUMENT);

    a2d::Generation outlives = model.start(request);
    { a2d::Model moved = std::move(model); } // closed here
    CHECK(status_of([&] { outlives.get(); }) == A2D_ERROR_CLOSED || outlives.get().numbers.steps == 6);
    return 0;
}
