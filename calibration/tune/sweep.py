"""Answers of one model under many settings, each with how often it was right and how long it took.

Every sample is decoded under all settings before the next one, so that a machine that slows down slows all of them, and
whoever interrupts has a curve of the samples so far. Knows models and samples; neither chooses nor draws.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...engines.errors import ContextFullError, RequestError
from ...runtime.console.lines import Progress
from ...runtime.decode.options import Options
from ...runtime.decode.session import TextResult
from ...runtime.model import Model
from ..collect.samples import Data, Sample
from ..verify.intervals import Rate

__all__ = ["Curve", "Point", "Setting", "settings", "swept"]

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Thresholds that are tried where nobody names others."""


@dataclass(frozen=True)
class Setting:
    """Steps of a block, and a threshold beside them."""

    steps: int
    threshold: float | None = None

    @property
    def name(self) -> str:
        """Words for people."""
        return (
            f"{self.steps} step{'s' * (self.steps != 1)}" if self.threshold is None else f"threshold {self.threshold:g}"
        )


@dataclass
class Point:
    """The outcome of one setting so far."""

    setting: Setting
    right: Rate = field(default_factory=Rate)
    seconds: list[float] = field(default_factory=list)
    """Time of each answer."""
    forwards: int = 0
    tokens: int = 0

    @property
    def accuracy(self) -> float:
        """Share of answers that are right."""
        return self.right.share

    @property
    def median(self) -> float:
        """Seconds of an answer."""
        return statistics.median(self.seconds) if self.seconds else 0.0

    @property
    def tokens_per_forward(self) -> float:
        """Over all answers."""
        return self.tokens / self.forwards if self.forwards else 0.0


@dataclass(frozen=True)
class Curve:
    """All settings on the same samples."""

    points: tuple[Point, ...]
    measure: str
    """Meaning of `right`, in words."""
    samples: int
    """Samples that were decoded under every setting."""
    left_out: tuple[str, ...]
    """Samples that do not fit the context."""
    interrupted: bool


def settings(block: int, steps: Sequence[int], thresholds: Sequence[float]) -> list[Setting]:
    """The settings to try: those that are named, or halved steps and the usual thresholds.

    The slow one, a token a step, is always among them. Raises RequestError for what a block of this size does not have.
    """
    if block < 2:
        raise RequestError("this bundle writes one token per forward: there are no steps or thresholds to choose among")
    wrong = [n for n in steps if not 1 <= n <= block]
    if wrong:
        raise RequestError(f"steps: got {wrong[0]}, expected 1 to the block size {block}")
    if bad := [p for p in thresholds if not 0 <= p <= 1]:
        raise RequestError(f"thresholds: got {bad[0]}, expected 0 to 1")
    halved = [max(1, block >> shift) for shift in range(block.bit_length())]
    counts = sorted({block, *(steps or halved if steps or not thresholds else ())}, reverse=True)
    chances = thresholds or (() if steps else THRESHOLDS)
    return [*map(Setting, counts), *(Setting(block, threshold) for threshold in sorted(set(chances), reverse=True))]


def swept(model: Model, data: Data, options: Options, tried: Sequence[Setting], quiet: bool = False) -> Curve:
    """Decode every sample under every setting. An interruption ends it, with what there is."""
    points, left_out, done = [Point(setting) for setting in tried], [], 0
    told = all(sample.truth is not None for sample in data.samples)
    measure = "answers that are the truth" if told else "answers that are those of one token a step"
    interrupted = False
    with Progress("tuning", len(data.samples) * len(points), "answers", quiet) as progress:
        try:
            _answer(model, data.samples[0], options, tried[0])  # the first decode of a process loads the graphs
            for sample in data.samples:
                try:
                    results = []
                    for point in points:
                        results.append(_answer(model, sample, options, point.setting))
                        progress.add()
                except ContextFullError:
                    left_out.append(sample.name)
                    continue
                slow = results[0][0]
                _count(points, results, slow.text or slow.tokens if sample.truth is None or not told else sample.truth)
                done += 1
        except KeyboardInterrupt:
            interrupted = True
    if not done and not interrupted:
        raise RequestError(
            f"none of {len(data.samples)} samples fits the context of {model.manifest.model.max_context}"
        )
    return Curve(tuple(points), measure, done, tuple(left_out), interrupted)


def _answer(model: Model, sample: Sample, options: Options, setting: Setting) -> tuple[TextResult, float]:
    chosen = replace(options, steps=setting.steps, threshold=setting.threshold)
    rows, session = sample.rows(model), model.session()
    started = time.perf_counter()
    return session.generate(rows, chosen), time.perf_counter() - started


def _count(points: Sequence[Point], results: Sequence[tuple[TextResult, float]], truth: str | tuple[int, ...]) -> None:
    """Count the answers to one sample."""
    for point, (result, seconds) in zip(points, results, strict=True):
        said = result.text.strip() == truth.strip() if isinstance(truth, str) else result.tokens == truth
        point.right.add(said)
        point.seconds.append(seconds)
        point.forwards += result.forwards
        point.tokens += len(result.tokens)
