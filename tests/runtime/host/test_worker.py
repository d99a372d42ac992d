"""The worker: one host's frames in, frames out. First with the toy network, then as a process with a bundle."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import toy
from conftest import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE
from PIL import Image

import a2d
from a2d.engines.errors import BundleError, EngineError, NumericsError
from a2d.runtime.host.messages import Failed, Generate, Open, Opened, PathImage, Pixels, StepTaken, Summary
from a2d.runtime.host.wire import Frame, Kind, pack, read_frame, unpack
from a2d.runtime.host.worker import INTERNAL, Worker

FRAME = EXAMPLES / "slate" / "frames" / "easy-01.png"
CONTRACT = toy.contract(stop_token_ids=())
OPEN = Frame(Kind.OPEN, 0, pack(Open("toy.a2d", None, None, None, 0)))
READ = {Kind.OPENED: Opened, Kind.STEP: StepTaken, Kind.DONE: Summary, Kind.FAILED: Failed}


def request(**changes) -> Generate:
    made = {"prompt_format": "tokens", "prompt": "[5, 6, 7]", "max_tokens": 12, "steps": 2, "threshold": 0.0}
    return Generate(**{**made, "options": None, "images": (), **changes})


def generate(number: int, **changes) -> Frame:
    return Frame(Kind.GENERATE, number, pack(request(**changes)))


class ToyModel:
    """What a worker uses of a Model."""

    def __init__(self) -> None:
        self.variant = SimpleNamespace(graphs={"backbone": "", "denoise": "", "sample": ""})
        decode = CONTRACT
        words = SimpleNamespace(decode=decode, model=SimpleNamespace(max_context=400), vision=None)
        self.manifest = SimpleNamespace(name="toy", words=words, decode=decode, film=None, stepped="backbone")
        self.placement = SimpleNamespace(precision="fp64")
        self.engine = toy.Toy().engines()
        self.asked: list[tuple] = []

    def session(self, exact: bool):
        return toy.Toy().session(CONTRACT, exact=exact)

    def prompt(self, prompt, images, raw, clock=None):
        self.asked.append((prompt, images, raw))
        if prompt == [9, 9]:
            raise NumericsError("not finite")
        if prompt == [8, 8]:
            raise ZeroDivisionError("by nothing")
        return toy.prompt(prompt if isinstance(prompt, list) and isinstance(prompt[0], int) else [1, 2])


def served(*frames: Frame | bytes, pixels: io.FileIO | None = None, model: ToyModel | None = None) -> list[Frame]:
    """What a worker answers to frames that all lie there at once."""
    data = b"".join(f if isinstance(f, bytes) else f.encode() for f in frames)
    sent = io.BytesIO()
    made = model or ToyModel()
    worker = Worker(io.BytesIO(data), sent.write, pixels, lambda path, threads: made)
    worker.listen()
    worker.work()
    sent.seek(0)
    return list(iter(lambda: read_frame(sent), None))


def told(frame: Frame):
    return unpack(READ[frame.kind], frame.payload)


def test_generations_come_in_order_step_by_step():
    answers = served(OPEN, generate(1), Frame(Kind.PING), generate(2, prompt="[4, 3, 2, 1]"))
    assert answers[0].kind == Kind.PONG  # at once, whatever else there is to do
    opened = told(answers[1])
    assert opened.name == "toy" and opened.block_size == 4 and not opened.vision
    assert [f.id for f in answers[2:]] == sorted(f.id for f in answers[2:])
    for number, prompt in ((1, [5, 6, 7]), (2, [4, 3, 2, 1])):
        mine = [f for f in answers if f.id == number]
        expected = toy.Toy().session(CONTRACT).generate(toy.prompt(prompt), a2d.Options(max_tokens=12, steps=2))
        summary = told(mine[-1])
        assert (summary.token_ids, summary.stop) == (expected.tokens, expected.stop_reason)
        assert (summary.forwards, summary.steps) == (expected.forwards, expected.steps)
        assert 0 < summary.confidence <= 1
        steps = [told(f) for f in mine[:-1]]
        assert len(steps) == summary.steps
        assert all(s.final == (s.masked == 0) and 0 < s.confidence <= 1 and s.accepted for s in steps)
        assert steps[-1].tokens == len(summary.token_ids)


def test_an_answer_that_repeats_reaches_the_host_as_such():
    """Its tokens are few, so the same one comes twice in a row soon."""
    answers = served(OPEN, generate(1, max_tokens=300, options='{"stop_repeats": 2}'))
    summary = told(answers[-1])
    assert answers[-1].kind == Kind.DONE and summary.stop == "repeats"
    n = len(summary.token_ids)
    assert any(summary.token_ids[n - k :] == summary.token_ids[n - 2 * k : n - k] for k in range(1, n // 2 + 1))
    assert len(summary.token_confidence) == n and all(0 < p <= 1 for p in summary.token_confidence)


def test_one_that_fails_leaves_the_next_one_alone():
    answers = served(OPEN, generate(1, prompt="[9, 9]"), generate(2, prompt="[8, 8]"), generate(3))
    failed = [told(f) for f in answers if f.kind == Kind.FAILED]
    assert failed[0] == Failed(-25, "not finite")
    assert failed[1].status == INTERNAL and "ZeroDivisionError: by nothing" in failed[1].message
    assert answers[-1].kind == Kind.DONE and answers[-1].id == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": "{"}, "the options cannot be read"),
        ({"options": "[1]"}, "expected a JSON object"),
        ({"options": '{"stepz": 1}'}, "unknown option stepz"),
        ({"options": '{"steps": 1}'}, "got steps twice"),
        ({"options": '{"temperature": "hot"}'}, "temperature"),
        ({"steps": 77}, "steps: got 77"),
        ({"prompt": "1, 2"}, "the prompt cannot be read"),
        ({"prompt": '["a"]'}, "expected a JSON list like [1, 2, 3]"),
        ({"prompt": "[true]"}, "expected a JSON list like [1, 2, 3]"),
        ({"prompt_format": "messages", "prompt": "[1]"}, 'expected a JSON list like [{"role"'),
        ({"prompt_format": "messages", "prompt": "[]"}, 'expected a JSON list like [{"role"'),
        ({"images": (Pixels(0, 2, 2, "rgb8"),)}, "no shared file"),
    ],
)
def test_bad_requests_say_what_to_change(changes, words):
    failed = told(served(OPEN, generate(1, **changes))[-1])
    assert failed.status in (-22, -23) and words in failed.message


def test_pixels_come_in_the_order_of_rgb(tmp_path):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (3, 5, 3), np.uint8)
    alpha = rng.integers(0, 256, (3, 5, 1), np.uint8)
    bgr = rgb[:, :, ::-1]
    stored = {"rgb8": rgb, "bgr8": bgr, "gray8": rgb[:, :, :1]}
    stored |= {"rgba8": np.concatenate([rgb, alpha], 2), "bgra8": np.concatenate([bgr, alpha], 2)}
    file, images = b"gap", []
    for layout, array in stored.items():
        images.append(Pixels(len(file), 5, 3, layout))
        file += array.tobytes()
    (tmp_path / "pixels").write_bytes(file)
    model = ToyModel()
    with io.FileIO(tmp_path / "pixels") as shared:
        served(
            OPEN,
            generate(1, prompt_format="text", prompt="look", images=(*images, PathImage("a.png"))),
            pixels=shared,
            model=model,
        )
    ((prompt, pictures, raw),) = model.asked
    assert (prompt, raw, pictures[-1]) == ("look", False, "a.png")
    rgba = np.concatenate([rgb, alpha], 2)
    for got, expected in zip(pictures, [rgb, rgb, rgb[:, :, 0], rgba, rgba], strict=False):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Pixels(0, 0, 5, "rgb8"), "got 0x5 pixels"),
        (Pixels(0, 2**31, 2**31, "rgb8"), "make the image smaller"),
        (Pixels(10, 5, 5, "rgb8"), "the shared file ends before"),
        (Pixels(2**64 - 1, 1, 1, "gray8"), "nowhere in the shared file"),
        (Pixels(2**40, 1, 1, "gray8"), "the shared file ends before"),
    ],
)
def test_pixels_that_are_not_there(tmp_path, image, words):
    (tmp_path / "pixels").write_bytes(bytes(60))
    with io.FileIO(tmp_path / "pixels") as shared:
        failed = told(served(OPEN, generate(1, images=(image,)), pixels=shared)[-1])
    assert failed.status == -23 and words in failed.message


def test_a_generation_that_is_cancelled_in_the_queue_is_not_begun():
    model = ToyModel()
    answers = served(
        OPEN, generate(1), generate(2), Frame(Kind.CANCEL, 2), Frame(Kind.CANCEL, 77), generate(3), model=model
    )
    assert len(model.asked) == 2
    summary = told(next(f for f in answers if f.id == 2))
    assert (summary.stop, summary.token_ids, summary.text) == ("cancelled", (), "")


def test_a_running_generation_is_cancelled_before_its_next_step():
    source, sink = os.pipe()
    stream, host = os.fdopen(source, "rb", buffering=0), os.fdopen(sink, "wb", buffering=0)
    answers: list[Frame] = []

    def send(data: bytes) -> None:
        answers.append(read_frame(io.BytesIO(data)))
        if answers[-1].kind == Kind.STEP:  # the host answers the first step, and no other is taken meanwhile
            host.write(Frame(Kind.CANCEL, 1).encode())
            assert worker._jobs[1].cancelled.wait(PATIENCE)

    worker = Worker(stream, send, None, lambda path, threads: ToyModel())
    listener = threading.Thread(target=worker.listen)
    listener.start()
    host.write(OPEN.encode() + generate(1, max_tokens=200).encode())
    worked = threading.Thread(target=worker.work)
    worked.start()
    while not any(f.kind == Kind.DONE for f in answers):
        time.sleep(0.001)
    host.close()
    listener.join(), worked.join()
    summary = told(answers[-1])
    assert (summary.stop, summary.steps) == ("cancelled", 1)


@pytest.mark.parametrize("error", [BundleError("no bundle"), EngineError("no engine"), MemoryError(), OSError("disk")])
def test_a_bundle_that_cannot_be_opened_ends_the_worker(error):
    def loader(path: str, threads: int | None) -> None:
        raise error

    sent = io.BytesIO()
    worker = Worker(io.BytesIO(OPEN.encode()), sent.write, None, loader)
    worker.listen()
    assert not worker.work()
    sent.seek(0)
    failed = told(read_frame(sent))
    assert failed.status == {BundleError: -20, EngineError: -21, MemoryError: -4, OSError: INTERNAL}[type(error)]


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([b"GET / HTTP/1.1\r\n\r\n"], "expected the header of a frame"),
        ([generate(1)], "OPEN before it"),
        ([OPEN, OPEN], "second OPEN"),
        ([OPEN, generate(0)], "from 1"),
        ([OPEN, generate(1), generate(1)], "a number of its own"),
        ([OPEN, Frame(Kind.DONE, 1)], "a worker sends"),
        ([Frame(Kind.OPEN, 0, b"xx")], "shorter than it should be"),
        ([OPEN, OPEN.encode()[:9]], "ended within a frame"),
    ],
)
def test_a_host_that_makes_no_sense_is_told_so_and_left(frames, words):
    data = b"".join(f if isinstance(f, bytes) else f.encode() for f in frames)
    sent = io.BytesIO()
    assert not Worker(io.BytesIO(data), sent.write, None, lambda path, threads: ToyModel()).listen()
    sent.seek(0)
    frame = read_frame(sent)
    assert (frame.kind, frame.id) == (Kind.FAILED, 0)
    assert told(frame).status in (-12, -22) and words in told(frame).message


STREAM = b"".join(
    f.encode()
    for f in (
        OPEN,
        generate(1),
        Frame(Kind.CANCEL, 1),
        generate(2, images=(PathImage("a.png"), Pixels(0, 1, 1, "rgb8"))),
        Frame(Kind.PING),
    )
)


@settings(max_examples=60)
@given(st.data())
def test_whatever_comes_the_answers_are_frames(data):
    """Damaged streams: never an exception, always whole frames, and a host that is not understood is told."""
    stream = bytearray(STREAM)
    for _ in range(data.draw(st.integers(1, 5))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    stream = bytes(stream)[: data.draw(st.integers(0, len(stream)))]
    for frame in served(stream):
        if frame.kind in READ:
            told(frame)


# -- as a process


class Host:
    """A host in Python: the frames by hand."""

    def __init__(self, bundle, code: str = "", **options) -> None:
        start = (
            ["-m", "a2d.runtime.host.worker"]
            if not code
            else ["-c", f"{code}\nimport sys\nfrom a2d.runtime.host.worker import main\nsys.exit(main())"]
        )
        self.process = subprocess.Popen(
            [sys.executable, *start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )
        self.say(Frame(Kind.OPEN, 0, pack(Open(str(bundle), None, None, None, 1))))

    def say(self, frame: Frame) -> None:
        self.process.stdin.write(frame.encode())
        self.process.stdin.flush()

    def hear(self) -> Frame | None:
        return read_frame(self.process.stdout)

    def until(self, kind: Kind) -> Frame:
        while (frame := self.hear()).kind != kind:
            assert frame.kind in (Kind.OPENED, Kind.STEP, Kind.PONG), told(frame)
        return frame

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


ASKED = {"prompt_format": "text", "prompt": None, "max_tokens": 64, "steps": 4}


@pytest.fixture(scope="module")
def reading(slate) -> str:
    return a2d.load(slate, threads=1).generate(images=[FRAME], steps=4, max_tokens=64).text


def test_a_process_reads_a_frame_from_a_path_and_from_pixels(slate, reading, tmp_path):
    rgb = np.asarray(Image.open(FRAME).convert("RGB"))
    (tmp_path / "pixels").write_bytes(rgb.tobytes())
    with Host(slate) as host:
        assert told(host.until(Kind.OPENED)).vision
        host.say(generate(1, **ASKED, images=(PathImage(str(FRAME)),)))
        assert told(host.until(Kind.DONE)).text == reading
    if sys.platform == "win32":
        return  # a handle of a file is inherited in another way there; the C library's tests do it
    shared = os.open(tmp_path / "pixels", os.O_RDONLY)
    code = f"import sys; sys.argv += ['--pixels', '{shared}']"
    with Host(slate, code, pass_fds=[shared]) as host:
        host.say(generate(1, **ASKED, images=(Pixels(0, rgb.shape[1], rgb.shape[0], "rgb8"),)))
        assert told(host.until(Kind.DONE)).text == reading
    os.close(shared)


def test_nothing_but_frames_is_written(slate, reading):
    """Whatever is printed, by Python or below it, goes to stderr; what is read from stdin is empty."""
    code = """
