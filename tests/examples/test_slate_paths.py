"""The drawing paths that know no renderer: boxes on their glyphs, the same frames again, held-out families kept out."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image
from recipe import assets
from recipe.broad import LABELS, STRANGE, draw_broad_slate, draw_entries
from recipe.families import HANDS, LATER_HANDS, LATER_PRINTS, PRINTS, held_out
from recipe.fields import FIELDS, answer, parse, served
from recipe.flow import Box, arrange
from recipe.grid import Grid, labels
from recipe.sets import folder_frames, foreign_frames
from recipe.strokes import has, variants
from recipe.views import PATHS, view
from recipe.words import LONGEST, Words

SIZE = (448, 224)
GRID = Grid(*SIZE, patch=14, merge=2, window=112)
CHECKPOINT = Path(__file__).parents[2] / "examples" / "slate" / "model"


# -- what is written


def test_broad_answers_are_well_formed_and_fit_their_rows() -> None:
    words = Words(CHECKPOINT, GRID)
    for index in range(400):
        text = answer(draw_broad_slate(Random(index)))
        fields = parse(text)
        assert fields is not None and tuple(fields) == FIELDS
        assert words.text(words.rows([text])[0].tolist()) == text
        assert words.rows([text]).shape == (1, LONGEST)


def test_broad_values_have_the_forms_that_sets_use() -> None:
    slates = [draw_broad_slate(Random(i)) for i in range(3000)]
    scenes, rolls = {str(s.scene) for s in slates}, {str(s.roll) for s in slates}
    assert any("-" in scene for scene in scenes) and any(scene[0].isalpha() for scene in scenes)
    assert any(len(roll) == 8 and roll[4] == "C" for roll in rolls) and any(roll.isdigit() for roll in rolls)
    assert {str(take) for take in range(1, 21)} <= {str(s.take) for s in slates}


def test_every_broad_date_serves_its_whole_answer_and_is_not_ambiguous() -> None:
    seen = set()
    for index in range(3000):
        rng = Random(index)
        slate = draw_broad_slate(rng)
        for entry in draw_entries(rng, slate):
            if entry.field != "date" or not entry.value:
                continue
            assert {place for places in served("date", entry.value) for place in places} == {0, 1, 2, 3, 5, 6, 8, 9}
            assert isinstance(slate.date, datetime.date)
            numbers = entry.value.split("/")
            if len(numbers) == 3 and len(numbers[0]) < 4 and int(numbers[0]) <= 12:
                assert int(numbers[0]) == slate.date.month, entry.value
            seen.add("".join("9" if char.isdigit() else "A" if char.isalpha() else char for char in entry.value))
    assert len(seen) > 40


def test_no_label_word_stands_for_two_fields() -> None:
    words = [word for name in FIELDS for word in set(LABELS[name])]
    assert len(words) == len(set(words))


def test_cells_hold_every_entry_once_and_stay_on_the_board() -> None:
    for seed in range(100):
        rng = Random(seed)
        entries = draw_entries(rng, draw_broad_slate(rng))
        places = arrange(rng, entries, Box(0, 0, 800, 400))
        assert sorted(id(p.entry) for p in places) == sorted(map(id, entries))
        for p in places:
            assert 0 <= p.box.left < p.box.right <= 800.001 and 0 <= p.box.top < p.box.bottom <= 400.001
        area = sum(p.box.width * p.box.height for p in places)
        assert area == pytest.approx(800 * 400)


def test_hands_can_write_every_value_and_in_several_ways() -> None:
    assert has("ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789-./:,;#")
    assert not has("é")
    assert sum(len(variants(char)) > 1 for char in "ABCDEFGHJKLMNPRSTUVWXYZ0123456789") >= 30


# -- typefaces


def test_half_of_the_new_families_are_held_out_by_their_names() -> None:
    for families in (PRINTS, HANDS):
        share = sum(map(held_out, families)) / len(families)
        assert 0.35 < share < 0.65
    assert not any(map(held_out, LATER_PRINTS + LATER_HANDS))


def test_held_out_families_are_never_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for role, families in (("print", PRINTS), ("hand", HANDS)):
        for family in families:
            folder = tmp_path / (f"{role}-held-out" if held_out(family) else role)
            folder.mkdir(exist_ok=True)
            (folder / f"{family}-400.ttf").touch()
    monkeypatch.setenv(assets.VARIABLE, str(tmp_path))
    assets.faces.cache_clear()
    try:
        for role in ("print", "hand"):
            ours, theirs = (set(assets.faces(role, kept)) for kept in (False, True))
            assert ours and theirs and not ours & theirs
            assert not any(held_out(Path(path).stem.rsplit("-", 1)[0]) for path in ours if str(tmp_path) in path)
    finally:
        assets.faces.cache_clear()


# -- frames


@pytest.mark.parametrize("path", PATHS)
def test_a_view_is_a_pure_function_of_its_arguments(path: str) -> None:
    pytest.importorskip("skia")
    first = [view("s", i, 0.6, SIZE, path=path) for i in (3, 4)]
    again = [view("s", i, 0.6, SIZE, path=path) for i in (4, 3)]
    for a, b in zip(first, reversed(again), strict=True):
        assert (a.answer, a.marks) == (b.answer, b.marks)
        assert np.array_equal(a.pixels, b.pixels)
        assert a.pixels.shape == (SIZE[1], SIZE[0], 3)


@pytest.mark.parametrize("path", PATHS)
def test_boxes_lie_on_their_glyphs(path: str) -> None:
    """Where a value's glyph is said to be, easy frames differ from what is around it more than elsewhere."""
    pytest.importorskip("skia")
    inked, plain = [], []
    for index in range(40):
        s = view("boxes", index, 0.0, SIZE, path=path)
        grey = s.pixels.astype(np.float32).mean(2)
        detail = np.abs(np.diff(grey, axis=0))[:, 1:] + np.abs(np.diff(grey, axis=1))[1:]
        marks = [
            m for m in s.marks if m.char not in ("", "-", ".", "1") and 4 < m.x < SIZE[0] - 4 and 4 < m.y < SIZE[1] - 4
        ]
        inked += [detail[int(m.y) - 3 : int(m.y) + 4, int(m.x) - 3 : int(m.x) + 4].max() for m in marks]
        rng = np.random.default_rng(index)
        plain += [
            detail[y : y + 7, x : x + 7].max()
            for y, x in zip(rng.integers(0, SIZE[1] - 8, 20), rng.integers(0, SIZE[0] - 8, 20), strict=True)
        ]
    assert len(inked) > 200
    assert np.mean(np.array(inked) > 15) > 0.93
    assert np.mean(np.array(inked) > 15) > np.mean(np.array(plain) > 15) + 0.2


