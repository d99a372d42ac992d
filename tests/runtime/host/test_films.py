"""The worker of a bundle that films: frames, steps and ends as messages; what is wrong reaches the host in words."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from film_bundles import loader, tiny
from patience import PATIENCE

import a2d
from a2d.runtime.host.messages import (
    Denoised,
    Failed,
    FilmAsked,
    FilmSummary,
    Generate,
    Open,
    Opened,
    PathImage,
    PixelFrames,
    Pixels,
)
from a2d.runtime.host.wire import Frame, Kind, pack, read_frame, unpack
from a2d.runtime.host.worker import Worker

READ = {
    Kind.OPENED: Opened,
    Kind.DENOISED: Denoised,
    Kind.PIXELS: PixelFrames,
    Kind.FILMED: FilmSummary,
    Kind.FAILED: Failed,
}
PROMPT = "A red ball rolls."


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    path, ready = tiny(tmp_path / "tiny.a2d", window=6, sink=1)
    monkeypatch.setattr("a2d.runtime.model.load_engine", loader(ready))
    return path, ready


def asked(number: int = 1, **changes) -> Frame:
    made = {"prompt": PROMPT, "frames": 21, "height": 0, "width": 0, "steps": 0, "seed": 7, "options": None}
    return Frame(Kind.FILM, number, pack(FilmAsked(**{**made, "images": (), **changes})))


def served(path: Path, *frames: Frame, pixels: io.FileIO | None = None) -> list[tuple[int, object]]:
    """Id and message of what a worker answers."""
    data = b"".join(f.encode() for f in (Frame(Kind.OPEN, 0, pack(Open(str(path), None, None, None, 1))), *frames))
    sent = io.BytesIO()
    worker = Worker(io.BytesIO(data), sent.write, pixels)
    worker.listen()
    worker.work()
    sent.seek(0)
    answers = iter(lambda: read_frame(sent), None)
    return [(f.id, unpack(READ[f.kind], f.payload)) for f in answers]


def images(answers: list[tuple[int, object]]) -> np.ndarray:
    parts = [m for _, m in answers if isinstance(m, PixelFrames)]
    shape = (-1, parts[0].height, parts[0].width, 3)
    return np.concatenate([np.frombuffer(part.pixels, np.uint8).reshape(shape) for part in parts])


def test_a_film_comes_step_by_step_and_block_by_block(bundle):
    answers = served(bundle[0], asked())
    opened = answers[0][1]
    assert (opened.films, opened.frames, opened.height, opened.width, opened.fps) == (True, 21, 32, 48, 16.0)
    assert (opened.block_size, opened.max_context, opened.vision) == (0, 0, False)
    film = a2d.load(bundle[0]).film(PROMPT, frames=21, seed=7)
    np.testing.assert_array_equal(images(answers), np.concatenate([block.frames for block in film]))
    told = [message for _, message in answers[1:]]
    assert [type(m).__name__[0] for m in told] == [*"DDDDP", *"DDDDP", "F"]
    assert [m.frames for m in told[:-1] if isinstance(m, Denoised)] == [0] * 4 + [9] * 4
    assert [(m.first, m.block) for m in told if isinstance(m, PixelFrames)] == [(0, 0), (9, 1)]
    end = told[-1]
    assert (end.stop, end.frames, end.blocks, end.steps, end.forwards) == ("length", 21, 2, 8, film.forwards)
    assert end.seconds > end.first_block_seconds > 0 and end.remarks == ""


def test_a_block_that_is_too_large_for_a_message_comes_in_several(bundle, monkeypatch):
    monkeypatch.setattr("a2d.runtime.host.films.LONGEST", 64 + 4 * 3 * 32 * 48 + 100)
    answers = served(bundle[0], asked())
    sizes = [(m.first, m.count, m.block) for _, m in answers if isinstance(m, PixelFrames)]
    assert sizes == [(0, 4, 0), (4, 4, 0), (8, 1, 0), (9, 4, 1), (13, 4, 1), (17, 4, 1)]
    film = a2d.load(bundle[0]).film(PROMPT, frames=21, seed=7)
    np.testing.assert_array_equal(images(answers), np.concatenate([block.frames for block in film]))
    monkeypatch.setattr("a2d.runtime.host.films.LONGEST", 100)
    failed = served(bundle[0], asked())[-1][1]
    assert failed.status == -22 and "height, width: got 32x48, and a message takes" in failed.message


def test_a_board_comes_as_a_path_or_as_pixels(bundle, tmp_path):
    from PIL import Image

    board = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    (tmp_path / "pixels").write_bytes(board.tobytes())
    with io.FileIO(tmp_path / "pixels") as shared:
        answers = served(
            bundle[0],
            asked(1, images=(PathImage(str(tmp_path / "board.png")),)),
            asked(2, images=(Pixels(0, 48, 32, "rgb8"),)),
            asked(3),
            asked(4, images=(Pixels(0, 48, 32, "rgb8"),) * 2),
            pixels=shared,
        )
    one, two, none = (images([a for a in answers if a[0] == number]) for number in (1, 2, 3))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one.astype(int) - none).max() > 0
    assert answers[-1][1].status == -22 and "got 2 pictures, a film takes one" in answers[-1][1].message


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"frames": 20}, -22, "frames: got 20, expected 1 + 4 k"),
        ({"height": 33}, -22, "height: got 33, expected a multiple of 16"),
        ({"steps": 3}, -22, "steps: got 3"),
        ({"options": '{"framez": 5}'}, -22, "unknown option framez; the options are frames, seconds"),
        ({"options": '{"frames": 5}'}, -22, "got frames twice"),
        ({"options": '{"seed": "x"}', "seed": 0}, -22, "seed: got 'x'"),
        ({"options": '{"commit": "often"}'}, -22, "commit: got 'often'"),
        ({"options": "{"}, -22, "the options cannot be read"),
        ({"images": (PathImage("/no/board.png"),)}, -23, "/no/board.png"),
    ],
)
def test_what_cannot_be_filmed_is_said_and_the_next_film_is_made(bundle, changes, status, words):
    answers = served(bundle[0], asked(1, **changes), asked(2, frames=1))
    failed = next(m for number, m in answers if number == 1)
    assert failed.status == status and words in failed.message
    assert answers[-1][0] == 2 and answers[-1][1].frames == 1


def test_a_prompt_that_is_too_long_is_cut_and_the_host_is_told(bundle):
    (_, end) = served(bundle[0], asked(prompt="red ball " * 400, frames=1))[-1]
    assert "tokens too long and was cut: 32 are read" in end.remarks


def test_numbers_that_are_none_reach_the_host_by_block_and_step(bundle):
    engine = bundle[1]("frames")
    script, calls = engine._script, []

    def spoiled(feeds):
        calls.append(feeds)
        made = dict(script(feeds))
        if len(calls) == 7:
            made["velocity"] = np.full_like(made["velocity"], np.nan)
        return made

    engine._script = spoiled
    answers = served(bundle[0], asked())
    assert len([m for _, m in answers if isinstance(m, PixelFrames)]) == 1  # what was made stays made
    failed = answers[-1][1]
    assert failed.status == -25 and "block 1, step 1: the velocity is not finite" in failed.message


def test_cancelled_before_it_begins_and_between_two_steps(bundle):
    answers = served(bundle[0], asked(1), Frame(Kind.CANCEL, 1))
    assert (answers[-1][1].stop, answers[-1][1].frames) == ("cancelled", 0)

    import os

    source, sink = os.pipe()
    stream, host = os.fdopen(source, "rb", buffering=0), os.fdopen(sink, "wb", buffering=0)
    heard: list[Frame] = []

    def send(data: bytes) -> None:
        heard.append(read_frame(io.BytesIO(data)))
        if heard[-1].kind == Kind.DENOISED and [f.kind for f in heard].count(Kind.DENOISED) == 6:
            host.write(Frame(Kind.CANCEL, 1).encode())
            assert worker._jobs[1].cancelled.wait(PATIENCE)

    worker = Worker(stream, send)
    threads = [threading.Thread(target=work) for work in (worker.listen, worker.work)]
    host.write(Frame(Kind.OPEN, 0, pack(Open(str(bundle[0]), None, None, None, 1))).encode() + asked().encode())
    for thread in threads:
        thread.start()
    while not any(f.kind in (Kind.FILMED, Kind.FAILED) for f in heard):
        threads[1].join(0.005)
    host.close()
    for thread in threads:
        thread.join()
    end = unpack(FilmSummary, heard[-1].payload)
    assert (end.stop, end.frames, end.steps, end.blocks) == ("cancelled", 9, 6, 1)


def test_words_are_not_asked_of_a_bundle_that_films(bundle):
    answers = served(bundle[0], Frame(Kind.GENERATE, 1, pack(Generate("text", "hi", 0, 0, 0.0, None, ()))))
    assert answers[-1][1].status == -20 and "films and writes no words" in answers[-1][1].message


def test_the_text_encoder_is_let_go_before_the_first_step(bundle, monkeypatch):
    gone: list[str] = []
    monkeypatch.setattr("a2d.runtime.model.Model.unload", lambda _, graph: gone.append(graph))
    served(bundle[0], asked(frames=1))
    assert gone == ["text"]