import os, sys
from a2d.runtime.model import Model
before = Model.prompt
def prompt(self, *given, **named):
    print("printed", flush=True)
    os.write(1, b"written below\\n")
    assert sys.stdin.read() == ""
    return before(self, *given, **named)
Model.prompt = prompt
"""
    with Host(slate, code) as host:
        host.say(generate(1, **ASKED, images=(PathImage(str(FRAME)),)))
        assert told(host.until(Kind.DONE)).text == reading
        host.say(Frame(Kind.CLOSE))
        assert host.hear() is None
        assert host.process.wait(timeout=PATIENCE) == 0
        said = host.process.stderr.read().decode()
    assert "printed" in said and "written below" in said


def test_the_worker_goes_when_its_host_closes_the_pipe_even_while_it_computes(slate):
    code = """
import time
from a2d.runtime.model import Model
Model.prompt = lambda *given, **named: time.sleep(1000)
"""
    with Host(slate, code) as host:
        host.until(Kind.OPENED)
        host.say(generate(1, **ASKED))
        host.say(Frame(Kind.PING))
        host.until(Kind.PONG)  # answered while it is busy
        host.process.stdin.close()
        assert host.process.wait(timeout=PATIENCE) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there; a job object does this, see the C library")
def test_the_worker_goes_when_its_host_is_killed(slate, tmp_path):
    host = f"""
