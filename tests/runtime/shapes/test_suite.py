"""The JSON Schema Test Suite: what is supported is kept to by random models, and all else is an error that says what.

`A2D_ANSWERS` is the number of answers to make (`make test-shapes`: 5,000 here, and as many to random schemas).
"""

from __future__ import annotations

import itertools
import json
import os
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import toy
from toy import MASK, STOP, Toy, contract, prompt

from a2d.engines.errors import RequestError
from a2d.runtime.decode.options import Options
from a2d.runtime.decode.rules import RULES
from a2d.runtime.decode.session import until
from a2d.runtime.shapes.automaton import Vocabulary
from a2d.runtime.shapes.best_string import advanced
from a2d.runtime.shapes.json_schema import json_schema
from a2d.runtime.shapes.make import shaped

pytest.importorskip("outlines_core", reason='the extra "shapes"')

ANSWERS = int(os.environ.get("A2D_ANSWERS", "0"))
CASES = json.loads((Path(__file__).parents[2] / "data/json-schema/suite.json").read_text())[:: 1 if ANSWERS else 9]
"""The whole suite, or so much of it that a quick run has some of everything."""

ROOM = 12
"""Tokens that an answer may have beyond the shortest one."""

BYTES = [b"" if token in (STOP, MASK) else bytes([token]) for token in range(256)]
SPELLED = [*BYTES, bytes([STOP]), bytes([MASK]), b'{"', b'": ', b", ", b"true", b"null", b"foo", b"bar", b'"a', b"12"]
"""Bytes of the toy's tokens: every byte by itself, and pieces of JSON."""

NUMBERS = {spelled: token for token, spelled in enumerate(SPELLED) if spelled}


def encode(text: str) -> np.ndarray:
    """The longest tokens that fit, as a tokenizer would."""
    made, rest = [], text.encode()
    while rest:
        longest = max((rest[:size] for size in range(1, 5) if rest[:size] in NUMBERS), key=len)
        made.append(NUMBERS[longest])
        rest = rest[len(longest) :]
    return np.array(made, np.int64)


VOCABULARY = Vocabulary(SPELLED, encode, STOP, frozenset({MASK, STOP}))


@cache
def sorted_out():
    """Cases with their automata, and those that are refused with the reason."""
    kept, refused = [], []
    for case in CASES:
        try:
            kept.append((case, shaped(json_schema(case["schema"]), VOCABULARY)))
        except RequestError as error:
            refused.append((case, str(error)))
    return kept, refused


def decoded(form, seed: int):
    """Text of one answer of a random model, of random weights, blocks, steps and rules."""
    draw = np.random.default_rng(seed)
    size = int(draw.integers(1, 9))
    made = contract(block_size=size, context_mask=str(draw.choice(["block_causal", "token_causal"])))
    chosen = {"steps": int(draw.integers(1, size + 1)), "rule": str(draw.choice(list(RULES)))}
    most = int(form.automaton.left[0]) + int(draw.integers(0, ROOM))
    session = Toy(int(draw.integers(1 << 30))).session(made, max_context=4000)
    result = session.generate(prompt([5, 6]), Options(max_tokens=most, **chosen), form)
    return b"".join(SPELLED[token] for token in until(list(result.tokens), (STOP,))).decode()


def checked(form, schema, seed: int) -> None:
    text = decoded(form, seed)
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setattr(toy, "V", len(SPELLED))


def test_most_of_what_can_be_written_is_supported_and_the_rest_says_why():
    kept, refused = sorted_out()
    assert len(kept) >= len(CASES) // 6
    for case, why in refused:
        assert any(word in why for word in ("not supported", "no answer can be valid", "expected", "recursive",
                                            "leads nowhere", "can be written")), (case["from"], why)  # fmt: skip


def test_no_instance_that_is_invalid_is_in_the_language():
    found = 0
    for case, form in sorted_out()[0]:
        for value, valid in case["tests"]:
            states = form.automaton.starts
            for token in (*encode(json.dumps(value, ensure_ascii=False)), STOP):
                states = advanced(form.automaton, states, int(token))
            assert valid or not states, (case["from"], value)
            found += bool(states)
    assert found >= 10


def test_answers_of_random_models_are_valid(wide):
    kept, _ = sorted_out()
    for seed, (case, form) in zip(range(ANSWERS or len(kept)), itertools.cycle(kept), strict=False):
        checked(form, case["schema"], seed)
