"""Which frames are meant by files, folders, pictures and iterables of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from a2d.runtime.inputs.sources import counted, each_frame, natural

FRAME = np.zeros((4, 6, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("t10.png", "T2.JPG", "t1.tiff", "notes.txt", "._t1.png", "t2b.webp"):
        (tmp_path / name).touch()
    (tmp_path / "sub.png").mkdir()
    return tmp_path


def test_a_folder_is_its_images_as_people_count_them(folder: Path) -> None:
    wanted = [folder / name for name in ("t1.tiff", "T2.JPG", "t2b.webp", "t10.png")]
    for source in (folder, str(folder), [folder], iter([str(folder)])):
        assert list(each_frame(source)) == wanted


def test_files_stay_as_they_were_given(folder: Path) -> None:
    given = ["b.png", folder / "t10.png", "a.png", b"bytes"]
    assert list(each_frame(given)) == given
    assert list(each_frame("a.png")) == ["a.png"]
    assert list(each_frame(b"bytes")) == [b"bytes"]


@pytest.mark.parametrize("name", ["missing", "\0", "sub.png"])
def test_what_has_no_images_comes_as_it_is(folder: Path, name: str) -> None:
    assert list(each_frame([folder / name])) == [folder / name]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="whoever may read everything may list it")
def test_a_folder_that_may_not_be_listed_comes_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        assert list(each_frame(tmp_path)) == [tmp_path]
    finally:
        tmp_path.chmod(0o700)


def test_pictures_in_memory() -> None:
    picture = Image.fromarray(FRAME)
    assert list(each_frame(picture)) == [picture]
    assert len(list(each_frame(FRAME))) == 1
    assert [frame.shape for frame in each_frame(np.stack([FRAME] * 3))] == [FRAME.shape] * 3
    video = [FRAME, FRAME]
    assert next(iter(each_frame([video]))) is video


def test_a_generator_is_read_no_faster_than_asked() -> None:
    taken = []

    def source() -> Iterator[str]:
        for name in ("a", "b", "c"):
            taken.append(name)
            yield name

    frames, total = counted(source())
    assert (next(iter(frames)), taken, total) == ("a", ["a"], None)


def test_how_many_frames_there_are(folder: Path) -> None:
    assert counted(folder)[1] == 4 and counted([folder, "x.png"])[1] == 5 and counted([])[1] == 0


@pytest.mark.parametrize(
    "names",
    [
        ["a1", "a2", "a10"],
        ["A1", "a2"],
        ["1", "02", "a"],
        ["shot 9 take 12", "shot 10 take 2"],
        ["a", "a1", "aa"],
        ["a01", "a1"],
    ],
)
def test_natural_order(names: list[str]) -> None:
    assert sorted(Random(0).sample(names, len(names)), key=natural) == names


def test_natural_order_takes_any_name() -> None:
    names = ["", "1", "a", "1a", "a1", "\u0661", "\u00b2", "9" * 250, "\ud800"]
    assert sorted(names, key=natural)[:4] == ["", "1", "1a", "9" * 250]
