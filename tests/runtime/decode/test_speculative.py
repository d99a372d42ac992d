"""Self-speculative decoding against one token per forward, on the toy network."""

from __future__ import annotations

import numpy as np
import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import LAYERS, STOP, Toy, V, contract, norm, prompt

from a2d.engines.errors import RequestError
from a2d.runtime.decode.contract import DecodeContract, autoregressive
from a2d.runtime.decode.generation import DECODES as FUNCTIONS
from a2d.runtime.decode.options import DECODES, Options

CAUSAL = {"context_mask": "token_causal", "shift": "right_prev_row"}


class Clock(Toy):
    """Predicts from a row's position alone: whatever it drafts is what it would have written."""

    def forward(self, tokens, positions, visible, past=None, features=None, is_feature=None):
        nothing = np.zeros((2, len(tokens), 12))
        return norm(self.weights()["embed"][positions % V]), [(nothing, nothing)] * LAYERS


def one_by_one(toy: Toy, c: DecodeContract, tokens: list[int], options: Options) -> tuple[int, ...]:
    """The same network decoded in blocks of one: up to a stop token, as the definition has it."""
    return toy.session(autoregressive(c)).generate(prompt(tokens), options).tokens


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.integers(4, V - 2), min_size=1, max_size=21),
    st.integers(1, 9),
    st.integers(1, 26),
    st.sampled_from(["tail", "left"]),
    st.sampled_from([0.0, 0.7]),
    st.integers(0, 5),
)
def test_tokens_are_those_of_one_token_per_forward(tokens, block, most, alignment, temperature, seed):
    for toy in (Toy(seed), Clock(seed)):
        c = contract(block_size=block, prompt_alignment=alignment, **CAUSAL)
        chosen = {"max_tokens": most, "temperature": temperature, "seed": seed}
        expected = one_by_one(toy, c, tokens, Options(**chosen))
        generation = toy.session(c).stream(prompt(tokens), Options(decode="speculative", **chosen))
        steps = list(generation)
        assert generation.result.tokens == expected
        assert sum(len(step.tokens) for step in steps if step.final) == len(expected)
        assert not any(step.masked.any() for step in steps)


def test_confidence_is_that_of_one_token_per_forward():
    c, chosen = contract(block_size=4, stop_token_ids=(), **CAUSAL), {"max_tokens": 9}
    for toy in (Toy(1), Clock(1)):
        steps = list(toy.session(c).stream(prompt([5, 6, 7]), Options(decode="speculative", **chosen)))
        one = list(toy.session(autoregressive(c)).stream(prompt([5, 6, 7]), Options(**chosen)))
        got = np.concatenate([step.confidence for step in steps if step.final])
        np.testing.assert_allclose(got, np.concatenate([step.confidence for step in one]), atol=1e-6)


def test_what_agrees_costs_two_forwards_a_block():
    c, chosen = contract(block_size=8, stop_token_ids=(), **CAUSAL), Options(max_tokens=24, decode="speculative")
    result = Clock().session(c).generate(prompt([5, 6, 7]), chosen)
    assert (len(result.tokens), result.blocks) == (24, 3)
    assert result.forwards == 1 + 2 * 3  # the prompt's, and a draft and a verification for each block


def test_nothing_is_drafted_behind_a_stop_token():
    c = contract(**CAUSAL)
    toy = next(t for t in map(Toy, range(40)) if STOP in one_by_one(t, c, [5, 6], Options(max_tokens=30)))
    result = toy.session(c).generate(prompt([5, 6]), Options(max_tokens=30, decode="speculative"))
    assert result.stop_reason == "stop"
    assert result.tokens.index(STOP) == len(result.tokens) - 1


def test_a_session_goes_on_with_what_was_verified():
    c, chosen = contract(block_size=4, **CAUSAL), Options(max_tokens=6, decode="speculative")
    session = Toy(1).session(c)
    said = [5, 6, 7, *session.generate(prompt([5, 6, 7]), chosen).tokens]
    again = session.generate(prompt([*said, 9]), chosen)
    assert again.cached_tokens > 3
    assert again.tokens == Toy(1).session(c).generate(prompt([*said, 9]), chosen).tokens


def test_a_context_that_fills_up_ends_it():
    c = contract(block_size=4, stop_token_ids=(), **CAUSAL)
    result = Toy().session(c, max_context=12).generate(prompt([5, 6]), Options(decode="speculative"))
    assert (len(result.tokens), result.stop_reason) == (10, "context")


@pytest.mark.parametrize(
    ("fields", "chosen", "message"),
    [
        ({}, {}, "context_mask 'block_causal' and shift 'none', expected 'token_causal' and a shift"),
        ({"context_mask": "token_causal"}, {}, "shift 'none'"),
        (CAUSAL, {"steps": 2, "threshold": 0.5}, "steps, threshold: a block is drafted in one step"),
        (CAUSAL, {"block_cache": True}, "block_cache: a block is drafted in one step"),
    ],
)
def test_what_does_not_fit_is_refused(fields, chosen, message):
    with pytest.raises(RequestError, match=message):
        Toy().session(contract(**fields)).stream(prompt([5]), Options(decode="speculative", **chosen))


def test_the_tables_agree():
    assert list(DECODES) == list(FUNCTIONS)
