"""The decode contract: what it refuses, and that unknown choices print their table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toy import contract

from a2d.engines.errors import A2DError, ContractError
from a2d.runtime.decode.contract import ALIGNMENTS, CONTEXT_MASKS, POSITIONS, SHIFTS
from a2d.runtime.decode.rules import SCHEDULES
from a2d.runtime.schema import Violations, check_choice, from_json, to_json

TABLES = {
    "prompt_alignment": ALIGNMENTS,
    "context_mask": CONTEXT_MASKS,
    "shift": SHIFTS,
    "positions": POSITIONS,
    "schedule": SCHEDULES.meanings,
}


@pytest.mark.parametrize("name", list(TABLES))
def test_choices_are_those_of_the_table_and_the_error_prints_it(name):
    for choice in TABLES[name]:
        assert getattr(replace(contract(), **{name: choice}), name) == choice
    with pytest.raises(ContractError) as caught:
        replace(contract(), **{name: "sideways"})
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{name}: got 'sideways', expected one of"
    assert [line.split()[0] for line in lines[1:]] == list(TABLES[name])
    assert all(meaning in line for line, meaning in zip(lines[1:], TABLES[name].values(), strict=True))


def test_a_choice_that_exists_is_returned():
    assert check_choice("x", "a", {"a": "the first"}) == "a"


def test_more_steps_than_tokens_are_refused():
    assert contract(block_size=4, steps=4).steps == 4
    with pytest.raises(ContractError, match="steps: got 5, expected at most the block size 4"):
        contract(block_size=4, steps=5)


def test_a_contract_error_is_one_of_ours_and_one_that_records_collect():
    assert issubclass(ContractError, A2DError) and issubclass(ContractError, ValueError)
    with pytest.raises(Violations, match="the whole: shift: got 'up'"):
        from_json(type(contract()), to_json(contract()) | {"shift": "up"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mask_token_id", -1), ("mask_token_id", 2**40), ("stop_token_ids", [-1]),
        ("stop_token_ids", 2), ("block_size", 0), ("block_size", 10**6), ("block_size", 2.0), ("steps", 0),
        ("threshold", -0.1), ("threshold", 1.1), ("threshold", "high"), ("temperature", -1), ("temperature", True),
        ("forbid_token_ids", None),
    ],
)  # fmt: skip
def test_values_out_of_bounds_are_refused(field, value):
    with pytest.raises(Violations, match=f"^  {field}"):
        from_json(type(contract()), to_json(contract()) | {field: value})


def test_only_blocks_of_one_row_that_the_row_before_predicts_need_no_mask():
    assert replace(contract(), mask_token_id=None, block_size=1, steps=1, shift="right_prev_row").mask_token_id is None
    for other in ({"block_size": 4, "steps": 4}, {"block_size": 1, "steps": 1, "shift": "none"}):
        with pytest.raises(ContractError, match="mask_token_id: got none, expected a token id: blocks of"):
            replace(contract(), mask_token_id=None, **other)
