"""Frames and truths: the same for the same arguments, well-formed, and legible to the labels that training uses."""

from __future__ import annotations

import datetime
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from recipe import fonts
from recipe.drawing import draw_style, paint
from recipe.fields import DATE_FORMS, FIELDS, LABELS, NO_SLATE, Slate, answer, draw_slate, parse, served, written
from recipe.frame import HEIGHT, WIDTH, sample
from recipe.grid import KINDS, PLACES, Grid, labels
from recipe.layouts import draw_cells
from recipe.sets import SETS, frames
from recipe.words import LONGEST, STOP, Words

GRID = Grid(WIDTH, HEIGHT, patch=14, merge=1, window=112)
"""Of the shipped checkpoint."""
CHECKPOINT = Path(__file__).parents[2] / "examples" / "slate" / "model"


def test_a_sample_is_a_pure_function_of_its_arguments() -> None:
    first = [sample("s", i, 0.6) for i in (3, 4)]
    again = [sample("s", i, 0.6) for i in (4, 3)]
    for a, b in zip(first, reversed(again), strict=True):
        assert a.answer == b.answer
        assert np.array_equal(a.pixels, b.pixels)
        assert a.marks == b.marks


def test_another_process_renders_the_same_pixels() -> None:
    code = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1]); from recipe.frame import sample\n"
        "print(hashlib.sha256(sample('s', 7, 0.8).pixels.tobytes()).hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", code, CHECKPOINT.parent], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == hashlib.sha256(sample("s", 7, 0.8).pixels.tobytes()).hexdigest()


@pytest.mark.parametrize("d", [0.0, 0.4, 1.0])
def test_frames_have_the_input_size_and_labels_that_belong_together(d: float) -> None:
    for index in range(12):
        s = sample("shape", index, d)
        assert s.pixels.shape == (HEIGHT, WIDTH, 3)
        assert s.pixels.dtype == np.uint8
        shown = labels(s.marks, GRID)
        assert shown.chars.shape == shown.kinds.shape == shown.places.shape == (GRID.tokens * GRID.slots,)
        assert shown.places.max(initial=0) < PLACES
        assert (shown.kinds[shown.chars > 0] > 0).all()
        assert shown.kinds.max(initial=0) < len(KINDS)
        if s.slate is None:
            assert not shown.kinds.any()


def test_patches_show_glyphs_of_the_field_they_name() -> None:
    seen = 0
    for index in range(40):
        s = sample("glyphs", index, 0.0, without=0.0)
        for name in ("scene", "take", "roll"):
            value = getattr(s.slate, name)
            seen_labels = labels(s.marks, GRID)
            pairs = zip(seen_labels.chars, seen_labels.kinds, strict=True)
            shown = {chr(c) for c, k in pairs if c and KINDS[k] == name}
            assert shown <= set(value or "")
            seen += len(shown)
    assert seen > 100


@pytest.mark.parametrize("form", DATE_FORMS)
def test_every_character_of_a_date_comes_from_somewhere(form: Callable[[datetime.date], str]) -> None:
    for date in (datetime.date(2025, 3, 4), datetime.date(2031, 11, 26)):
        written = form(date)
        deciding: dict[int, str] = {}
        for char, places in zip(written, served("date", written), strict=True):
            deciding |= {place: deciding.get(place, "") + char for place in places}
        assert set(deciding) == {0, 1, 2, 3, 5, 6, 8, 9}
        iso = date.isoformat()
        assert all(
            iso[place] in chars or chars.isalpha()
            for place, chars in deciding.items()
            if iso[place] != "0" and place > 1
        )


def test_a_value_decides_itself_and_its_unit_nothing() -> None:
    assert served("fps", "24 FPS") == [(0,), (1,), (), (), (), ()]
    assert served("roll", "A004") == [(0,), (1,), (2,), (3,)]
    assert served("date", "") == []


def test_sources_lie_on_patches_that_show_the_value() -> None:
    for index in range(20):
        s = sample("sources", index, 0.0, without=0.0)
        known = labels(s.marks, GRID)
        for number, name in enumerate(FIELDS):
            for place, tokens in enumerate(known.sources[10 * number : 10 * number + 10]):
                shown = known.kinds.reshape(-1, GRID.slots)[tokens]
                assert all(KINDS.index(name) in kinds for kinds in shown), (name, place)