@pytest.mark.parametrize("path", PATHS)
def test_every_value_that_is_whole_in_the_frame_has_its_sources(path: str) -> None:
    pytest.importorskip("skia")
    whole = 0
    for index in range(30):
        s = view("sources", index, 0.0, SIZE, path=path)
        fields = parse(s.answer)
        if fields is None:
            assert s.marks == ()
            continue
        known = labels(s.marks, GRID).sources.reshape(len(FIELDS), -1, GRID.tokens)
        for number, name in enumerate(FIELDS):
            if name != "date" and fields[name] != "-":
                whole += known[number, : len(fields[name])].any(-1).all()
                assert not known[number, len(fields[name]) :].any()
    assert whole > 60


def test_an_unknown_path_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="boards"):
        view("s", 0, 0.1, SIZE, path="oils")


def test_foreign_frames_are_the_same_again_and_differ_from_training() -> None:
    pytest.importorskip("resvg_py")
    pytest.importorskip("fontTools")
    first, again = list(foreign_frames("foreign medium", 3)), list(foreign_frames("foreign medium", 3))
    for a, b in zip(first, again, strict=True):
        assert a.answer == b.answer and parse(a.answer) is not None
        assert a.pixels.shape == (540, 960, 3)
    assert {s.answer for s in foreign_frames("foreign no slate", 2)} == {"no slate"}


def test_the_validation_goes_on_drawing_the_same_slates() -> None:
    """What the test below holds, where nothing is installed that draws them."""
    told = "\n".join(answer(draw_broad_slate(Random(index))) for index in range(12))
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "27ba1f48526ad0e2"
    assert draw_broad_slate(Random(1), STRANGE) != draw_broad_slate(Random(1))


def test_foreign_truths_are_fixed() -> None:
    """They do not depend on assets. A change here makes every published number incomparable."""
    pytest.importorskip("resvg_py")
    pytest.importorskip("fontTools")
    told = "\n".join(s.answer for s in foreign_frames("foreign easy", 12))
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "9d600dfe665bc1d6"


def test_a_folder_of_frames_is_a_set(tmp_path: Path) -> None:
    Image.new("RGB", (64, 36), (9, 9, 9)).save(tmp_path / "a.png")
    (tmp_path / "truth.json").write_text(json.dumps({"a.png": ["easy", "no slate"]}), encoding="utf-8")
    (seen,) = folder_frames(tmp_path, "easy")
    assert (seen.pixels.shape, seen.answer) == ((36, 64, 3), "no slate")
    with pytest.raises(ValueError, match="there are easy"):
        next(folder_frames(tmp_path, "hard"))
