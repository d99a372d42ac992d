"""A bundle against itself, one token per forward: what denoising blocks buy at equal weights, engine and precision.

Both sides are the same graphs under the same loop; only the decode contract differs. The autoregressive side's tokens
are not those of a model that was trained that way, and its cost is: a forward of one row over a growing cache, whatever
it says. Knows models and contracts, not how tables are printed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..console.lines import Progress
from ..decode.block import Prompt
from ..decode.contract import autoregressive
from ..decode.options import Options, plan
from ..model import Model
from .bench import Settings, endless, random_prompt, timed, tokens_per_second

__all__ = ["THRESHOLD", "Baseline", "Pair", "against_autoregressive", "choices"]

THRESHOLD, STEPS = 0.9, 8


@dataclass(frozen=True)
class Pair:
    """One way to decode blocks, beside one token per forward in turn."""

    steps: int | None
    """Per block; None where the threshold alone sets the pace."""
    threshold: float | None
    tokens_per_forward: float
    tokens_per_second: float
    """Median over the pairs, prefill and first block left out, as for the autoregressive side."""
    ratio: float
    """Tokens per second over the autoregressive side's: median over the pairs."""
    lowest: float
    highest: float


@dataclass(frozen=True)
class Baseline:
    """Measurements of one run."""

    tokens_per_second: float
    """One token per forward: median over all decodes."""
    prompt_tokens: int
    tokens: int
    pairs: tuple[Pair, ...]


def choices(model: Model, options: Options) -> list[Options]:
    """Options to compare: the steps or threshold that were asked for, else 1 to 8 steps and a threshold of 0.9."""
    if options.steps is not None or options.threshold is not None:
        return [options]
    block = plan(model.manifest.decode, options).block
    paces = [replace(options, steps=steps) for steps in range(1, min(STEPS, block) + 1)]
    return [*paces, replace(options, threshold=THRESHOLD)]


def against_autoregressive(
    model: Model, settings: Settings, prompt: Prompt | None = None, quiet: bool = True
) -> Baseline:
    """Decode both ways in turn, `settings.repeats` times for each of `choices`, without stop tokens.

    Raises RequestError for options that do not fit.
    """
    asked = prompt or random_prompt(model, settings.prompt_tokens)
    alone = Options(max_tokens=settings.options.max_tokens, temperature=settings.options.temperature)
    slow, ways = autoregressive(model.manifest.decode), choices(model, settings.options)
    timed(endless(model, slow), asked, replace(alone, max_tokens=2))  # a warm-up
    single, fast = np.zeros((2, settings.repeats, len(ways)))
    per_forward = [0.0] * len(ways)
    with Progress("against one token per forward", single.size, "pairs", quiet) as progress:
        # A machine that slows down slows both of a pair, and every way alike.
        for at in np.ndindex(single.shape):
            single[at] = tokens_per_second(timed(endless(model, slow), asked, alone))
            run = timed(endless(model), asked, ways[at[1]])
            fast[at], per_forward[at[1]] = tokens_per_second(run), run.tokens_per_forward
            progress.add()
    rows = zip(ways, per_forward, fast.T, (fast / single).T, strict=True)
    return Baseline(float(np.median(single)), len(asked), alone.max_tokens, tuple(_pair(*row) for row in rows))


def _pair(way: Options, per_forward: float, speeds: NDArray[np.float64], ratios: NDArray[np.float64]) -> Pair:
    middle, low, high = (float(x) for x in (np.median(ratios), ratios.min(), ratios.max()))
    return Pair(way.steps, way.threshold, per_forward, float(np.median(speeds)), middle, low, high)
