"""Times of a machine, from short decodes whose forwards are watched one by one.

Knows sessions and prompts of token ids; not what the times are for, nor where they are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..bundle.manifest import Manifest
from ..decode.block import Prompt
from ..decode.budget import Times
from ..decode.cache import Cache
from ..decode.forward import Forward, Request
from ..decode.options import Options, Plan
from ..decode.runner import Answer, Runner
from ..decode.session import Session
from ..inputs.messages import Picture

__all__ = ["measured", "picture_seconds", "random_tokens"]

NEAR, FAR = 16, 256
"""Rows of the two prompts between which the time of a step is measured."""

BLOCKS, STEPS, LEAST = 4, 4, 12
"""Blocks of a measured decode, steps of each, and the tokens that it has at least."""

ROUNDS = 3

SIDE = 448
"""Lines and columns of the pictures by which the vision graph is measured."""


@dataclass
class _Watch:
    """A runner that is watched: seconds of forwards with what they ran."""

    runner: Runner
    seen: list[tuple[Forward, float]] = field(default_factory=list)

    @property
    def cache(self) -> Cache:
        """See `Runner.cache`."""
        return self.runner.cache

    def run(self, request: Request) -> Answer:
        """See `Runner.run`."""
        began = time.perf_counter()
        answer = self.runner.run(request)
        if isinstance(request, Forward) and request.rows is not None:
            self.seen.append((request, time.perf_counter() - began))
        return answer


def measured(open_session: Callable[[], Session], prompt: Callable[[int], Prompt], plan: Plan) -> Times:
    """Decode behind a short and a longer prompt of so many rows, a few rounds after one warm-up.

    The fastest round counts: a neighbour's work is no property of the machine, and a clock sees it when it comes.
    """
    first = open_session()
    tokens = max(BLOCKS * plan.block, LEAST)
    far = max(NEAR, min(FAR, first.max_context - tokens - plan.block))
    options = replace(plan.options, budget=None, max_tokens=tokens, steps=min(STEPS, plan.block), stop_texts=())
    options = replace(options, fallback=None) if plan.options.rule != "confidence" else options
    _watched(first, prompt(NEAR), replace(options, max_tokens=2 * plan.block))
    rounds = [
        [_watched(open_session(), prompt(rows), options) for rows in (NEAR, far)]
        for _ in range(ROUNDS)
    ]  # fmt: skip
    steps = [[_median(seen, lambda kept: kept == 0) for seen in both] for both in rounds]
    step, step_far = (min(found) for found in zip(*steps, strict=True))
    return Times(
        step=step,
        step_far=step_far,
        commit=min(_median(near, lambda kept: kept == plan.block) for near, _ in rounds),
        row=min(_row(behind, step_far, plan.block) for _, behind in rounds),
        near=NEAR,
        far=far,
    )


def picture_seconds(prompt: Callable[[Picture], Prompt]) -> float:
    """Seconds of each feature of a picture: opening, vision graph and all; the fastest of some, after a warm-up.

    `prompt` makes the rows of a picture `[H, W, 3]`; each is another one, since the last ones are remembered.
    """
    found: list[float] = []
    for shade in range(ROUNDS + 1):
        began = time.perf_counter()
        rows = prompt(np.full((SIDE, SIDE, 3), shade, np.uint8)).rows
        features = 0 if rows.is_feature is None else np.count_nonzero(rows.is_feature)
        found.append((time.perf_counter() - began) / (features or 1))
    return min(found[1:])


def random_tokens(manifest: Manifest, count: int) -> NDArray[np.int64]:
    """Text tokens, the same every time, as frequent as words are: by Zipf's law, the first ids the commonest."""
    special = {manifest.decode.mask_token_id, *manifest.decode.stop_token_ids}
    if manifest.vision is not None:
        special |= {manifest.vision.image_token_id, manifest.vision.video_token_id}
    allowed = np.setdiff1d(np.arange(manifest.model.vocab), [token for token in special if token is not None])
    ranks = np.random.default_rng(0).zipf(1.3, count) - 1
    return allowed[ranks % len(allowed)].astype(np.int64)


def _watched(session: Session, prompt: Prompt, options: Options) -> list[tuple[Forward, float]]:
    """Forwards of one decode that no stop token ends, with their seconds."""
    watches: list[_Watch] = []

    def wrap(runner: Runner) -> Runner:
        watches.append(_Watch(runner))
        return watches[-1]

    session.wrap, session.contract = wrap, replace(session.contract, stop_token_ids=())
    session.generate(prompt, options)
    return [seen for watch in watches for seen in watch.seen]


def _median(seen: list[tuple[Forward, float]], kept: Callable[[int], bool]) -> float:
    """Seconds of the forwards that asked something and kept so many rows; of all where there was none."""
    found = [seconds for forward, seconds in seen if forward.ask is not None and kept(forward.keep)]
    return float(np.median(found or [seconds for _, seconds in seen]))


def _row(seen: list[tuple[Forward, float]], step: float, block: int) -> float:
    """Seconds of a row of the prompt, over the forwards that read it."""
    reading = [(f.keep, seconds - step * (f.ask is not None)) for f, seconds in seen if f.keep > block]
    rows = sum(kept for kept, _ in reading)
    return max(0.0, sum(seconds for _, seconds in reading) / rows) if rows else step / block
