"""Rows that are given anywhere in an answer, and sets of tokens for others, against the slow decode."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from counts import examples
from decode_cases import cases, options
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import Toy, V, contract, prompt

from a2d.engines.errors import RequestError
from a2d.runtime.decode.block import Allowed, only
from a2d.runtime.decode.options import Options
from a2d.runtime.decode.sequence import Given

WIDTH = -(-V // 8)


def form(rows: int, tokens: dict[int, int], sets: dict[int, set[int]]) -> Given:
    """An answer of `rows` rows with some tokens given and some rows restricted."""
    held, by = np.zeros(rows, np.int64), np.full(rows, -1, np.int64)
    is_given = np.isin(np.arange(rows), list(tokens))
    held[list(tokens)] = list(tokens.values())
    by[list(sets)] = np.arange(len(sets))
    masks = [only(chosen, WIDTH)[0] for chosen in sets.values()]
    return Given(held, is_given, Allowed(np.array(masks, np.uint8).reshape(-1, WIDTH), by))


@settings(max_examples=examples(50), deadline=None)
@given(
    cases(),
    st.dictionaries(st.integers(0, 25), st.integers(4, V - 2), max_size=12),
    st.dictionaries(st.integers(0, 25), st.sets(st.integers(4, V - 2), min_size=1, max_size=5), max_size=12),
)
def test_given_rows_and_sets_hold_and_merged_separate_and_full_agree(case, tokens, sets):
    toy, c, P = Toy(case["seed"]), case["contract"], len(case["prompt"])
    sets = {row: chosen for row, chosen in sets.items() if row not in tokens}
    expected, _ = reference.decode(
        toy, case["prompt"], c, case["steps"], case["threshold"], case["max_tokens"], c.block_size,
        {P + row: token for row, token in tokens.items()}, {P + row: chosen for row, chosen in sets.items()},
    )  # fmt: skip
    made = [
        toy.session(c).generate(prompt(case["prompt"]), options(case, commit=commit), form(26, tokens, sets))
        for commit in ("merged", "separate")
    ]
    assert list(made[0].tokens) == list(made[1].tokens) == expected
    assert all(made[0].tokens[row] == token for row, token in tokens.items() if row < len(expected))
    assert all(made[0].tokens[row] in chosen for row, chosen in sets.items() if row < len(expected))


def test_a_block_that_is_given_whole_costs_no_forward_of_its_own():
    known = dict(enumerate([7, 8, 9, 10, 11, 12, 13, 14]))
    session = Toy().session(contract())
    steps = list(session.stream(prompt([5, 6]), Options(max_tokens=12, steps=4), form(8, known, {})))
    assert [(step.block, step.index, step.final) for step in steps][:3] == [(0, 0, True), (1, 0, True), (2, 0, False)]
    assert session.backbone.forwards == 4  # the third block's, the first of which caches all before it


def test_sets_of_another_vocabulary_are_refused():
    other = Given(np.zeros(2, np.int64), np.zeros(2, np.bool_), Allowed(np.ones((1, 9), np.uint8), np.zeros(2, int)))
    with pytest.raises(RequestError, match="sets of 72 tokens, expected sets of 32"):
        Toy().session(contract()).generate(prompt([5]), form=other)


def test_a_draft_does_not_keep_given_rows():
    c = contract(context_mask="token_causal", shift="right_prev_row")
    with pytest.raises(RequestError, match="'speculative', expected 'diffusion'"):
        Toy().session(c).generate(prompt([5]), Options(decode="speculative"), form(2, {0: 5}, {}))
