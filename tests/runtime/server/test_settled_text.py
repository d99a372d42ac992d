"""What is sent stays: pieces add up to the answer, and none of them is taken back by a stop string that comes later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2d.runtime.server.work.settled_text import SettledText

TEXT = st.text("abAB ", max_size=30)


def cut(text: str, stops: list[str]) -> str:
    ends = [text.find(stop) for stop in stops if stop in text]
    return text[: min(ends)] if ends else text


@given(TEXT, st.lists(st.text("abAB", min_size=1, max_size=4), max_size=3), st.lists(st.integers(0, 30), max_size=6))
def test_pieces_add_up_to_the_text_before_the_first_stop(text, stops, cuts):
    settled = SettledText(stops)
    pieces = [settled.grown(text[:at]) for at in sorted(cuts) if at <= len(text)]
    pieces.append(settled.grown(text, last=True))
    assert "".join(pieces) == settled.whole == cut(text, stops)
    assert settled.stopped == any(stop in text for stop in stops)


@pytest.mark.parametrize(
    ("stops", "texts", "pieces"),
    [
        ([], ["ab\ufffd", "ab\u00e9c"], ["ab", "\u00e9c"]),  # half a character waits for its other half
        (["END"], ["one EN", "one ENGINES"], ["one ", "ENGINES"]),
        (["END"], ["one EN", "one END two"], ["one ", ""]),
        (["END"], ["END"], [""]),
    ],
)
def test_what_may_yet_change_is_held_back(stops, texts, pieces):
    settled = SettledText(stops)
    assert [settled.grown(text) for text in texts] == pieces


def test_nothing_follows_a_stop():
    settled = SettledText(["x"])
    assert (settled.grown("axb"), settled.stopped, settled.grown("axbc", last=True)) == ("a", True, "")
