"""Readings of slates: the answer's form, how sure a field is, and what several frames say together."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2d.runtime.footage.clip import Clip, Look, Shot
from a2d.runtime.footage.slate import ENOUGH, FIELDS, NO_SLATE, caption, in_part, look, still, unsure, vote

TEXT = "scene 12A take 3 roll A004 date 2025-03-14 fps 24"


def letters(text, chances):
    """A token for each character."""
    return [(i, i + 1, p) for i, p in zip(range(len(text)), chances, strict=True)]


def read(text=TEXT, chance=1.0, **doubts):
    """A look whose fields are as sure as `doubts` says."""
    chances = [chance] * len(text)
    for name, p in doubts.items():
        chances[text.index(name) + len(name) + 1] = p
    return look(0.0, text, letters(text, chances))


def test_an_answer_is_taken_apart():
    found = read(take=0.5, roll=0.25)
    assert found.fields == {"scene": "12A", "take": "3", "roll": "A004", "date": "2025-03-14", "fps": "24"}
    assert found.certainty == {"scene": 1.0, "take": 0.5, "roll": 0.25, "date": 1.0, "fps": 1.0}
    assert (found.text, found.confidence) == (TEXT, 0.25)


def test_what_is_not_on_the_slate_is_no_field_but_was_read():
    found = read("scene 12A take - roll - date - fps 24", take=0.5)
    assert found.fields == {"scene": "12A", "fps": "24"}
    assert found.certainty["take"] == 0.5 and set(found.certainty) == set(FIELDS)


def test_a_token_of_several_characters_counts_once():
    tokens = [(0, 9, 0.5), (9, 16, 0.9), (16, len(TEXT), 1.0)]  # `scene 12A` is one token
    assert look(0.0, TEXT, tokens).certainty["scene"] == 0.5
    assert look(0.0, TEXT, tokens).certainty["take"] == 0.9


@pytest.mark.parametrize(
    "text", [NO_SLATE, "", "a dog", "scene 1 take 2", f"{TEXT} and more", TEXT.replace("roll", "reel")]
)
def test_anything_else_is_no_slate(text):
    found = look(1.0, text, letters(text, [0.25, *[1.0] * (len(text) - 1)] if text else []))
    assert found.fields == {} and found.text == text
    assert found.confidence == (round(0.25 ** (1 / len(text)), 6) if text else 0.0)


def test_frames_vote_field_by_field():
    looks = [read(scene=0.9), read(TEXT.replace("12A", "17A"), scene=0.6), read(TEXT.replace("A004", "A009"), roll=0.4)]
    shot = vote(0.0, 2.0, [*looks, look(1.5, NO_SLATE, [])])
    assert shot.text == TEXT and shot.fields["roll"] == "A004" and len(shot.looks) == 4
    # weights 0.9, 0.6, 0.4: what each frame believes of the value, by how sure the frame is
    assert shot.certainty["scene"] == pytest.approx((0.9 * 0.9 + 0.4 * 1.0) / 1.9)
    assert shot.certainty["roll"] == pytest.approx((0.9 + 0.6) / 1.9, abs=1e-6)
    assert shot.confidence == min(shot.certainty.values())


def test_a_board_is_held_one_way():
    other = TEXT.replace("12A", "VZI")
    upright, turned = [read(scene=0.3), read(scene=0.4)], [replace(read(other, scene=0.8), turned=True)] * 2
    assert vote(0.0, 1.0, [*upright, *turned]).fields["scene"] == "VZI"
    assert vote(0.0, 1.0, [*upright, *turned[:1]]).certainty["scene"] == pytest.approx(0.8)
    assert vote(0.0, 1.0, [*upright * 3, *turned]).fields["scene"] == "12A"


def test_a_field_may_be_voted_away():
    without = "scene 12A take - roll A004 date 2025-03-14 fps 24"
    shot = vote(0.0, 1.0, [read(without), read(without), read()])
    assert "take" not in shot.fields and " take - " in shot.text


@given(st.lists(st.tuples(st.sampled_from(["12A", "17A", "-"]), st.floats(0, 1)), min_size=1, max_size=8))
def test_a_vote_is_a_probability_and_one_frame_is_itself(readings):
    looks = [read(TEXT.replace("12A", scene), scene=round(p, 3)) for scene, p in readings]
    shot = vote(0.0, 1.0, looks)
    assert all(0 <= p <= 1 and not math.isnan(p) for p in shot.certainty.values())
    assert vote(0.0, 1.0, looks[:1]).certainty == pytest.approx(looks[0].certainty, abs=1e-5)


def test_a_caption_is_what_the_model_was_surest_of():
    looks = [Look(0.0, "a dog", 0.4), Look(1.0, "a cat", 0.8)]
    assert caption(0.0, 2.0, looks) == Shot(0.0, 2.0, "a cat", 0.8, looks=tuple(looks))
    assert caption(0.0, 2.0, []) == Shot(0.0, 2.0)
    assert vote(0.0, 2.0, looks).text == "a cat"  # no slate in it


SLATE, PLAIN = Shot(0, 1, fields={"scene": "1"}, certainty={"scene": 0.9}), Shot(0, 1)
GUESS = Shot(0, 1, fields={"scene": "8", "take": "1"}, certainty={"scene": 0.3, "take": 0.79})


@pytest.mark.parametrize(
    ("shots", "names"),
    [
        ([SLATE, PLAIN, PLAIN], [1, 1, 1]),
        ([PLAIN, PLAIN, SLATE], [3, 3, 3]),  # an end board
        ([SLATE, PLAIN, SLATE, PLAIN], [1, 1, 3, 3]),
        ([PLAIN, PLAIN], [None, None]),
        ([SLATE, GUESS, PLAIN], [1, 1, 1]),  # nothing in the second one is sure: it ends no take
        ([PLAIN, GUESS], [None, None]),
        ([], []),
    ],
)
def test_which_slate_names_a_shot(shots, names):
    assert [name for _, _, name in Clip("a.mov", shots=tuple(shots)).named(0.8)] == names


BLANK = look(0.0, NO_SLATE, letters(NO_SLATE, [1.0] * len(NO_SLATE)))
SPOILT = look(0.0, f"{TEXT} and", letters(f"{TEXT} and", [1.0] * (len(TEXT) + 4)))


def test_looks_at_a_still_vote():
    other = read(TEXT.replace("take 3", "take 8"), 0.6)
    assert still([other, read(chance=0.9), read(chance=0.9)]).text == TEXT
    assert still([BLANK, read(), read()]).text == TEXT
    assert len(still([BLANK, read(), read()]).looks) == 3  # those that saw nothing as well
    assert still([BLANK, BLANK, read(), SPOILT]).text == NO_SLATE
    assert still([read(), BLANK]).text == NO_SLATE  # a board that one of two looks shows is none
    assert still([SPOILT, read(chance=0.5)]).text == TEXT
    assert still([SPOILT]).text == SPOILT.text and still([SPOILT]).fields == {}


PART = in_part(read("scene - take - roll A004 date 2025-03-14 fps -", 0.9, scene=0.2))


def test_a_part_counts_for_what_it_shows():
    assert PART.part and PART.confidence == PART.certainty["date"] and set(PART.fields) == {"roll", "date"}
    small = [read(TEXT.replace("A004", "A009"), roll=0.3)] * 3
    shot = vote(0.0, 1.0, [*small, PART, PART])
    assert shot.fields["roll"] == "A004" and shot.fields["scene"] == "12A" and shot.certainty["scene"] == 1.0
    sure = [read(TEXT.replace("A004", "A009"), roll=0.9)] * 3
    assert vote(0.0, 1.0, [*sure, *[PART] * 9]).fields["roll"] == "A009"  # a part may cut a value off
    assert vote(0.0, 1.0, [PART]).fields == PART.fields and vote(0.0, 1.0, [PART]).certainty["scene"] == 0.0


def test_a_piece_of_a_value_is_one_that_a_part_cuts_off():
    doubted = [read(scene=0.6)] * 2
    cut, other = (in_part(read(TEXT.replace("12A", scene))) for scene in ("12", "17A"))
    assert vote(0.0, 1.0, [*doubted, *[cut] * 5]).fields["scene"] == "12A"
    assert vote(0.0, 1.0, [*doubted, *[other] * 5]).fields["scene"] == "17A"


def test_parts_do_not_make_a_slate():
    assert still([BLANK, PART, PART]).text == NO_SLATE
    assert still([read(), replace(BLANK, part=True), replace(BLANK, part=True)]).text == TEXT
    assert still([PART]).fields == {}


def test_one_look_is_not_enough_to_be_sure_of_a_slate():
    sure = [read()] * ENOUGH
    assert unsure(sure[:1]) and unsure(sure[:-1]) and not unsure(sure)
    assert unsure([*sure, read(TEXT.replace("take 3", "take 8"))])  # they contradict one another
    assert unsure([read(take=0.5)] * ENOUGH) and not unsure([read(take=0.5)] * ENOUGH, 0.5)


def test_a_frame_without_a_slate_is_looked_at_once():
    assert not unsure([BLANK]) and not unsure([replace(BLANK, confidence=0.1)])
    assert unsure([BLANK, read()]) and unsure([SPOILT]) and unsure([SPOILT] * ENOUGH)
