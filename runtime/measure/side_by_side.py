"""Answers side by side against the same answers one by one: what sharing forwards gains on this machine.

All are measured in turn in one process, prefill included, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..decode.block import Prompt
from ..decode.together import Together
from ..model import Model
from .bench import Settings, random_prompt

__all__ = ["Row", "side_by_side"]


@dataclass(frozen=True)
class Row:
    """Answers of `together` sessions at a time."""

    together: int
    tokens_per_second: float
    """Tokens of all answers over the time of all, prefill included: median over the repeats."""
    ratio: float
    """Its tokens per second over those one by one: median over the repeats."""
    lowest: float
    highest: float
    same_tokens: float
    """Share of tokens that are those of one by one."""


def side_by_side(model: Model, settings: Settings, prompt: Prompt | None, counts: Sequence[int]) -> list[Row]:
    """Decode as many answers as the largest of `counts`, so many at a time, in turn `settings.repeats` times."""
    asked, total = prompt or random_prompt(model, settings.prompt_tokens), max(counts)
    every = (1, *(count for count in counts if count != 1))
    _answers(model, asked, settings, 1, 1)  # the first decode of a process loads what the others find
    speeds: dict[int, list[float]] = {count: [] for count in every}
    tokens: dict[int, list[tuple[int, ...]]] = {}
    for _ in range(settings.repeats):
        for count in every:
            started = time.perf_counter()
            tokens[count] = _answers(model, asked, settings, count, total)
            speeds[count].append(sum(len(answer) for answer in tokens[count]) / (time.perf_counter() - started))
    return [_row(count, speeds[count], speeds[1], _same(tokens[count], tokens[1])) for count in every]


def _row(count: int, speeds: list[float], alone: list[float], same: float) -> Row:
    ratios = np.divide(speeds, alone)
    median, low, high = (float(value) for value in (np.median(ratios), ratios.min(), ratios.max()))
    return Row(count, float(np.median(speeds)), median, low, high, same)


def _same(answers: list[tuple[int, ...]], alone: list[tuple[int, ...]]) -> float:
    pairs = [(a, b) for answer, one in zip(answers, alone, strict=True) for a, b in zip(answer, one, strict=False)]
    return float(np.mean([a == b for a, b in pairs]))


def _answers(model: Model, prompt: Prompt, settings: Settings, count: int, total: int) -> list[tuple[int, ...]]:
    """Tokens of `total` answers, `count` of which are decoded at a time; each has a session of its own."""
    if count == 1:
        return [model.session().generate(prompt, settings.options).tokens for _ in range(total)]
    together, first = Together(), model.session()
    begun, tokens = 0, list[tuple[int, ...]]()
    while len(tokens) < total:
        while begun < total and len(together) < count:
            session = model.session(beside=first) if begun else first
            together.join(session.stream(prompt, settings.options))
            begun += 1
        tokens += [event.generation.result.tokens for event in together.turn() if event.step is None]
    return tokens
