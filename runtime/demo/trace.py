"""One reading, step by step: which token was settled when, and how sure the model was. Knows no pixels, no pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..decode.block import Prompt, Step
from ..decode.options import Options
from ..model import Model

__all__ = ["Block", "Token", "Trace", "trace"]


@dataclass(frozen=True)
class Token:
    """One settled token."""

    text: str
    step: int
    """The step of its block that settled it, from 0."""
    confidence: float
    """Probability that the model gave it then."""
    behind: bool
    """It stands behind the stop token, so nobody reads it."""


@dataclass(frozen=True)
class Block:
    """One block of a reading."""

    tokens: tuple[Token, ...]
    at: tuple[float, ...]
    """End of each step, in seconds from the beginning of the decode."""


@dataclass(frozen=True)
class Trace:
    """One reading."""

    text: str
    blocks: tuple[Block, ...]
    useful: int
    """Tokens up to the stop token, that one included."""
    forwards: int
    """Forwards of the backbone, the prompt's included."""
    seconds: float
    """Time of decoding, the prompt's rows included, the image not: that part is the same in every way."""


def trace(model: Model, prompt: Prompt, options: Options, watch: Callable[[Step], None]) -> Trace:
    """Decode `prompt` in a session of its own; `watch` sees every step, and its time does not count."""
    generation = model.session().stream(prompt, options)
    steps, at, spent = [], [], 0.0
    while True:
        started = time.perf_counter()
        step = next(generation, None)
        spent += time.perf_counter() - started
        if step is None:
            break
        steps.append(step)
        at.append(spent)
        watch(step)
    stops = model.manifest.decode.stop_token_ids
    result = generation.result
    ends = [i for i, token in enumerate(result.tokens) if token in stops]
    useful = ends[0] + 1 if ends else len(result.tokens)
    return Trace(result.text, _blocks(model, steps, at, useful), useful, result.forwards, spent)


def _blocks(model: Model, steps: Sequence[Step], at: Sequence[float], useful: int) -> tuple[Block, ...]:
    blocks, first = [], 0
    for index in range(steps[-1].block + 1 if steps else 0):
        own = [i for i, step in enumerate(steps) if step.block == index]
        tokens = _tokens(model, [steps[i] for i in own], useful - first)
        blocks.append(Block(tokens, tuple(at[i] for i in own)))
        first += len(tokens)
    return tuple(blocks)


def _tokens(model: Model, steps: Sequence[Step], useful: int) -> tuple[Token, ...]:
    """The tokens of a block; `useful` of them, counted from its beginning, are part of the answer."""
    last, stops = steps[-1], model.manifest.decode.stop_token_ids
    found = {int(row): step for step in steps for row in step.accepted}  # the last word on a row counts
    return tuple(
        Token(
            "" if last.tokens[row] in stops else model.detokenize([int(last.tokens[row])]),
            found[row].index,
            float(found[row].confidence[row]),
            row - last.prompt >= useful,
        )
        for row in range(last.prompt, len(last.tokens))
    )
