// a2d.hpp: a2d.h for C++14 and later. Handles that let go of themselves, exceptions instead of statuses, callbacks that are
// lambdas. Header only; a2d.h has the rules of ownership and threads, which hold here as well.
//
//     a2d::Model model("slate.a2d");
//     a2d::Request request;
//     request.image("frame.png");
//     std::cout << model.generate(request).text << "\n";
//
//     a2d::Generation generation = model.start(request, [](const a2d_step &step) { return show(step.text); });
//     while (!generation.wait(40ms)) redraw();
//
//     a2d::FilmRequest shot("A red ball rolls.");
//     a2d::Model("film.a2d").film(shot, [](const a2d_frames &frames) { return keep(frames); }).get();
#ifndef A2D_HPP
#define A2D_HPP

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "a2d.h"

namespace a2d {

// What a call failed with.
class Error : public std::runtime_error {
public:
    Error(a2d_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
    a2d_status status() const noexcept { return status_; }

private:
    a2d_status status_;
};

// A result with texts of its own.
struct Result {
    std::string text;
    std::vector<std::int32_t> token_ids;
    std::vector<float> token_confidence;
    std::string remarks;                  // of a film
    a2d_result numbers = A2D_RESULT_INIT; // its pointers are null
    bool cancelled() const noexcept { return numbers.stop == A2D_STOP_CANCELLED; }
};

// What to generate. Pixels that are added have to stay where they are until start() has returned.
class Request {
public:
    Request &prompt(std::string text, a2d_prompt_format format = A2D_PROMPT_TEXT) {
        prompt_ = std::make_unique<std::string>(std::move(text));
        format_ = format;
        return *this;
    }
    Request &image(std::string path) {
        paths_.push_back(std::make_unique<std::string>(std::move(path)));
        a2d_image added = {};
        added.path = paths_.back()->c_str();
        images_.push_back(added);
        return *this;
    }
    Request &image(const std::uint8_t *pixels, std::uint32_t width, std::uint32_t height, std::ptrdiff_t stride = 0,
                   a2d_pixel_format format = A2D_RGB8) {
        a2d_image added = {};
        added.pixels = pixels;
        added.width = width;
        added.height = height;
        added.stride = stride;
        added.format = format;
        images_.push_back(added);
        return *this;
    }
    // A JSON object, as a2d_request.options.
    Request &options(std::string json) {
        options_ = std::make_unique<std::string>(std::move(json));
        return *this;
    }
    std::uint32_t max_tokens = 0, steps = 0; // zeros are the bundle's choice
    float threshold = 0;

    // As C sees it, for as long as this object is not changed.
    a2d_request view() const noexcept {
        a2d_request made = A2D_REQUEST_INIT;
        made.prompt_format = format_;
        made.prompt = prompt_ ? prompt_->c_str() : nullptr;
        made.options = options_ ? options_->c_str() : nullptr;
        made.images = images_.data();
        made.image_count = images_.size();
        made.max_tokens = max_tokens;
        made.steps = steps;
        made.threshold = threshold;
        return made;
    }

private:
    std::unique_ptr<std::string> prompt_, options_;
    a2d_prompt_format format_ = A2D_PROMPT_TEXT;
    std::vector<std::unique_ptr<std::string>> paths_;
    std::vector<a2d_image> images_;
};

// What to film. Pixels of the image have to stay where they are until film() has returned.
class FilmRequest {
public:
    explicit FilmRequest(std::string prompt) : prompt_(std::make_unique<std::string>(std::move(prompt))) {}
    FilmRequest &image(std::string path) {
        path_ = std::make_unique<std::string>(std::move(path));
        image_ = {};
        image_.path = path_->c_str();
        pictured_ = true;
        return *this;
    }
    FilmRequest &image(const a2d_image &pixels) {
        image_ = pixels;
        pictured_ = true;
        return *this;
    }
    // A JSON object, as a2d_film_request.options.
    FilmRequest &options(std::string json) {
        options_ = std::make_unique<std::string>(std::move(json));
        return *this;
    }
    std::uint32_t frames = 0, height = 0, width = 0, steps = 0; // zeros are the bundle's choice
    std::uint64_t seed = 0;

