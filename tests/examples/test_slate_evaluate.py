"""Scores and their table; the ways of reading themselves run in the evaluation, through a2d."""

from __future__ import annotations

import pytest
from evaluate import field_table, sure_table, table
from recipe.score import Tally

from a2d.calibration.verify.intervals import wilson

TRUTH = "scene 12A take 3 roll A004 date 2025-03-14 fps 24"


def test_wilson_matches_known_values_and_stays_inside() -> None:
    assert wilson(0, 500) == pytest.approx((0.0, 0.00762), abs=1e-4)
    assert wilson(500, 500)[1] == pytest.approx(1.0)
    assert wilson(475, 500) == pytest.approx((0.9272, 0.9659), abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_tally_counts_slates_fields_and_tokens() -> None:
    tally = Tally()
    tally.add(TRUTH, TRUTH, 31, 16, 0.5)
    tally.add(TRUTH, TRUTH.replace("A004", "A014"), 31, 16, 0.5)
    tally.add("no slate", TRUTH, 31, 16, 0.5)
    assert (tally.exact, tally.as_slate) == (1, 3)
    assert tally.fields == {"scene": 2, "take": 2, "roll": 1, "date": 2, "fps": 2}
    assert tally.facts(True)["tokens_per_forward"] == pytest.approx(93 / 48)
    assert tally.facts(False)["read_as_slate"] == 1.0
    assert tally.cell().startswith("33.3 (")


def test_characters_count_where_they_stand_and_confidence_by_class() -> None:
    tally = Tally()
    tally.add(TRUTH, TRUTH.replace("A004", "A104").replace("take 3", "take -"), 31, 16, 0.5, 0.93)
    tally.add(TRUTH, TRUTH, 31, 16, 0.5, 0.99)
    assert (tally.characters, tally.characters_right) == (40, 38)
    assert tally.sure == {0.0: [0, 0], 0.5: [0, 0], 0.7: [0, 0], 0.9: [1, 0], 0.95: [1, 1]}
    assert "| 0.95 | 1 | 100.0 |" in sure_table({"easy": {"A2D, 4 steps": tally}}, "A2D, 4 steps")


def test_the_tables_show_every_way_and_measure_speed_against_one_token_a_forward() -> None:
    slow, fast = Tally(), Tally()
    slow.add(TRUTH, TRUTH, 31, 32, 0.2)
    fast.add(TRUTH, TRUTH, 31, 16, 0.1)
    results = {"easy": {"A2D, 8 steps": slow, "A2D, 4 steps": fast}}
    lines = table(results).splitlines()
    assert len(lines) == 4
    assert lines[2].endswith("1.00x |")
    assert lines[3].endswith("2.00x |")
    assert "| easy | 100.0 |" in field_table(results, "A2D, 4 steps")
