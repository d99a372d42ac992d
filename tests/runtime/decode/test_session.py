"""Conversations: what is cached is not run again, what does not fit is refused before anything is lost."""

from __future__ import annotations

import threading
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import H, Toy, V, contract, prompt

from a2d.engines.errors import ContextFullError, RequestError
from a2d.runtime.decode.contract import ALIGNMENTS, CONTEXT_MASKS, SHIFTS
from a2d.runtime.decode.options import Options
from a2d.runtime.decode.result import Result, TextResult

TOKENS = st.lists(st.integers(4, V - 2), min_size=1, max_size=14)
SHORT = Options(max_tokens=11)


def exact(c) -> bool:
    """Contracts under which a continued conversation is the same as a fresh decode of all of it."""
    return c.context_mask == "token_causal" or (c.prompt_alignment == "tail" and c.context_mask == "block_causal")


@settings(max_examples=examples(40), deadline=None)
@given(
    TOKENS,
    TOKENS,
    st.sampled_from(list(ALIGNMENTS)),
    st.sampled_from(list(CONTEXT_MASKS)),
    st.sampled_from(list(SHIFTS)),
)
def test_continuing_runs_only_what_is_new(first, more, alignment, mask, shift):
    c = contract(prompt_alignment=alignment, context_mask=mask, shift=shift)
    session = Toy().session(c)
    one = session.generate(prompt(first), SHORT)
    cached = session.cached_tokens
    whole = [*first, *one.tokens, *more]
    two = session.generate(prompt(whole), SHORT)
    assert two.cached_tokens >= cached - c.block_size  # all of it, but for a block that the shift runs again
    assert session.cached_tokens <= len(whole) + 11
    fresh = Toy().session(c).generate(prompt(whole), SHORT)
    if exact(c):
        assert two.tokens == fresh.tokens
    assert fresh.cached_tokens == 0


def test_cached_rows_are_not_fed_again():
    toy = Toy()
    session = toy.session(contract())
    one = session.generate(prompt([5, 6, 7, 8]), SHORT)
    calls = session.engine("backbone").calls
    calls.clear()
    cached = session.cached_tokens
    session.generate(prompt([5, 6, 7, 8, *one.tokens, 9, 9]), SHORT)
    assert calls[0]["positions"][0, 0] == cached


def test_another_conversation_reuses_the_common_part():
    c = contract(prompt_alignment="tail")
    session = Toy().session(c)
    session.generate(prompt([5, 6, 7, 8, 9, 10, 11, 12]), SHORT)
    again = session.generate(prompt([5, 6, 7, 8, 9, 10, 20, 21]), SHORT)
    assert again.cached_tokens == 4  # the second block differs
    assert again.tokens == Toy().session(c).generate(prompt([5, 6, 7, 8, 9, 10, 20, 21]), SHORT).tokens


def test_features_are_told_apart_by_their_keys():
    c = contract(context_mask="token_causal")
    flags = np.array([False, True, True, False])

    def pictured(value: float, key: int):
        features = np.full((4, H), value, np.float32)
        return prompt([5, 6, 6, 7], keys=np.array([5, key, key - 1, 7]), features=features, is_feature=flags)

    session = Toy().session(c)
    one = session.generate(pictured(0.5, -10), SHORT)
    two = session.generate(pictured(-0.9, -20), SHORT)
    assert two.cached_tokens == 1
    assert two.tokens == Toy().session(c).generate(pictured(-0.9, -20), SHORT).tokens != one.tokens
    assert session.generate(pictured(-0.9, -20), SHORT).cached_tokens == 4


def test_prompt_tail_with_features_opens_the_first_block():
    features = np.linspace(-1, 1, 5 * H, dtype=np.float32).reshape(5, H)
    rows = prompt([5, 6, 6, 7, 8], features=features, is_feature=np.array([False, True, True, False, True]))
    c = contract(prompt_alignment="tail", block_size=4)
    merged, separate = (
        Toy().session(c).generate(rows, Options(max_tokens=12, commit=how)) for how in ("merged", "separate")
    )
    assert merged.tokens == separate.tokens
    blank = Toy().session(c).generate(prompt([5, 6, 6, 7, 8]), Options(max_tokens=12))
    assert blank.tokens != merged.tokens


