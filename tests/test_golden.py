"""Other systems' own decodes, token for token, in the number of forwards that they state."""

from __future__ import annotations

import json
from functools import cache

import pytest
from conftest import DATA, GOLDEN

import a2d

CASES = [
    (name, case)
    for name in GOLDEN
    for case in json.loads((DATA / "golden" / f"{name}.json").read_text(encoding="utf-8"))
]


@cache
def model(path) -> a2d.Model:
    return a2d.load(path, threads=1)


def label(value) -> str | None:
    if not isinstance(value, dict):
        return None
    return f"P{len(value['prompt'])}-B{value['block_size']}-S{value['steps']}-{value['threshold'] or 'static'}"


def test_all_cases_are_there():
    assert len(CASES) == 58


@pytest.mark.parametrize("commit", ["merged", "separate"])
@pytest.mark.parametrize(("name", "case"), CASES, ids=label)
def test_golden(golden, name, case, commit):
    result = model(golden(name)).generate(
        case["prompt"],
        block_size=case["block_size"],
        steps=case["steps"],
        threshold=case["threshold"],
        max_tokens=case["max_new_tokens"],
        commit=commit,
    )
    assert list(result.tokens) == case["tokens"]
    assert result.forwards == case[f"forwards_{commit}"]


def test_without_a_tokenizer_a_reader_is_shown_ids(golden):
    shown = model(golden("tail-qwen3"))
    assert shown.text([5, 6]) + shown.text([2]) == "5 6 2 "