import json, subprocess, sys, time
sys.path.insert(0, {str(EXAMPLES.parent / "tests" / "runtime")!r})
from a2d.runtime.host.messages import Open
from a2d.runtime.host.wire import Frame, Kind, pack, read_frame
process = subprocess.Popen([sys.executable, "-m", "a2d.runtime.host.worker"], stdin=-1, stdout=-1)
process.stdin.write(Frame(Kind.OPEN, 0, pack(Open({str(slate)!r}, None, None, None, 1))).encode())
process.stdin.flush()
assert read_frame(process.stdout).kind == Kind.OPENED
print(json.dumps(process.pid), flush=True)
time.sleep(1000)
"""
    process = subprocess.Popen([sys.executable, "-c", host], stdout=subprocess.PIPE)
    worker = json.loads(process.stdout.readline())
    os.kill(worker, 0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(50 * PATIENCE):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        if _state(worker) == "Z":  # nobody in a container may reap it
            break
        time.sleep(0.02)
    else:
        pytest.fail("the worker outlived its host")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except OSError:
        return "?"


def test_a_bundle_that_is_none_is_said_and_the_status_tells(tmp_path):
    with Host(tmp_path / "no.a2d") as host:
        failed = told(host.hear())
        assert failed.status == -20 and "no.a2d" in failed.message
        assert host.process.wait(timeout=PATIENCE) == 3
