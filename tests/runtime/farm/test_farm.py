"""A log on many machines, by a pool that is played here: the files of one, whatever the order and whatever fails."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

import bundles
import numpy as np
import pytest
from clips import Part, Recipe, make, moving, sound, still

from a2d.engines.errors import BundleError, EngineError, RequestError
from a2d.runtime import log as jobs
from a2d.runtime.cli import log as command
from a2d.runtime.farm import clips as farm
from a2d.runtime.farm.dataset import RowReader, over_dataset
from a2d.runtime.farm.pool import Devices, connect, places
from a2d.runtime.farm.pool import _told as told
from a2d.runtime.footage.sampling import SLATES
from a2d.runtime.footage.slate import look, vote
from a2d.runtime.footage.writers import WRITERS
from a2d.runtime.log import LogJob, log

WHITE = Part(12, still(np.full((64, 128, 3), 250, np.uint8)))
TEXT = "scene 12A take 3 roll A004 date 2025-03-14 fps 24"


def dark(seed: int) -> Part:
    return Part(12, lambda index: moving(seed).draw(index)[:64, :128] // 2)


class Reader:
    """A white frame is a slate."""

    def __init__(self, *_) -> None:
        self.model, self.prompt, self.judge = SimpleNamespace(words=bundles.MANIFEST.words), None, vote

    def looks(self, frames):
        for seconds, picture in frames:
            text = TEXT if picture.mean() > 200 else "no slate"
            yield look(seconds, text, [(0, len(text), 0.75)])


@dataclass
class Played:
    """A pool of one actor in this process; rows go to it in `order`, some twice, and it may fail behind so many."""

    order: tuple[int, ...] = ()
    again: tuple[int, ...] = ()
    fails: int | None = None
    error: Exception | None = None
    read: int = 0

    def __call__(self, rows, work):
        actor = work.kind(**work.keywords, threads=1)
        for number in self.order or range(len(rows)):
            if self.fails == self.read:
                raise self.error or EngineError("the Ray cluster gave up")
            self.read += 1
            made = actor(rows[number])
            yield from [made] * (2 if number in self.again else 1)


@pytest.fixture(autouse=True)
def reader(monkeypatch):
    monkeypatch.setattr(farm, "load", lambda *_, **__: None)
    monkeypatch.setattr(farm, "Reader", Reader)
    monkeypatch.setattr(jobs, "_reader", Reader)


@pytest.fixture
def card(tmp_path):
    folder = tmp_path / "day 1"
    folder.mkdir()
    make(folder, Recipe("A1.mov", [WHITE, dark(1)], Fraction(25), timecode="10:00:00:00"))
    make(folder, Recipe("A2.mp4", [dark(3)]))
    make(folder, Recipe("A3.mkv", [dark(5), WHITE], Fraction(30)))
    (folder / "A4.mov").touch()
    sound(folder / "A5.mp4")
    if sys.platform == "linux":
        shutil.copy(folder / "A2.mp4", folder / os.fsdecode(b"half \xff.mp4"))
    return folder


def request(card, tmp_path, name):
    return LogJob([card], tmp_path / name / "log", bundles.write(tmp_path / "bundle"), SLATES, quiet=True)


def files(folder):
    written = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return written | {path.name: path.read_bytes() for path in (folder / "log.state").iterdir()}


@pytest.mark.parametrize("pool", [
    Played(), Played(order=(5, 3, 1, 0, 2, 4)), Played(again=(0, 1, 4)), Played(order=(2, 0, 1, 3, 5, 4), again=(2, 5)),
])  # fmt: skip
def test_many_machines_write_the_files_of_one(card, tmp_path, pool):
    if len(list(card.iterdir())) != 6:
        pool = Played(again=pool.again)
    told: list[str] = []
    alone = log(request(card, tmp_path, "alone"), told.append)
    said: list[str] = []
    many = log(request(card, tmp_path, "many"), said.append, farm.many_machines(pool))
    assert files(tmp_path / "alone") == files(tmp_path / "many") and {*WRITERS} <= {p.suffix for p in many.changed}
    assert (many.read, many.totals) == (alone.read, alone.totals) and sorted(said) == sorted(told)


def test_what_was_read_before_the_cluster_gave_up_is_not_read_again(card, tmp_path):
    broken, whole = Played(fails=2), Played()
    made = request(card, tmp_path, "many")
    with pytest.raises(EngineError, match="gave up"):
        log(made, reads=farm.many_machines(broken))
    assert not made.file(".jsonl").exists() and len(list(made.file(".state").iterdir())) == 2
    count = len(list(card.iterdir()))
    log(made, reads=farm.many_machines(whole))
    assert whole.read == count - 2
    log(request(card, tmp_path, "alone"))
    assert files(tmp_path / "alone") == files(tmp_path / "many")
    again = Played()
    assert log(made, reads=farm.many_machines(again)).changed == () and again.read == 0


@pytest.mark.parametrize("on", ["", "dask", "ray:/x", "ray://", "spark://head"])
def test_places_that_are_none_are_refused_by_the_command(card, tmp_path, on, capsys):
    arguments = [str(card), "-o", str(tmp_path / "out" / "log"), "--bundle", str(bundles.write(tmp_path / "bundle"))]
    assert command.main([*arguments, "--on", on]) == 2
    assert "expected ray, or ray://HEAD" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("a2d.runtime.farm.pool.find_spec", lambda _: None)
    with pytest.raises(RequestError, match=r"many machines need Ray: .*\[ray\]"):
        connect("ray")


def node(alive=True, **resources):
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(("nodes", "found"), [
    ([node(CPU=4.0), node(CPU=4.0)], Devices(2, 4.0, 0)),
    ([node(CPU=8.0), node(CPU=2.0), node(False, CPU=2.0)], Devices(5, 2.0, 0)),
    ([node(CPU=16.0, GPU=2.0), node(CPU=4.0)], Devices(2, 0, 1)),
])  # fmt: skip
def test_a_device_is_a_card_or_a_nodes_processors(nodes, found):
    assert places(nodes) == found


def test_a_cluster_with_nothing_to_give_is_refused():
    with pytest.raises(RequestError, match="neither a GPU nor a processor"):
        places([node(False, CPU=4.0), node(memory=1.0)])


@pytest.mark.parametrize(("error", "kind", "said"), [
    (RuntimeError("Traceback\n  x\na2d.engines.errors.BundleError: x.a2d: is not a folder;\nmake one"), BundleError,
     "x.a2d: is not a folder;\nmake one"),
    (RuntimeError("The node died\nall of it"), EngineError, "the Ray cluster gave up; what has been read is kept:\n"
     "all of it"),
])  # fmt: skip
def test_what_an_actor_found_wrong_is_told_as_it_was(error, kind, said):
    made = told(error)
    assert type(made) is kind and str(made) == said
    cause = RequestError("no such precision")
    wrapped = RuntimeError("task failed")
    wrapped.__cause__ = cause
    assert type(told(wrapped)) is RequestError


def test_rows_of_a_dataset_are_answered_or_say_what_is_wrong(floats):
    reader = RowReader(str(floats), None, None, "ids", "a2d_", jobs.Options(max_tokens=8), None, 1)
    made = reader({"ids": np.array([[5, 6, 7], [5, 6, 9999]]), "name": np.array(["a", "b"])})
    assert list(made) == ["ids", "name", "a2d_text", "a2d_tokens", "a2d_confidence", "a2d_error"]
    assert len(made["a2d_tokens"][0]) == len(made["a2d_confidence"][0]) == 8 and made["a2d_error"][0] == ""
    assert made["a2d_tokens"][1] == [] and "9999" in made["a2d_error"][1]


@pytest.mark.parametrize(("asked", "said"), [
    ({}, "no prompt"),
    ({"prompt": "a", "prompt_column": "b"}, "give one text for all rows, or the column"),
    ({"image": "picture", "prompt": "a"}, "reads text only"),
    ({"prompt_column": "missing"}, "has no column missing; it has ids"),
    ({"prompt_column": "ids", "steps": 0}, "steps"),
])  # fmt: skip
def test_what_no_row_could_mend_is_said_at_once(floats, asked, said):
    with pytest.raises(RequestError, match=said):
        over_dataset(SimpleNamespace(columns=lambda: ["ids"]), str(floats), **asked)
    with pytest.raises(BundleError):
        over_dataset(SimpleNamespace(columns=lambda: ["ids"]), "nowhere.a2d", prompt="a")


def test_a_clip_travels_as_json(card, tmp_path):
    actor = farm.ClipReader("bundle", None, None, jobs.Options(), SLATES, 1, 1)
    made = actor({"number": 7, "file": os.fsencode(card / "A1.mov")})
    assert made["number"] == 7 and json.loads(made["made"])["clip"]["shots"]