def test_no_slate_frames_carry_no_truth() -> None:
    assert {s.answer for s in frames("no slate", 20)} == {NO_SLATE}


def test_about_one_frame_in_ten_of_training_shows_no_slate() -> None:
    none = sum(sample("train", i, 0.0).slate is None for i in range(150))
    assert 4 <= none <= 30


def test_difficulty_changes_the_picture_and_not_the_truth() -> None:
    easy, hard = sample("d", 1, 0.0, without=0.0), sample("d", 1, 1.0, without=0.0)
    assert easy.answer == hard.answer
    assert not np.array_equal(easy.pixels, hard.pixels)


def test_held_out_typefaces_are_in_no_training_list() -> None:
    assert not set(fonts.PRINT + fonts.HAND + fonts.DIGITAL) & set(fonts.HELD_OUT_PRINT + fonts.HELD_OUT_HAND)


def test_without_any_font_files_pillows_own_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_files", dict)
    monkeypatch.setattr("recipe.drawing.have", lambda names: (fonts.BUILT_IN,))
    rng = Random(1)
    slate = draw_slate(rng)
    board = paint(rng, draw_cells(rng, rng, slate, 0.3), draw_style(rng, 0.3, False), (448, 220))
    assert {glyph.field for glyph in board.glyphs} & set(FIELDS)


def test_a_missing_typeface_is_named_with_the_packages() -> None:
    with pytest.raises(OSError, match="fonts-dejavu-core"):
        fonts.font("No Such Face.ttf", 12)


def test_answers_are_well_formed_and_fit_their_rows() -> None:
    words = Words(CHECKPOINT, GRID)
    for index in range(300):
        slate = draw_slate(Random(index))
        text = answer(slate)
        fields = parse(text)
        assert fields is not None
        assert tuple(fields) == FIELDS
        assert sum(value != "-" for value in fields.values()) >= 2
        rows = words.rows([text])
        assert rows.shape == (1, LONGEST)
        assert rows[0, -1] == STOP
        assert words.text(rows[0].tolist()) == text


def test_parse_refuses_what_is_no_answer() -> None:
    assert parse(NO_SLATE) is None
    assert parse("scene 1 take 2") is None
    assert parse("take 1 scene 2 roll - date - fps 24") is None


def test_fields_lack_and_orders_vary_from_the_first_samples_on() -> None:
    slates = [draw_slate(Random(i)) for i in range(200)]
    assert all(any(getattr(s, name) is None for s in slates) for name in FIELDS)
    orders = set()
    for seed in range(60):
        look = Random(seed)
        cells = draw_cells(Random(seed), look, draw_slate(Random(seed)), 0.0)
        orders.add(tuple(cell.field for cell in cells if cell.field in FIELDS))
    assert len(orders) > 30


def test_dates_are_written_in_many_ways_that_differ() -> None:
    slate = next(s for s in map(draw_slate, map(Random, range(50))) if s.date and s.date.day > 12)
    rng = Random(0)
    forms = {written(rng, slate, "date", 1.0) for _ in range(200)}
    assert len(forms) >= 8
    assert slate.date is not None
    assert slate.date.isoformat() in forms


def test_a_dot_puts_the_day_first_and_a_slash_the_month() -> None:
    slate = Slate(None, "1", None, draw_slate(Random(3)).date, "24")
    assert slate.date is not None
    date, rng = slate.date, Random(0)
    forms = {written(rng, slate, "date", 1.0) for _ in range(200)}
    assert f"{date.day:02}.{date.month:02}.{date.year}" in forms
    assert f"{date.month:02}/{date.day:02}/{date.year}" in forms
    assert f"{date.day:02}/{date.month:02}/{date.year}" not in forms - {f"{date.month:02}/{date.day:02}/{date.year}"}


def test_labels_of_different_fields_differ() -> None:
    labels = [label for name in FIELDS for label in set(LABELS[name])]
    assert len(labels) == len(set(labels))


def test_evaluation_truths_are_fixed() -> None:
    """They do not depend on fonts. A change here makes every published number incomparable."""
    told = "\n".join(s.answer for name in SETS for s in frames(name, 12))
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "980268dc96b3275a"


def test_an_unknown_set_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="medium"):
        next(frames("mediocre", 1))