    // As C sees it, for as long as this object is not changed.
    a2d_film_request view() const noexcept {
        a2d_film_request made = A2D_FILM_REQUEST_INIT;
        made.prompt = prompt_->c_str();
        made.image = pictured_ ? &image_ : nullptr;
        made.options = options_ ? options_->c_str() : nullptr;
        made.frames = frames;
        made.height = height;
        made.width = width;
        made.steps = steps;
        made.seed = seed;
        return made;
    }

private:
    std::unique_ptr<std::string> prompt_, path_, options_;
    a2d_image image_ = {};
    bool pictured_ = false;
};

// Called with frames as they come, on a thread of the library; false cancels. An exception cancels too.
using OnFrames = std::function<bool(const a2d_frames &)>;

// Called after each step on a thread of the library; false cancels. An exception cancels too, and comes out of wait().
using OnStep = std::function<bool(const a2d_step &)>;

namespace detail {

inline void check(a2d_status status, const a2d_error &error) {
    if (status < 0)
        throw Error(status, error.message);
}

struct Callback {
    OnStep call;
    OnFrames frames;
    std::exception_ptr thrown; // read after the generation has ended
};

template <class Call, class Told> int call(Callback &callback, const Call &function, const Told &told) noexcept {
    try {
        return function(told) ? 0 : 1;
    } catch (...) {
        callback.thrown = std::current_exception();
        return 1;
    }
}

inline int on_step(const a2d_step *step, void *user) noexcept {
    auto &callback = *static_cast<Callback *>(user);
    return call(callback, callback.call, *step);
}

inline int on_frames(const a2d_frames *frames, void *user) noexcept {
    auto &callback = *static_cast<Callback *>(user);
    return call(callback, callback.frames, *frames);
}

struct Release {
    void operator()(a2d_generation *generation) const noexcept { a2d_release(generation); }
};
struct Close {
    void operator()(a2d_model *model) const noexcept { a2d_close(model); }
};

} // namespace detail

// One generation. Destroying it cancels it, if it still runs, and waits for a callback of it that is running.
class Generation {
public:
    // Wait to the end.
    Result get() {
        wait_ms(A2D_FOREVER);
        return result_;
    }
    // Whether it has ended, waiting so long at most; get() returns at once then. Throws what it failed with.
    template <class Rep, class Period> bool wait(std::chrono::duration<Rep, Period> most) {
        auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(most).count();
        return wait_ms(ms < 0 ? 0 : ms < A2D_FOREVER ? static_cast<std::uint32_t>(ms) : A2D_FOREVER - 1);
    }
    void cancel() noexcept { a2d_cancel(handle_.get()); }
    // The latest step; its text belongs to this object until the next latest().
    a2d_step latest() {
        a2d_step step = A2D_STEP_INIT;
        a2d_poll(handle_.get(), &step);
        return step;
    }
    a2d_generation *get_handle() const noexcept { return handle_.get(); }

private:
    friend class Model;
    Generation() = default;

    bool wait_ms(std::uint32_t ms) {
        a2d_error error = A2D_ERROR_INIT;
        a2d_result got = A2D_RESULT_INIT;
        a2d_status status = a2d_wait(handle_.get(), ms, &got, &error);
        if (status == A2D_RUNNING)
            return false;
        if (callback_ && callback_->thrown)
            std::rethrow_exception(callback_->thrown);
        detail::check(status, error);
        result_.text.assign(got.text, got.text_length);
        result_.token_ids.assign(got.token_ids, got.token_ids + got.token_count);
        result_.token_confidence.assign(got.token_confidence, got.token_confidence + got.token_count);
        result_.remarks = got.remarks;
        result_.numbers = got;
        result_.numbers.text = nullptr;
        result_.numbers.token_ids = nullptr;
        result_.numbers.token_confidence = nullptr;
        result_.numbers.remarks = nullptr;
        return true;
    }

    std::unique_ptr<detail::Callback> callback_; // outlives the handle: members are destroyed from the last to the first
    std::unique_ptr<a2d_generation, detail::Release> handle_;
    Result result_;
};

// A bundle in its child process.
class Model {
public:
    explicit Model(const std::string &path, const a2d_open_options &options = A2D_OPEN_OPTIONS_INIT) {
        a2d_error error = A2D_ERROR_INIT;
        a2d_model *model = nullptr;
        detail::check(a2d_open(path.c_str(), &options, &model, &error), error);
        handle_.reset(model);
    }
    a2d_info info() const {
        a2d_info made = A2D_INFO_INIT;
        a2d_describe(handle_.get(), &made);
        return made;
    }
    Generation start(const Request &request, OnStep on_step = {}) {
        a2d_request wanted = request.view();
        a2d_error error = A2D_ERROR_INIT;
        a2d_generation *generation = nullptr;
        Generation made;
        if (on_step) {
            made.callback_ = std::make_unique<detail::Callback>();
            made.callback_->call = std::move(on_step);
            wanted.on_step = detail::on_step;
            wanted.user = made.callback_.get();
        }
        detail::check(a2d_start(handle_.get(), &wanted, &generation, &error), error);
        made.handle_.reset(generation);
        return made;
    }
    Generation film(const FilmRequest &request, OnFrames on_frames, OnStep on_step = {}) {
        a2d_film_request wanted = request.view();
        a2d_error error = A2D_ERROR_INIT;
        a2d_generation *generation = nullptr;
        Generation made;
        made.callback_ = std::make_unique<detail::Callback>();
        made.callback_->call = std::move(on_step);
        made.callback_->frames = std::move(on_frames);
        wanted.on_step = made.callback_->call ? detail::on_step : nullptr;
        wanted.on_frames = made.callback_->frames ? detail::on_frames : nullptr;
        wanted.user = made.callback_.get();
        detail::check(a2d_film(handle_.get(), &wanted, &generation, &error), error);
        made.handle_.reset(generation);
        return made;
    }
    Result generate(const Request &request, OnStep on_step = {}) { return start(request, std::move(on_step)).get(); }
    a2d_model *get_handle() const noexcept { return handle_.get(); }

private:
    std::unique_ptr<a2d_model, detail::Close> handle_;
};

} // namespace a2d
#endif
