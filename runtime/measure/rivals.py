"""A bundle beside other engines on the same weights: one table from one run, every way in turn.

Other engines decode one token per forward; a2d does so as well, and in blocks. Tokens per second count what comes
behind the first token, or the first block, so that no prompt does. Knows ways that give tokens; not where an engine
comes from, nor how tables are printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..console.lines import Progress
from ..decode.block import Prompt
from ..decode.contract import autoregressive
from ..decode.options import Options, plan
from ..decode.session import Session
from ..model import Model
from .bench import PeerRun, Settings, endless, random_prompt, timed, tokens_per_cpu_second, tokens_per_second

__all__ = ["BLOCKS", "SINGLE", "Decoded", "Rival", "Standing", "Way", "own_ways", "rival_ways", "standings"]

BLOCKS, SINGLE = "blocks", "one token a forward"


class Rival(Protocol):
    """Another engine that holds the bundle's weights in one form or several."""

    @property
    def name(self) -> str:
        """The engine and its version."""

    @property
    def forms(self) -> Sequence[str]:
        """Names of the forms that its weights are in."""

    def decode(self, form: str, prompt: NDArray[np.int64], tokens: int) -> PeerRun:
        """So many tokens, greedily and without a stop token; the clock runs from the first one on."""

    def preferred(self, form: str, prompt: NDArray[np.int64], following: Sequence[int]) -> Sequence[int]:
        """The most probable token in the place of each of `following`, behind the prompt and those before it."""


@dataclass(frozen=True)
class Decoded:
    """One decode."""

    tokens: tuple[int, ...]
    tokens_per_second: float
    tokens_per_cpu_second: float
    tokens_per_forward: float


@dataclass(frozen=True)
class Way:
    """One way to decode the same weights."""

    name: str
    kind: str
    """BLOCKS or SINGLE."""
    decode: Callable[[], Decoded]
    preferred: Callable[[Sequence[int]], Sequence[int]] | None = None
    """The most probable token in the place of each of an answer's tokens; None where that is not compared."""


@dataclass(frozen=True)
class Standing:
    """One way's row of the table."""

    name: str
    kind: str
    tokens_per_forward: float
    tokens_per_second: float
    """Median over the rounds."""
    lowest: float
    highest: float
    tokens_per_cpu_second: float
    """Median over the rounds; what one thread gives on a machine that nobody else uses."""
    ratio: float
    """The first way's tokens per second over this one's: median over the rounds."""
    agreement: float | None
    """Share of places in fp32's answer at which fp32's token is the most probable here as well; None: not compared."""


def own_ways(model: Model, settings: Settings, prompt: Prompt | None) -> Iterator[Way]:
    """A model's own: in blocks by its options, if it has blocks, and one token per forward."""
    asked = prompt or random_prompt(model, settings.prompt_tokens)
    contract, label = model.manifest.decode, f"a2d {model.placement.precision}"
    alone = Options(max_tokens=settings.options.max_tokens)
    if plan(contract, settings.options).block > 1:
        yield Way(f"{label}, {BLOCKS}", BLOCKS, lambda: _own(endless(model), asked, settings.options))
    single = autoregressive(contract)
    compared = partial(_preferred, model, asked) if asked.rows.features is None else None
    yield Way(f"{label}, {SINGLE}", SINGLE, lambda: _own(endless(model, single), asked, alone), compared)


def _preferred(model: Model, prompt: Prompt, following: Sequence[int]) -> Sequence[int]:
    """One session, which keeps the rows that it has seen."""
    session, made = endless(model, autoregressive(model.manifest.decode)), list[int]()
    for count in range(len(following)):
        behind = model.prompt(np.append(prompt.rows.tokens, np.array(following[:count], np.int64)))
        made.append(session.generate(behind, Options(max_tokens=1)).tokens[0])
    return made


def rival_ways(rival: Rival, model: Model, settings: Settings, prompt: Prompt | None) -> Iterator[Way]:
    """Another engine's, one for each form. It sees no pictures: random tokens stand in the place of their rows."""
    asked = prompt or random_prompt(model, settings.prompt_tokens)
    seen = asked.rows.features is None
    given, count = (asked if seen else random_prompt(model, len(asked))).rows.tokens, settings.options.max_tokens

    def decode(form: str) -> Decoded:
        run = rival.decode(form, given, count)
        behind = len(run.tokens) - 1
        return Decoded(run.tokens, behind / run.seconds, behind / (run.cpu_seconds or run.seconds), 1.0)

    for form in rival.forms:
        compared = partial(rival.preferred, form, given) if seen else None
        yield Way(f"{rival.name}, {form}", SINGLE, partial(decode, form), compared)


def _own(session: Session, prompt: Prompt, options: Options) -> Decoded:
    run = timed(session, prompt, options)
    return Decoded(run.result.tokens, tokens_per_second(run), tokens_per_cpu_second(run), run.tokens_per_forward)


def standings(
    ways: Sequence[Way], repeats: int, exact: Sequence[int] | None = None, quiet: bool = True
) -> list[Standing]:
    """Every way `repeats` times after a warm-up, in turn; `exact` is fp32's answer, one token per forward."""
    speeds, last = np.zeros((repeats, len(ways))), [way.decode() for way in ways]
    costs = np.zeros_like(speeds)
    with Progress("beside other engines", speeds.size, "decodes", quiet) as progress:
        for at in np.ndindex(speeds.shape):
            last[at[1]] = ways[at[1]].decode()
            speeds[at], costs[at] = last[at[1]].tokens_per_second, last[at[1]].tokens_per_cpu_second
            progress.add()
    rows = zip(ways, last, speeds.T, np.median(costs, 0), np.median(speeds[:, :1] / speeds, 0), strict=True)
    return [_standing(way, made, paces, (float(cost), float(ratio)), exact) for way, made, paces, cost, ratio in rows]


def _standing(
    way: Way, made: Decoded, paces: NDArray[np.float64], medians: tuple[float, float], exact: Sequence[int] | None
) -> Standing:
    middle, low, high = (float(x) for x in (np.median(paces), paces.min(), paces.max()))
    agreement = None
    if exact is not None and way.preferred is not None:
        agreement = float(np.mean(np.equal(way.preferred(exact), exact)))
    return Standing(way.name, way.kind, made.tokens_per_forward, middle, low, high, *medians, agreement)
