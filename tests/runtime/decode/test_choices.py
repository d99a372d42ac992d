"""Every choice of a caller against the slow loop, merged and separate; and each table's rows against their words."""

from __future__ import annotations

from dataclasses import replace

import choices_reference
import numpy as np
import pytest
from counts import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toy import MASK, Toy, V, contract, prompt

from a2d.engines.errors import ContractError, EngineError, RequestError
from a2d.runtime.decode.block import Block, Proposal
from a2d.runtime.decode.contract import ALIGNMENTS, COMPARISONS, CONFIDENCES
from a2d.runtime.decode.options import BARRED, DRAWN, Options, plan
from a2d.runtime.decode.rules import FALLBACKS, RULES, SCHEDULES, STOPS, repeats

PROMPTS = st.lists(st.integers(4, V - 2), min_size=1, max_size=14)


@st.composite
def chosen(draw):
    """Options that fit together."""
    B, rule = draw(st.integers(1, 7)), draw(st.sampled_from(list(RULES)))
    fallback = draw(st.none() | st.sampled_from(list(FALLBACKS))) if rule == "confidence" else None
    paced = fallback != "top-1"
    o = Options(
        max_tokens=draw(st.integers(1, 20)),
        steps=draw(st.integers(1, B)) if paced else None,
        rule=rule,
        fallback=fallback,
        threshold=draw(st.none() | st.floats(0.05, 0.95)) if rule in BARRED else None,
        comparison=draw(st.none() | st.sampled_from(list(COMPARISONS))),
        confidence=draw(st.none() | st.sampled_from(list(CONFIDENCES))),
        entropy_bound=draw(st.floats(0.01, 3)),  # at 0 a rounding decides
        factor=draw(st.floats(0.05, 4)),
        stop=draw(st.none() | st.sampled_from(list(STOPS))),
        stop_repeats=draw(st.none() | st.integers(2, 4)),
        guidance=draw(st.sampled_from([0.0, 0.0, 0.5, 2.0])),
        guidance_keep=draw(st.sampled_from([(), (5, 6, 7)])),
        temperature=draw(st.sampled_from([None, None, 0.7, 1.3])),
        top_k=draw(st.sampled_from([0, 0, 1, 3])),
        top_p=draw(st.sampled_from([1.0, 1.0, 0.8])),
        seed=draw(st.integers(0, 3)),
    )
    left = draw(st.sampled_from(list(ALIGNMENTS)))
    drop = draw(st.sampled_from([(), (), tuple(range(4, 16))])) if left == "left" else ()
    c = contract(
        block_size=B,
        prompt_alignment=left,
        schedule=draw(st.sampled_from(list(SCHEDULES))),
        stop_token_ids=(3, 17, 20),
        drop_token_ids=drop,
    )
    return c, o


@settings(max_examples=examples(50), deadline=None)
@given(chosen(), PROMPTS, st.integers(0, 5))
def test_every_choice_agrees_with_the_slow_loop(case, tokens, seed):
    c, o = case
    toy = Toy(seed)
    expected, steps = choices_reference.decode(toy, tokens, c, o)
    for commit in ("merged", "separate"):
        result = toy.session(c).generate(prompt(tokens), replace(o, commit=commit))
        assert list(result.tokens) == expected
        assert result.steps == steps


@settings(max_examples=examples(20), deadline=None)
@given(chosen(), PROMPTS)
def test_defaults_of_the_contract_are_those_of_a_caller(case, tokens):
    c, o = case
    # Where nothing is drawn, a contract's confidence is the raw one, and a caller's is what the caller says.
    drawn = (c.temperature if o.temperature is None else o.temperature) > 0
    assume(drawn or o.confidence not in DRAWN)
    toy, names = Toy(1), ("confidence", "comparison", "fallback", "stop", "stop_repeats")
    said = {name: value for name in names if (value := getattr(o, name)) is not None}
    by_contract = replace(c, **(said if o.rule == "confidence" else {k: v for k, v in said.items() if k != "fallback"}))
    bare = replace(o, **dict.fromkeys(said))
    results = [toy.session(c).generate(prompt(tokens), o), toy.session(by_contract).generate(prompt(tokens), bare)]
    assert results[0].tokens == results[1].tokens


def asked(confidence, **fields) -> tuple[Block, Proposal]:
    n = len(confidence)
    held = np.full(n, MASK)
    block = Block.of(0, held[:0], n, MASK)
    conf = np.array(confidence, np.float32)
    given = {"entropy": np.arange(n, dtype=np.float32), **{k: np.array(v, np.float32) for k, v in fields.items()}}
    return block, Proposal(np.arange(n), conf, given["entropy"], conf, held, np.ones(n, np.bool_))


