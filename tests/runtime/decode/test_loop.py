"""The decode loop against its definition, on a network small enough to run at every step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
from counts import examples
from decode_cases import cases, options
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import MASK, Toy, contract, prompt

from a2d.engines.errors import NumericsError, RequestError
from a2d.runtime.decode.options import COMMITS, Options


@settings(max_examples=examples(60), deadline=None)
@given(cases())
def test_cached_merged_and_full_agree(case):
    toy, c = Toy(case["seed"]), case["contract"]
    expected, steps = reference.decode(
        toy, case["prompt"], c, case["steps"], case["threshold"], case["max_tokens"], c.block_size
    )
    merged = toy.session(c).generate(prompt(case["prompt"]), options(case))
    separate = toy.session(c).generate(prompt(case["prompt"]), options(case, commit="separate"))
    assert list(merged.tokens) == expected
    assert separate.tokens == merged.tokens
    assert merged.steps == separate.steps == steps
    if c.opening == "masked":
        assert merged.forwards == steps  # prefill and commits ride along
    start = len(case["prompt"]) if c.prompt_alignment == "left" else len(case["prompt"]) // c.block_size * c.block_size
    opened = 0 if c.opening == "masked" else merged.blocks - (start < len(case["prompt"]))
    if (c.block_size, c.shift, c.opening) == (1, "right_prev_row", "masked"):
        opened = merged.blocks  # autoregressive: the row before has said it, and no block is run
    assert separate.forwards == steps - opened + (start > 0) + merged.blocks - 1


@settings(max_examples=examples(40), deadline=None)
@given(cases(), st.sampled_from(["entropy", "sequential"]), st.floats(0, 3))
def test_host_rules_agree_merged_and_separate(case, rule, bound):
    toy, c = Toy(case["seed"]), case["contract"]
    chosen = {"steps": case["steps"], "max_tokens": case["max_tokens"], "rule": rule, "entropy_bound": bound}
    results = [
        toy.session(c).generate(prompt(case["prompt"]), Options(**chosen, commit=commit))
        for commit in ("merged", "separate")
    ]
    assert results[0].tokens == results[1].tokens
    assert MASK not in results[0].tokens


@settings(max_examples=examples(40), deadline=None)
@given(cases(), st.none() | st.floats(0, 1), st.none() | st.floats(0, 1))
def test_revision_always_ends(case, below, above):
    toy, c = Toy(case["seed"]), case["contract"]
    chosen = options(case, remask_below=below, replace_above=above, revise_steps=3)
    generation = toy.session(c).stream(prompt(case["prompt"]), chosen)
    steps = list(generation)
    assert MASK not in generation.result.tokens
    per_block = np.bincount([step.block for step in steps])
    assert per_block.max() <= 2 * c.block_size + 3


def test_a_commit_that_yields_a_token_is_never_merged():
    """The first token of a block has to be there before the block is run, so there is nothing to ride with."""
    c = contract(shift="right_in_block", opening="predicted")
    first, *_ = steps = list(Toy().session(c).stream(prompt([5, 6]), Options(max_tokens=9)))
    assert (first.accepted.tolist(), first.masked.tolist()) == ([0], [False, True, True, True])
    assert [(s.block, s.index) for s in steps if s.final] == [(0, 3), (1, 3), (2, 0)]  # the last is one row: no forward
    runs = [Toy().session(c).generate(prompt([5, 6]), Options(max_tokens=9, commit=x)) for x in COMMITS]
    assert runs[0].tokens == runs[1].tokens
    assert [run.forwards for run in runs] == [3 + 6, 3 + 6]  # a prefill and two commits, and three steps a block


def test_sub_blocks_are_filled_from_left_to_right():
    steps = list(Toy().session(contract(block_size=8)).stream(prompt([5]), Options(sub_block_size=3, max_tokens=8)))
    order = [row for step in steps for row in step.accepted.tolist()]
    assert [sorted(order[:3]), sorted(order[3:6]), sorted(order[6:])] == [[0, 1, 2], [3, 4, 5], [6, 7]]


@settings(max_examples=examples(30), deadline=None)
@given(cases())
def test_a_block_cache_runs_fewer_rows_and_ends(case):
    """What it computes is held against a reference of its own in tests/export/test_text_families.py."""
    toy, c = Toy(case["seed"]), case["contract"]
    session = toy.session(c)
    fed = rows_fed(session)
    whole = session.generate(prompt(case["prompt"]), options(case))
    before = fed.copy()
    session = toy.session(c)
    fed = rows_fed(session)
    cached = session.generate(prompt(case["prompt"]), options(case, block_cache=True))
    assert MASK not in cached.tokens
    if cached.steps == whole.steps:
        assert sum(fed) <= sum(before)
    if c.sub_block_size in (None, c.block_size):
        assert cached.tokens == whole.tokens  # the part is the whole


def rows_fed(session) -> list[int]:
    fed, run = [], session.backbone._run
    session.backbone._run = lambda rows, *rest: fed.append(len(rows)) or run(rows, *rest)
    return fed


def test_a_block_cache_does_not_outlive_its_block():
    """Drafted rows are of a block that was half masked: a conversation that goes on must not find them."""
    c, tokens = contract(prompt_alignment="tail", sub_block_size=2), [5, 6, 7, 8, 9, 10]
    session = Toy().session(c)
    chosen = Options(max_tokens=6, block_cache=True)
    stopped = session.stream(prompt(tokens), chosen)
    next(stopped)
    assert session.backbone.cache.drafted == 4
    stopped.close()
    again = session.generate(prompt(tokens), chosen)
    assert again.tokens == Toy().session(c).generate(prompt(tokens), chosen).tokens


def test_sequential_writes_from_left_to_right():
    steps = list(Toy().session(contract()).stream(prompt([5, 6]), Options(rule="sequential", steps=2, max_tokens=8)))
    assert [step.accepted.tolist() for step in steps] == [[0, 1], [2, 3]] * 2


def test_replacing_changes_a_settled_token():
    sure = Options(max_tokens=24, steps=1)
    plain = Toy(1).session(contract(block_size=8)).generate(prompt([5, 6, 7]), sure)
    edited = (
        Toy(1)
        .session(contract(block_size=8))
        .generate(prompt([5, 6, 7]), Options(max_tokens=24, steps=1, replace_above=0.0))
    )
    assert plain.tokens != edited.tokens
    assert edited.forwards > plain.forwards


def test_remasking_masks_a_row_once():
    chosen = Options(max_tokens=8, steps=2, remask_below=1.0)
    steps = list(Toy(2).session(contract(block_size=8)).stream(prompt([5, 6, 7]), chosen))
    again = sum((~a.masked & b.masked).sum() for a, b in itertools.pairwise(steps))
    assert again == 8  # below 1.0 every row is doubted, and doubted once
    assert steps[-1].final and not steps[-1].masked.any()


def test_same_seed_same_tokens_other_seed_others():
    chosen = {"temperature": 1.5, "max_tokens": 24}
    runs = [Toy().session(contract()).generate(prompt([5, 6]), Options(seed=s, **chosen)).tokens for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_sampling_agrees_merged_and_separate():
    chosen = {"temperature": 0.8, "max_tokens": 24, "seed": 7, "steps": 2}
    runs = [
        Toy().session(contract()).generate(prompt([5, 6, 9]), Options(commit=commit, **chosen)).tokens
        for commit in ("merged", "separate")
    ]
    assert runs[0] == runs[1]


def test_not_a_number_is_an_error_that_names_graph_and_block():
    toy = Toy()
    engines = toy.engines()
    script = engines("denoise")._script
    engines("denoise")._script = lambda feeds: {**script(feeds), "confidence": np.full((1, 4), np.nan, np.float32)}
    from a2d.runtime.decode.cache import CacheShape
    from a2d.runtime.decode.session import Session

    session = Session(engines, contract(), CacheShape(2, 2, 12, "float64"), 100)
    with pytest.raises(NumericsError, match="'denoise', block 0, step 0.*fp32"):
        session.generate(prompt([5]))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"steps": 0}, "steps: got 0"),
        ({"steps": 5}, "steps: got 5, expected 1 to the block size 4"),
        ({"threshold": 1.5}, "threshold: got 1.5, expected 0 to 1"),
        ({"threshold": -0.1}, "threshold: got -0.1"),
        ({"block_size": 0}, "block_size: got 0"),
        ({"max_tokens": 0}, "max_tokens: got 0"),
        ({"temperature": -1}, "temperature: got -1"),
        ({"temperature": float("nan")}, "temperature: got nan"),
        ({"top_p": 2}, "top_p: got 2"),
        ({"threshold": 0.5, "rule": "entropy"}, "rule 'entropy' has none"),
        ({"block_cache": True, "replace_above": 0.9}, "block_cache: it runs one sub-block"),
        ({"sub_block_size": 0}, "sub_block_size: got 0"),
    ],
)
def test_bad_options(chosen, message):
    with pytest.raises(RequestError, match=message):
        Toy().session(contract()).generate(prompt([5]), Options(**chosen))
