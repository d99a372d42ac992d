"""Times of this machine: measured once, kept in a file, and what a budget makes of them in whole decodes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import a2d
from a2d.engines.errors import RequestError
from a2d.runtime.decode.options import Options, plan

TOKENS = [5, 6, 7, 8, 9, 10]


@pytest.fixture
def model(floats, tmp_path, monkeypatch):
    monkeypatch.setenv("A2D_CACHE", str(tmp_path))
    return a2d.load(floats)


def kept(tmp_path):
    return sorted((tmp_path / "times").glob("*.json"))


def test_times_are_measured_once_and_kept_for_the_next_process(model, floats, tmp_path):
    asked = plan(model.manifest.decode, Options())
    times = model.times(asked)
    assert 0 < times.step <= times.step_far * 2 and times.commit > 0 and times.row >= 0 and "measured" in times.measured
    (path,) = kept(tmp_path)
    data = json.loads(path.read_text())
    data["times"]["step"] = 123.0
    path.write_text(json.dumps(data))
    assert model.times(asked) == times  # the same process asks no file
    assert a2d.load(floats).times(asked).step == 123.0
    assert a2d.load(floats).times(asked, again=True).step < 100
    model.times(plan(model.manifest.decode, Options(temperature=0.5)))
    assert len(kept(tmp_path)) == 2


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"schema": 1}', "\x00"])
def test_a_file_that_says_nothing_is_measured_anew(model, tmp_path, content):
    asked = plan(model.manifest.decode, Options())
    times = model.times(asked)
    kept(tmp_path)[0].write_text(content)
    again = a2d.load(model.bundle.path).times(asked)
    assert again.measured and again.step > 0
    assert json.loads(kept(tmp_path)[0].read_text())["times"]["far"] == times.far


def test_an_answer_says_what_became_of_its_budget(model):
    plain = model.generate(TOKENS, max_tokens=12)
    assert plain.budget is None
    made = model.generate(TOKENS, max_tokens=12, budget="60 s")
    assert made.tokens == plain.tokens and made.budget.early == () and 0 < made.budget.spent < 60
    with pytest.raises(RequestError, match="expected .* or more: one step takes .* on this machine"):
        model.generate(TOKENS, budget="0.001 ms")
    with pytest.raises(RequestError, match="budget: got '200', expected a time with its unit"):
        model.generate(TOKENS, budget="200")


def test_a_picture_is_known_before_it_is_read(slate, tmp_path, monkeypatch):
    monkeypatch.setenv("A2D_CACHE", str(tmp_path))
    model, frame = a2d.load(slate, threads=1), np.full((300, 400, 3), 128, np.uint8)
    times = model.times(plan(model.manifest.decode, Options()))
    assert times.picture > 0
    with pytest.raises(RequestError, match="budget: got .* expected .*: pictures take .* and a step"):
        model.generate(images=[frame], budget=f"{1.2e3 * times.step:.3f} ms")
    hurried = model.stream(images=[frame], budget="600 s", max_tokens=8)
    assert hurried.run().budget.cut == ""
    for _ in range(5):
        model.times.slowness.pictures.add(1e6)
    unread = model.generate(images=[frame + 1], budget="600 s", max_tokens=8)
    assert (unread.stop_reason, unread.tokens, unread.forwards, unread.budget.cut) == ("budget", (), 0, "pictures")
    plain = model.generate(images=[frame + 1], max_tokens=8)
    assert plain.tokens  # nothing of the picture that was not read is remembered


def test_a_folder_that_cannot_be_written_to_keeps_nothing(floats, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("A2D_CACHE", str(tmp_path / "file"))
    assert a2d.load(floats).generate(TOKENS, max_tokens=8, budget="60 s").budget.seconds == 60
