"""Many frames in one session: what a fresh decode of each gives, and errors that end nothing but their frame."""

from __future__ import annotations

import io

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from a2d.engines.errors import EngineError, ImageError, NumericsError
from a2d.runtime.console.lines import Progress
from a2d.runtime.decode.cache import CacheShape
from a2d.runtime.decode.contract import ALIGNMENTS, CONTEXT_MASKS, SHIFTS
from a2d.runtime.decode.options import Options
from a2d.runtime.decode.session import Session
from a2d.runtime.each import readings

OPTIONS = Options(max_tokens=12)


def ask(frame, clock=None):
    if isinstance(frame, BaseException):
        raise frame
    return toy.prompt(frame)


def sessions(contract, count: int, engines=None) -> list[Session]:
    """Sessions that share a pool."""
    engines, shape = engines or toy.Toy().engines(), CacheShape(toy.LAYERS, toy.HEADS, toy.D, "float64")
    first = Session(engines, contract, shape, 400, exact=True)
    pool = first.share() if count > 1 else None
    return [first, *(Session(engines, contract, shape, 400, exact=True, pool=pool) for _ in range(count - 1))]


def read(frames, contract=None, strict=False, progress=None, together=1):
    quiet = progress or Progress("reading", None, "frames", quiet=True)
    return readings(frames, ask, sessions(contract or toy.contract(), together), OPTIONS, strict, quiet)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(4, 26), min_size=1, max_size=9) | st.none(), max_size=9),
    st.integers(2, 5),
    st.sampled_from(list(CONTEXT_MASKS)),
)
def test_readings_side_by_side_are_those_one_after_the_other(prompts, together, mask):
    contract, frames = toy.contract(context_mask=mask), [p or ImageError("damaged") for p in prompts]
    for one, other in zip(read(frames, contract), read(frames, contract, together=together), strict=True):
        assert other.image is one.image and other.error is one.error
        if one.result is not None:
            assert other.result.tokens == one.result.tokens


def test_side_by_side_no_frame_is_taken_long_before_its_reading():
    taken = []

    def frames():
        for number in range(50):
            taken.append(number)
            yield [5 + number % 9, 6]

    iterator = read(frames(), together=3)
    for count in range(1, 12):
        next(iterator)
        assert len(taken) <= count + 2 * 3


def test_side_by_side_what_no_frame_is_to_blame_for_ends_the_batch():
    with pytest.raises(EngineError):
        list(read([[5, 6], EngineError("out of memory"), [7]], together=2))


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("mask", CONTEXT_MASKS)
@pytest.mark.parametrize("shift", SHIFTS)
@settings(max_examples=8)
@given(st.data())
def test_each_reading_is_a_fresh_decode(alignment, mask, shift, data):
    contract = toy.contract(prompt_alignment=alignment, context_mask=mask, shift=shift)
    start = data.draw(st.lists(st.integers(4, 9), min_size=1, max_size=9))
    tails = data.draw(st.lists(st.lists(st.integers(4, 9), max_size=6), min_size=2, max_size=4))
    prompts = [[*start, *tail] for tail in tails]
    for prompt, reading in zip(prompts, read(prompts, contract), strict=True):
        fresh = toy.Toy().session(contract).generate(toy.prompt(prompt), OPTIONS)
        assert reading.result.tokens == fresh.tokens


def test_what_two_frames_share_is_computed_once():
    made = list(
        read([[5, 6, 7, 8, 9, 4, 5, 6, 10], [5, 6, 7, 8, 9, 4, 5, 6, 11]], toy.contract(prompt_alignment="tail"))
    )
    assert [reading.result.cached_tokens for reading in made] == [0, 8]


def test_a_bad_frame_is_data_and_the_next_one_is_read():
    bad = ImageError("damaged")
    made = list(read([[5, 6], bad, [5, 6]]))
    assert [reading.error for reading in made] == [None, bad, None]
    assert made[1].result is None and made[1].text is None and made[1].image is bad
    assert made[0].result.tokens == made[2].result.tokens
    assert all(reading.seconds > 0 for reading in made)


def test_strict_raises_the_first_error():
    iterator = read([[5, 6], ImageError("damaged"), [5, 6]], strict=True)
    assert next(iterator).error is None
    with pytest.raises(ImageError, match="damaged"):
        next(iterator)
    assert list(iterator) == []


def test_what_no_frame_is_to_blame_for_ends_the_batch():
    with pytest.raises(EngineError):
        list(read([EngineError("out of memory")]))
    with pytest.raises(KeyboardInterrupt):
        list(read([KeyboardInterrupt()]))


def test_frames_are_taken_as_readings_are():
    taken = []
    frames = (taken.append(i) or [5, 6, i] for i in range(4, 9))
    iterator = read(frames)
    next(iterator)
    assert taken == [4]
    iterator.close()
    assert taken == [4]


def test_numbers_that_are_not_finite_do_not_reach_the_next_frame():
    """A masked column weighs nothing, but nothing times NaN is NaN: the memory itself must be clean."""
    session = toy.Toy().session(toy.contract())
    wanted = toy.Toy().session(toy.contract()).generate(toy.prompt([5, 6, 7]), OPTIONS).tokens
    poison = np.full((40, toy.H), np.nan, np.float32)
    broken = toy.prompt([9] * 40, features=poison, is_feature=np.ones(40, bool))
    with pytest.raises(NumericsError):
        session.generate(broken, OPTIONS)
    assert session.generate(toy.prompt([5, 6, 7]), OPTIONS).tokens == wanted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_leaves_the_line_to_whoever_prints_meanwhile():
    terminal = Terminal()
    for _ in read([[5, 6], [5, 7]], progress=Progress("reading", 2, "frames", stream=terminal)):
        terminal.write("<reading>")
    shown = terminal.getvalue()
    assert shown.count("\r\x1b[K<reading>") == 2
    assert "1 of 2 frames" in shown and shown.rstrip().endswith("s")


@pytest.mark.parametrize("together", [1, 3])
def test_none_among_the_frames_is_a_frame(together):
    def begin(frame, clock=None):
        return ask(ImageError("got NoneType") if frame is None else frame)

    quiet = Progress("reading", None, "frames", quiet=True)
    frames = [None, [5, 6], None, [7, 8]]
    made = list(readings(frames, begin, sessions(toy.contract(), together), OPTIONS, False, quiet))
    assert [one.error is None for one in made] == [False, True, False, True]
