"""The rule that stands between a general OCR program and an answer; the programs themselves are not run here."""

from __future__ import annotations

from random import Random

import pytest
from ocr import Word, assign, read_date
from recipe.broad import draw_broad_slate, draw_entries
from recipe.fields import NO_SLATE


def _cell(label: str, value: str, x: float, y: float) -> list[Word]:
    """A label, and a value below it."""
    return [Word(label, x, y, x + 60, y + 12), Word(value, x, y + 16, x + 80, y + 60)]


BOARD = [
    *_cell("Scene", "12 a", 0, 0),
    *_cell("TAKE", "3", 100, 0),
    *_cell("CAM. ROLL", "A004", 200, 0),
    *_cell("Date:", "14 MAR 2025", 0, 100),
    *_cell("F.P.S.", "24 fps", 100, 100),
    *_cell("DIRECTOR", "T. Abara", 200, 100),
]


def test_values_belong_to_the_labels_above_them() -> None:
    assert assign(BOARD) == "scene 12A take 3 roll A004 date 2025-03-14 fps 24"
    assert assign(list(reversed(BOARD))) == assign(BOARD)


def test_values_beside_labels_are_found_and_empty_cells_stay_empty() -> None:
    beside = [Word("Scene", 0, 0, 60, 14), Word("7B", 70, 0, 100, 14), Word("Take", 0, 40, 60, 54)]
    assert assign(beside) == "scene 7B take - roll - date - fps -"


def test_what_has_no_labels_is_no_slate() -> None:
    assert assign([Word("MENU", 0, 0, 50, 10), Word("3.20", 60, 0, 90, 10)]) == NO_SLATE
    assert assign([]) == NO_SLATE


def test_every_form_of_a_date_is_read() -> None:
    for seed in range(2000):
        rng = Random(seed)
        slate = draw_broad_slate(rng)
        for entry in draw_entries(rng, slate):
            if entry.field == "date" and entry.value:
                assert read_date(entry.value) == slate.date, entry.value


@pytest.mark.parametrize("text", ["", "A004", "12/2025", "99.99.2025", "MAYBE 3, 2025", "1 2 3 4"])
def test_what_is_no_date_is_none(text: str) -> None:
    assert read_date(text) is None
