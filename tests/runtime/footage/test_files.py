"""Which footage is meant, where the log may lie, and files that appear whole, together, or not at all."""

from __future__ import annotations

import os

import pytest

from a2d import load
from a2d.engines.errors import BundleError, RequestError
from a2d.runtime.footage.clip import Clip, Facts, Look, Shot, Stamp
from a2d.runtime.footage.files import check_apart, clips
from a2d.runtime.footage.journal import Journal, publish


@pytest.fixture
def card(tmp_path):
    for name in ("A10.mov", "A2.MOV", ".hidden.mov", "._A2.MOV", "notes.txt", "b/C1.mxf", "b/c/D1.mp4", ".trash/x.mov"):
        path = tmp_path / "card" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "card"


def test_a_folder_means_the_clips_below_it_in_the_order_of_people(card):
    assert [path.relative_to(card).as_posix() for path in clips([card])] == [
        "A2.MOV",
        "A10.mov",
        "b/C1.mxf",
        "b/c/D1.mp4",
    ]


def test_a_file_is_taken_at_its_word_and_once(card):
    assert clips([card / "notes.txt", card / "b", card / "b" / ".." / "b" / "C1.mxf"]) == [
        card / "notes.txt",
        card / "b" / "C1.mxf",
        card / "b" / "c" / "D1.mp4",
    ]


@pytest.mark.skipif(os.name == "nt", reason="makes links")
def test_a_folder_in_itself_ends(card):
    (card / "b" / "again").symlink_to(card)
    assert len(clips([card])) == 4


def test_what_is_missing_is_listed(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="nowhere: no such file(.|\n)*elsewhere: no such"):
        clips([tmp_path / "nowhere", tmp_path / "elsewhere"])
    with pytest.raises(RequestError, match="empty: no footage in it"):
        clips([tmp_path / "empty"])


def test_a_log_lies_apart_from_its_footage(card, tmp_path):
    check_apart([card], tmp_path / "log")
    check_apart([card / "A10.mov"], card / "log")  # beside a clip that was named itself
    for target in (card / "log", card / "b" / "new" / "log"):
        with pytest.raises(RequestError, match="lies in the footage folder .*card/b/.., which is never written to"):
            check_apart([card / "b" / "..", card], target)
    with pytest.raises(RequestError, match="card is a folder, expected a name that files can be called by"):
        check_apart([card], card)


@pytest.mark.skipif(os.name == "nt", reason="makes links")
def test_a_link_into_the_footage_is_footage(card, tmp_path):
    (tmp_path / "out").symlink_to(card / "b")
    with pytest.raises(RequestError, match="lies in the footage folder"):
        check_apart([card], tmp_path / "out" / "log")


def test_files_appear_together_and_only_where_they_are_new(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    assert publish({a: ["1", "2"], b: ["\U0001f3ac\udcff"]}) == [a, b]
    assert (a.read_text(), b.read_text(encoding="utf-8")) == ("12", "\U0001f3ac\\udcff")
    before = a.stat()
    assert publish({a: ["12"], b: ["new"]}) == [b]
    assert (a.stat().st_mtime_ns, a.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def failing():
    yield "half"
    raise OSError(28, "No space left on device")


def test_none_is_replaced_where_one_fails(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    publish({a: ["old"], b: ["old"]})
    with pytest.raises(OSError, match="No space left"):
        publish({a: ["new"], b: failing()})
    assert (a.read_text(), b.read_text(), sorted(path.name for path in tmp_path.iterdir())) == (
        "old",
        "old",
        ["a", "b"],
    )


LOOK = Look(0.5, "scene 1 take - roll - date - fps -", 0.5, {"scene": "1"}, {"scene": 0.5})
CLIP = Facts(64, 32, "24000/1001", True, 86400, False, True, 24, 1.001)


def entry(path):
    return Clip(str(path), CLIP, (Shot(0.0, 1.001, LOOK.text, 0.5, LOOK.fields, LOOK.certainty, (LOOK,), "/9j/"),))


def test_the_journal_remembers_a_clip_as_it_was(tmp_path):
    path = tmp_path / "a \udcff.mov"
    path.write_bytes(b"footage")
    journal = Journal(tmp_path / "state", "question")
    journal.folder.mkdir()
    assert not journal.fresh(path) and journal.get(path) is None
    journal.put(entry(path), Stamp.of(path))
    assert journal.fresh(path) and journal.get(path) == entry(path)
    assert not Journal(journal.folder, "another question").fresh(path)
    path.write_bytes(b"more footage")
    assert not journal.fresh(path)
    path.unlink()
    assert not journal.fresh(path)


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[: len(text) // 2], lambda _: "", lambda text: text.replace('"schema": 3', '"schema": 4')],
)
def test_an_entry_that_is_damaged_or_newer_does_not_count(tmp_path, damage):
    path = tmp_path / "a.mov"
    path.touch()
    journal = Journal(tmp_path, "question")
    journal.put(entry(path), Stamp.of(path))
    (file,) = tmp_path.glob("*.json")
    file.write_text(damage(file.read_text()))
    assert not journal.fresh(path)


def test_what_is_not_logged_any_more_is_forgotten(tmp_path):
    paths = [tmp_path / name for name in ("a.mov", "b.mov", "c.mov")]
    journal = Journal(tmp_path / "state", "question")
    journal.folder.mkdir()
    for path in paths:
        journal.put(entry(path), Stamp(0, 0))
    journal.keep(paths[:2])
    journal.drop(paths[1])
    assert [journal.get(path) is not None for path in paths] == [True, False, False]


def test_a_link_to_itself_is_a_file_that_is_not_there(tmp_path):
    (loop := tmp_path / "loop.mov").symlink_to(loop)
    check_apart([loop], tmp_path / "log")
    with pytest.raises(RequestError, match="loop.mov: no such file or folder"):
        clips([loop])
    with pytest.raises(BundleError, match="loop.mov: is not a folder"):
        load(loop)
