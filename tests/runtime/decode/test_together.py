"""Generations side by side against the same ones alone: whatever their options, and whatever becomes of a neighbour."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from counts import examples
from decode_cases import PROMPTS, contracts
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import HEADS, LAYERS, D, Toy, contract, prompt

from a2d.engines.errors import EngineError, NumericsError, RequestError
from a2d.runtime.decode.block import Allowed
from a2d.runtime.decode.cache import CacheShape
from a2d.runtime.decode.contract import CONFIDENCES, DecodeContract
from a2d.runtime.decode.options import BARRED, COMMITS, Options
from a2d.runtime.decode.rules import FALLBACKS, RULES
from a2d.runtime.decode.sequence import Given
from a2d.runtime.decode.session import Session
from a2d.runtime.decode.together import Together

SHAPE = CacheShape(LAYERS, HEADS, D, "float64")


@dataclass(frozen=True)
class Case:
    """One session's part."""

    tokens: tuple[int, ...]
    contract: DecodeContract
    options: Options
    joins: int
    """Turn in which it joins."""


@st.composite
def asked(draw):
    c = draw(contracts())
    B, shift = c.block_size, c.shift
    speculative = c.context_mask == "token_causal" and shift != "none" and draw(st.booleans())
    drawn = {"temperature": draw(st.sampled_from([0.0, 0.8, 1.3])), "seed": draw(st.integers(0, 3))}
    drawn |= {"top_k": draw(st.sampled_from([0, 3])), "max_tokens": draw(st.integers(1, 22))}
    drawn["commit"] = draw(st.sampled_from(list(COMMITS)))
    if speculative:
        return Case(tuple(draw(PROMPTS)), c, Options(decode="speculative", **drawn), draw(st.integers(0, 4)))
    rule = draw(st.sampled_from(list(RULES)))
    fallback = draw(st.none() | st.sampled_from(list(FALLBACKS))) if rule == "confidence" else None
    o = Options(
        rule=rule,
        fallback=fallback,
        steps=draw(st.integers(1, B)) if fallback != "top-1" else None,
        threshold=draw(st.none() | st.floats(0.05, 0.95)) if rule in BARRED else None,
        confidence=draw(st.none() | st.sampled_from(list(CONFIDENCES))),
        entropy_bound=draw(st.floats(0.01, 3)),
        sub_block_size=draw(st.none() | st.integers(1, B)),
        block_cache=draw(st.booleans()),
        guidance=draw(st.sampled_from([0.0, 0.0, 0.0, 1.0])),
        **drawn,
    )
    if not o.block_cache:
        o = replace(o, remask_below=draw(st.none() | st.floats(0, 0.5)))
    return Case(tuple(draw(PROMPTS)), c, o, draw(st.integers(0, 4)))


def side_by_side(toy: Toy, cases: list[Case], engines=None):
    """Results or errors of all cases, run together from the turns in which they join."""
    engines, pool, made, turn = engines or toy.engines(), None, [], 0
    together, errors = Together(), {}
    while len(made) < len(cases) or len(together):
        for case in cases[len(made) :]:
            if case.joins > turn:
                break
            session = Session(engines, case.contract, SHAPE, 400, pool=pool)
            pool = pool or session.share()
            made.append(session.stream(prompt(case.tokens), case.options))
            together.join(made[-1])
        for event in together.turn():
            if event.error is not None:
                errors[id(event.generation)] = event.error
        turn += 1
    return [errors.get(id(generation)) or generation.result for generation in made]


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(asked(), min_size=4, max_size=4), st.integers(0, 3))
def test_four_side_by_side_are_four_alone(cases, seed):
    toy = Toy(seed)
    cases = sorted(cases, key=lambda case: case.joins)
    results = side_by_side(toy, cases)
    for case, got in zip(cases, results, strict=True):
        alone = toy.session(case.contract).generate(prompt(case.tokens), case.options)
        assert got.tokens == alone.tokens
        assert (got.forwards, got.steps, got.stop_reason) == (alone.forwards, alone.steps, alone.stop_reason)
        assert np.allclose(got.confidence, alone.confidence, atol=1e-5)


def plain(first: int, **options) -> Case:
    return Case((first, 6, 7), contract(), Options(max_tokens=12, **options), 0)


def test_they_share_their_forwards():
    engines = Toy().engines()
    side_by_side(Toy(), [plain(5), plain(8), plain(9), plain(10)], engines)
    alone = Toy().session(contract()).generate(prompt([5, 6, 7]), Options(max_tokens=12))
    assert len(engines("backbone").calls) == len(engines("denoise").calls) == alone.forwards


