"""Options and contract resolved into a plan; what does not fit is listed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import contract

from a2d.engines.errors import RequestError
from a2d.runtime.decode.options import COMMITS, OptionFields, Options, Plan, plan, with_fields
from a2d.runtime.decode.rules import RULES


def resolved(chosen: dict | None = None, **fields) -> tuple[int, int, float | None, float]:
    made = plan(contract(**fields), Options(**(chosen or {})))
    return made.block, made.steps, made.threshold, made.temperature


@pytest.mark.parametrize(
    ("chosen", "fields", "expected"),
    [
        ({}, {}, (4, 4, None, 0.0)),
        ({}, {"steps": 2}, (4, 2, None, 0.0)),
        ({"steps": 3}, {"steps": 2}, (4, 3, None, 0.0)),
        ({"block_size": 8}, {}, (8, 8, None, 0.0)),
        ({"block_size": 8}, {"steps": 2}, (8, 2, None, 0.0)),
        ({"block_size": 2}, {"steps": 4}, (2, 2, None, 0.0)),  # the contract's steps are cut to the smaller block
        ({}, {"threshold": 0.9, "steps": 2}, (4, 2, 0.9, 0.0)),
        ({"threshold": 0.5}, {"threshold": 0.9, "steps": 2}, (4, 4, 0.5, 0.0)),  # asked for: one per step at least
        ({"threshold": 0.5, "steps": 2}, {}, (4, 2, 0.5, 0.0)),
        ({"steps": 3}, {"threshold": 0.9}, (4, 3, None, 0.0)),  # steps alone replace the contract's rule as well
        ({"steps": 3}, {"threshold": 0.9, "steps": 2}, (4, 3, None, 0.0)),
        ({"threshold": 0.5, "steps": 2}, {"threshold": 0.9, "steps": 3}, (4, 2, 0.5, 0.0)),
        ({}, {"threshold": 0.9}, (4, 4, 0.9, 0.0)),
        ({"threshold": 0.0}, {}, (4, 4, 0.0, 0.0)),
        ({"rule": "sequential"}, {"threshold": 0.9}, (4, 4, None, 0.0)),  # other rules know no threshold
        ({}, {"temperature": 0.7}, (4, 4, None, 0.7)),
        ({"temperature": 0.0}, {"temperature": 0.7}, (4, 4, None, 0.0)),
    ],
)
def test_what_is_not_chosen_comes_from_the_contract(chosen, fields, expected):
    assert resolved(chosen, **fields) == expected


@pytest.mark.parametrize(
    ("chosen", "fields", "expected"),
    [
        ({}, {}, (4, None, True)),
        ({"commit": "separate"}, {}, (4, None, False)),
        ({}, {"sub_block_size": 2, "replace_above": 0.9}, (2, 0.9, True)),
        ({"sub_block_size": 3, "replace_above": 0.5}, {"sub_block_size": 2, "replace_above": 0.9}, (3, 0.5, True)),
        ({"sub_block_size": 9}, {}, (4, None, True)),  # a part is never more than the whole
        ({"block_size": 2}, {"sub_block_size": 3}, (2, None, True)),
        ({"commit": "merged"}, {"opening": "predicted", "shift": "right_in_block"}, (4, None, False)),
    ],
)
def test_parts_edits_and_commits_are_resolved(chosen, fields, expected):
    made = plan(contract(**fields), Options(**chosen))
    assert (made.sub_block, made.options.replace_above, made.merged) == expected


@pytest.mark.parametrize(
    ("chosen", "lines"),
    [
        ({"steps": 0, "threshold": 2.0}, ["steps: got 0, expected 1 to", "threshold: got 2.0, expected 0 to 1"]),
        ({"steps": 5}, ["steps: got 5, expected 1 to the block size 4"]),
        ({"block_size": 2, "steps": 3}, ["steps: got 3, expected 1 to the block size 2"]),
        ({"steps": 5, "threshold": 0.5, "rule": "entropy"}, ["steps: got 5", "rule 'entropy' has none"]),
        ({"steps": 2.0}, ["steps: got 2.0, expected a whole number"]),
        ({"steps": "2"}, ["steps: got '2', expected a whole number"]),
        ({"steps": True}, ["steps: got True, expected a whole number"]),
        ({"max_tokens": None}, ["max_tokens: got None, expected a whole number"]),
        ({"temperature": float("inf")}, ["temperature: got inf, expected a number"]),
        ({"seed": -1}, ["seed: got -1"]),
        ({"seed": 2**64}, ["seed: got 18446744073709551616, expected 0 to 18446744073709551615"]),
        ({"rule": 3}, ["rule: got 3, expected a text"]),
        ({"rule": "luck"}, ["rule: got 'luck', expected one of", *RULES]),
        ({"commit": "later"}, ["commit: got 'later', expected one of", *COMMITS]),
    ],
)
def test_what_does_not_fit_is_listed(chosen, lines):
    with pytest.raises(RequestError) as caught:
        plan(contract(), Options(**chosen))
    assert [line for line in lines if line not in str(caught.value)] == []


@given(
    st.builds(
        Options,
        max_tokens=st.integers(1, 100),
        block_size=st.none() | st.integers(1, 9),
        steps=st.none() | st.integers(1, 9),
        threshold=st.none() | st.floats(0, 1),
        rule=st.sampled_from(list(RULES)),
        temperature=st.none() | st.floats(0, 2),
        commit=st.sampled_from(list(COMMITS)),
    ),
    st.integers(1, 9),
)
def test_a_plan_can_always_be_followed(options, block):
    try:
        made = plan(contract(block_size=block), options)
    except RequestError:
        return
    assert isinstance(made, Plan)
    assert 1 <= made.steps <= made.block
    assert made.threshold is None or options.rule in ("confidence", "prefix")


def test_fields_by_name():
    assert with_fields(None, steps=3) == Options(steps=3)
    assert with_fields(Options(seed=4), steps=3) == Options(steps=3, seed=4)
    with pytest.raises(RequestError, match="unknown option stepz, colour; the options are max_tokens, block_size"):
        with_fields(None, stepz=3, colour="red")  # type: ignore[call-arg]


def test_the_keywords_are_the_fields():
    assert OptionFields.__annotations__.keys() == Options.__dataclass_fields__.keys()