@pytest.mark.parametrize(
    ("options", "count", "rows"),
    [
        ({"threshold": 0.9, "fallback": "count"}, 1, [1, 3]),
        ({"threshold": 0.9, "fallback": "count"}, 3, [0, 1, 3]),
        ({"threshold": 0.97, "fallback": "top-1"}, 3, [3]),
        ({"threshold": 0.95, "fallback": "top-1"}, 1, [3]),
        ({"threshold": 0.95, "comparison": "at-least", "fallback": "top-1"}, 1, [1, 3]),
        ({"threshold": 0.6, "rule": "prefix"}, 1, [0]),
        ({"threshold": 0.4, "rule": "prefix"}, 1, [0, 1]),
        # Sorted: .96 .95 .5 .3. With factor 0.1: n = 1 wants .95, n = 2 wants .967.
        ({"rule": "factor", "factor": 0.1}, 1, [3]),
        ({"rule": "factor", "factor": 0.2}, 1, [1, 3]),
        ({"rule": "factor", "factor": 2.0}, 1, [0, 1, 3]),
        ({"rule": "factor", "factor": 0.0}, 1, [3]),
        ({"rule": "entropy", "entropy_bound": 3.0}, 1, [0, 1, 2]),
        ({"rule": "joint-entropy", "entropy_bound": 1.0}, 1, [0, 1, 2]),
    ],
)
def test_rules_by_hand(options, count, rows):
    confidence = [0.5, 0.95, 0.3, 0.96]
    made = plan(contract(), Options(confidence="tempered", **options))  # never decided by the graph
    block, proposal = asked(confidence)
    assert np.flatnonzero(RULES[made.options.rule](block, proposal, count, made)).tolist() == rows


def test_a_threshold_is_met_by_its_equal_where_that_is_asked_for():
    above, least = (plan(contract(), Options(threshold=0.9, comparison=c)).bar for c in COMPARISONS)
    assert np.float32(above) == np.float32(0.9) and not np.float32(0.9) > np.float32(above)
    assert np.float32(0.9) > np.float32(least) == np.nextafter(np.float32(0.9), np.float32(0))
    assert plan(contract(), Options()).bar == 2.0


def test_repeats():
    assert repeats(np.array([1, 2, 2, 2]), 3)
    assert not repeats(np.array([1, 2, 2, 2]), 4)
    assert not repeats(np.array([2, 2]), 3)
    assert not repeats(np.array([2, 2]), None)
    assert repeats(np.array([9, 1, 2, 1, 2, 1, 2]), 3)
    assert not repeats(np.array([9, 1, 2, 1, 2, 1, 2]), 4)


def test_an_answer_that_repeats_says_so():
    c = contract(stop_token_ids=(), block_size=1, forbid_token_ids=tuple(t for t in range(V) if t != 9))
    result = Toy(0).session(c).generate(prompt([5, 6]), Options(max_tokens=30, stop_repeats=5))
    assert result.tokens == (9,) * 5 and result.stop_reason == "repeats"
    assert Toy(0).session(c).generate(prompt([5, 6]), Options(max_tokens=9)).stop_reason == "length"


def test_guidance_uses_no_cached_row_and_leaves_good_ones():
    toy, c = Toy(3), contract(prompt_alignment="tail")
    session, tokens = toy.session(c), list(range(5, 17))
    plain = session.generate(prompt(tokens), Options(max_tokens=8))
    guided = session.generate(prompt(tokens), Options(max_tokens=8, guidance=1.5))
    assert guided.cached_tokens == 0 and guided.tokens != plain.tokens
    assert guided.forwards == 2 * guided.steps
    again = session.generate(prompt(tokens), Options(max_tokens=8))
    assert again.cached_tokens > 0 and again.tokens == plain.tokens


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"steps": 2, "fallback": "top-1"}, "steps: got 2, but fallback 'top-1' sets no pace"),
        ({"rule": "entropy", "fallback": "top-1"}, "fallback: got 'top-1', but rule 'entropy' has none"),
        ({"rule": "factor", "threshold": 0.5}, "rule 'factor' has none; use rule confidence or prefix"),
        ({"confidence": "vague"}, "confidence: got 'vague', expected one of"),
        ({"comparison": ">="}, "comparison: got '>=', expected one of"),
        ({"fallback": "none"}, "fallback: got 'none', expected one of"),
        ({"stop": "never"}, "stop: got 'never', expected one of"),
        ({"stop_repeats": 1}, "stop_repeats: got 1, expected 2 to"),
        ({"guidance": -1.0}, "guidance: got -1.0, expected 0 to"),
    ],
)
def test_what_does_not_fit(options, line):
    with pytest.raises(RequestError, match=line.replace("(", r"\(")):
        plan(contract(), Options(**options))


def test_what_a_contract_may_not_say():
    with pytest.raises(ContractError, match="stop: got 'never'"):
        contract(stop="never")
    with pytest.raises(ContractError, match="drop_token_ids.*'token_causal', expected 'block_causal'"):
        contract(drop_token_ids=(5,), context_mask="token_causal")


def test_a_bundle_exported_before_says_what_to_do():
    toy = Toy()
    engines = toy.engines()
    engines("sample").outputs.pop("filtered")
    session = toy.session(contract())
    session.engine = engines
    with pytest.raises(EngineError, match="filtered"):
        session.generate(prompt([5]), Options(confidence="filtered"))