def test_those_that_draw_otherwise_are_asked_apart():
    engines = Toy().engines()
    cases = [plain(5), plain(8, temperature=0.7, seed=1), plain(9, temperature=0.7, seed=2)]
    steps = [result.steps for result in side_by_side(Toy(), cases, engines)]
    assert len(engines("backbone").calls) == max(steps)
    assert len(engines("denoise").calls) == steps[0]
    assert len(engines("sample").calls) == max(steps[1:])


class Poisoned(Toy):
    """A network in which one token's row, and whatever sees it, is not a number."""

    TOKEN = 20

    def forward(self, tokens, positions, visible, past=None, features=None, is_feature=None):
        features = np.where((tokens == self.TOKEN)[:, None], np.nan, 0 if features is None else features)
        is_feature = (tokens == self.TOKEN) | (False if is_feature is None else is_feature)
        return super().forward(tokens, positions, visible, past, features, is_feature)


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(asked(), min_size=3, max_size=3), asked(), st.integers(0, 3))
def test_numbers_that_are_not_finite_end_one_and_no_neighbour(cases, bad, place):
    toy, sick = Poisoned(), Poisoned.TOKEN
    spared = [replace(case, tokens=tuple(t if t != sick else 5 for t in case.tokens)) for case in cases]
    spared = [replace(case, contract=replace(case.contract, forbid_token_ids=(28, sick))) for case in spared]
    bad = replace(bad, tokens=(sick, *bad.tokens))
    every = sorted([*spared[:place], bad, *spared[place:]], key=lambda case: case.joins)
    for case, got in zip(every, side_by_side(toy, every), strict=True):
        if case is bad:
            with pytest.raises(NumericsError) as alone:
                toy.session(case.contract).generate(prompt(case.tokens), case.options)
            assert str(got) == str(alone.value)
        else:
            assert got.tokens == toy.session(case.contract).generate(prompt(case.tokens), case.options).tokens


def test_an_error_of_one_request_is_no_neighbours():
    engines, together = Toy().engines(), Together()
    first = Session(engines, contract(), SHAPE, 400)
    other = Given(np.zeros(2, np.int64), np.zeros(2, np.bool_), Allowed(np.ones((1, 9), np.uint8), np.zeros(2, int)))
    bad = first.stream(prompt([5, 6]), Options(max_tokens=12), other)
    good = Session(engines, contract(), SHAPE, 400, pool=first.share()).stream(prompt([7]), Options(max_tokens=12))
    together.join(bad)
    together.join(good)
    errors = {}
    while len(together):
        errors |= {event.generation: event.error for event in together.turn() if event.step is None}
    assert isinstance(errors[bad], RequestError) and errors[good] is None
    assert good.result.tokens == Toy().session(contract()).generate(prompt([7]), Options(max_tokens=12)).tokens


def test_where_an_engine_cannot_run_all_it_runs_each():
    engines = Toy().engines()
    script = engines("backbone")._script

    def small(feeds):
        if feeds["tokens"].shape[1] > 8:
            raise EngineError("out of memory")
        return script(feeds)

    engines("backbone")._script = small
    cases = [plain(first) for first in (5, 8, 9, 10)]
    for case, got in zip(cases, side_by_side(Toy(), cases, engines), strict=True):
        assert got.tokens == Toy().session(case.contract).generate(prompt(case.tokens), case.options).tokens


def test_one_that_is_cancelled_leaves_and_its_slot_is_used_again():
    engines, together = Toy().engines(), Together()
    first = Session(engines, contract(), SHAPE, 400)
    pool = first.share()
    one, other = (s.stream(prompt([5, 6]), Options(max_tokens=40)) for s in (first, Session(
        engines, contract(), SHAPE, 400, pool=pool)))  # fmt: skip
    together.join(one)
    together.join(other)
    for _ in range(4):
        together.turn()
    one.cancel()
    ended = [event for event in together.turn() if event.step is None]
    assert [event.generation for event in ended] == [one]
    assert one.result.stop_reason == "cancelled"
    capacity = pool.capacity
    assert capacity == 2 * 64
    del one, first, ended
    third = Session(engines, contract(), SHAPE, 400, pool=pool)
    together.join(third.stream(prompt([7]), Options(max_tokens=40)))
    while len(together):
        together.turn()
    assert pool.capacity == capacity
    assert other.result.tokens == Toy().session(contract()).generate(prompt([5, 6]), Options(max_tokens=40)).tokens