def test_context_full_leaves_the_session_as_it_was():
    session = Toy().session(contract(prompt_alignment="tail"), max_context=24)
    one = session.generate(prompt([5, 6, 7, 8]), SHORT)
    cached = session.cached_tokens
    with pytest.raises(ContextFullError, match="has 24 tokens and the context holds 24.*the setting max_context"):
        session.stream(prompt(([5, 6, 7, 8, *one.tokens] + [9] * 24)[:24]), SHORT)
    assert session.cached_tokens == cached
    assert session.generate(prompt([5, 6, 7, 8, *one.tokens]), SHORT).cached_tokens == cached


@pytest.mark.parametrize("alignment", list(ALIGNMENTS))
def test_generation_ends_where_the_context_does(alignment):
    c = contract(prompt_alignment=alignment, stop_token_ids=())
    result = Toy().session(c, max_context=18).generate(prompt([5, 6, 7]), Options(max_tokens=100))
    assert result.stop_reason == "context"
    assert len(result.tokens) == (15 if alignment == "left" else 13)


def test_stop_token_ends_after_its_block():
    c = contract(stop_token_ids=tuple(range(29)))
    result = Toy().session(c).generate(prompt([5, 6]), SHORT)
    assert (result.stop_reason, len(result.tokens), result.blocks) == ("stop", 4, 1)


def test_cancelling_between_steps_keeps_the_session_usable():
    session = Toy().session(contract())
    generation = session.stream(prompt([5, 6, 7]), SHORT)
    steps = [next(generation), next(generation)]
    generation.cancel()
    assert list(generation) == []
    assert generation.result.stop_reason == "cancelled"
    assert generation.tokens == [int(t) for t in steps[-1].tokens[~steps[-1].masked]]
    expected = Toy().session(contract()).generate(prompt([5, 6, 7]), SHORT)
    assert session.generate(prompt([5, 6, 7]), SHORT).tokens == expected.tokens


def test_an_abandoned_stream_frees_the_session():
    session = Toy().session(contract())
    for _ in session.stream(prompt([5, 6, 7]), SHORT):
        break
    assert session.generate(prompt([5, 6, 7]), SHORT).tokens


def test_two_streams_at_once_in_one_session_are_refused():
    session = Toy().session(contract())
    first = session.stream(prompt([5, 6, 7]), SHORT)
    next(first)
    with pytest.raises(RequestError, match="generating already"):
        next(session.stream(prompt([5, 6, 7]), SHORT))
    assert first.run().tokens


def test_sessions_share_engines_across_threads():
    from a2d.runtime.decode.cache import CacheShape
    from a2d.runtime.decode.session import Session

    engines = Toy().engines()
    expected = [Toy().session(contract()).generate(prompt([5 + i, 6]), SHORT).tokens for i in range(4)]
    got: list[tuple[int, ...] | None] = [None] * 4

    def work(i: int) -> None:
        session = Session(engines, contract(), CacheShape(2, 2, 12, "float64"), 100)
        got[i] = session.generate(prompt([5 + i, 6]), SHORT).tokens

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == expected


def test_long_prompts_are_prefilled_in_closed_pieces():
    ids = [4 + i % 20 for i in range(1100)]
    for c in (
        contract(block_size=16),
        contract(prompt_alignment="tail", block_size=700),
        contract(context_mask="causal_prompt"),
    ):
        session = Toy().session(c, max_context=3000)
        result = session.generate(prompt(ids), Options(max_tokens=4, steps=1))
        rows = [call["tokens"].shape[1] for call in session.engine("backbone").calls]
        assert result.tokens
        assert max(rows) <= max(128, c.block_size) + c.block_size


def test_a_result_says_how_sure_the_model_was_of_each_token():
    generation = Toy().session(contract()).stream(prompt([5, 6, 7]), SHORT)
    settled = [(step, step.tokens[step.prompt :]) for step in generation if step.final]
    result = generation.result
    assert len(result.confidence) == len(result.tokens) == sum(len(tokens) for _, tokens in settled)
    wanted = [float(p) for step, _ in settled for p in step.confidence[step.prompt :]]
    assert result.confidence == pytest.approx(wanted, abs=1e-6) and all(0 < p <= 1 for p in wanted)


def test_a_result_is_typed_by_what_was_generated():
    model = Toy(seed=8)
    result = model.session(contract()).generate(prompt([1, 2, 3]), max_tokens=4)
    assert type(result) is TextResult and isinstance(result, Result) and result.modality == "text"
    with pytest.raises(FrozenInstanceError):
        result.text = ""  # type: ignore[misc]
