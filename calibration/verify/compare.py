"""Losses and gains of a quantized variant against its reference, on samples; each figure has its n and an interval.

Both decode freely, in turn, so that a machine that slows down slows both; then the variant follows the reference's
decode in lockstep. Knows models and samples; not how a report is printed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ...engines.cpu import this_cpu
from ...engines.errors import ContextFullError, RequestError
from ...engines.targets import TARGETS
from ...runtime.console.lines import Progress
from ...runtime.decode.options import Options
from ...runtime.decode.session import TextResult
from ...runtime.model import Model
from ..collect.samples import Data, Sample
from ..quantize.recipes import RECIPES
from .follow import Drift, follow
from .intervals import Rate, ratio

__all__ = ["Report", "verify"]


@dataclass(frozen=True)
class Report:
    """The findings; intervals are of 95 %."""

    bundle: str
    precision: str
    against: str
    n: int
    """Samples."""
    tokens: int
    """Tokens compared."""
    token_agreement: float
    """Share of places with the same token in both decodes, each running freely."""
    token_agreement_interval: tuple[float, float]
    """Wilson's interval; tokens of one decode are not independent, so it is rather too narrow."""
    output_agreement: float
    """Share of samples with the same output from beginning to end."""
    output_agreement_interval: tuple[float, float]
    steps: int
    """Steps compared in lockstep."""
    accept_agreement: float
    """Share of steps that accept the same positions, on the same rows: one less is how often the frontier flips."""
    accept_agreement_interval: tuple[float, float]
    proposal_agreement: float
    """Share of masked rows that propose the same token, on the same rows."""
    proposal_agreement_interval: tuple[float, float]
    confidence_drift: float
    """Mean absolute difference of confidence on masked rows, on the same rows."""
    confidence_drift_interval: tuple[float, float]
    confidence_drift_max: float
    tokens_per_forward: dict[str, float]
    size_ratio: float
    """The variant's weight file over the reference's."""
    processor: str
    """Kind of the processor that both ran on, by `engines/cpu.py`."""
    speed_ratio: float
    """Seconds of the reference over the variant's, whole decodes."""
    speed_ratio_interval: tuple[float, float]
    truth: dict[str, Any] | None
    """Outputs that are exactly what the samples say should be read, for both, where they say it."""
    layers: tuple[dict[str, Any], ...]
    """Relative error of each layer's cached keys and values, worst first."""
    left_out: tuple[str, ...]
    """Samples that do not fit the context."""
    wordless: int
    """Samples on which neither says a token other than a stop token."""
    faults: tuple[str, ...]
    """Why the variant is refused; none if it is not."""

    def to_json(self) -> dict[str, Any]:
        """The findings as plain JSON."""
        return asdict(self)


@dataclass
class _Tally:
    """Counts that are taken on the way."""

    tokens: Rate = field(default_factory=Rate)
    outputs: Rate = field(default_factory=Rate)
    drift: Drift = field(default_factory=Drift)
    seconds: list[tuple[float, float]] = field(default_factory=list)
    made: dict[str, list[int]] = field(default_factory=dict)
    right: dict[str, Rate] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    wordless: int = 0


def verify(reference: Model, variant: Model, data: Data, options: Options, quiet: bool = False) -> Report:
    """Decode every sample by both. Raises RequestError if none fits; NumericsError; ImageError."""
    tally = _Tally()
    with Progress(f"verifying {variant.placement.precision}", len(data.samples), "samples", quiet) as progress:
        for sample in data.samples:
            _sample(reference, variant, sample, options, tally)
            progress.add()
    if not tally.seconds:
        raise RequestError(f"none of the {len(data.samples)} samples fits the context: {', '.join(tally.left_out[:4])}")
    return _report(reference, variant, tally)


def _sample(reference: Model, variant: Model, sample: Sample, options: Options, tally: _Tally) -> None:
    prompts = (sample.rows(reference), sample.rows(variant))
    pair = (reference, variant)
    turns = (0, 1) if len(tally.seconds) % 2 else (1, 0)
    try:
        made = {i: pair[i].session().generate(prompts[i], options) for i in turns}
    except ContextFullError:
        tally.left_out.append(f"{sample.name} ({len(prompts[0])} rows)")
        return
    follow(reference, variant, prompts, options, tally.drift)
    _count(tally, pair, (made[0], made[1]), sample)


def _count(tally: _Tally, pair: tuple[Model, Model], results: tuple[TextResult, TextResult], sample: Sample) -> None:
    own, other = (_ended(model, result) for model, result in zip(pair, results, strict=True))
    longer = max(len(own), len(other))
    tally.tokens.add(sum(a == b for a, b in zip(own, other, strict=False)), longer)
    tally.outputs.add(own == other)
    tally.wordless += not {*own, *other} - set(pair[0].manifest.decode.stop_token_ids)
    tally.seconds.append((results[0].seconds, results[1].seconds))
    for model, result in zip(pair, results, strict=True):
        name = model.placement.precision
        counts = tally.made.setdefault(name, [0, 0])
        counts[0] += len(result.tokens)
        counts[1] += result.forwards
        if sample.truth is not None:
            tally.right.setdefault(name, Rate()).add(result.text == sample.truth)


def _ended(model: Model, result: TextResult) -> list[int]:
    """Tokens up to and with the stop token: what stands behind it in its block nobody reads."""
    tokens, stops = list(result.tokens), model.manifest.decode.stop_token_ids
    ends = [i for i, token in enumerate(tokens) if token in stops]
    return tokens[: ends[0] + 1] if ends else tokens


def _report(reference: Model, variant: Model, tally: _Tally) -> Report:
    speed, speed_interval = ratio(tally.seconds)
    drift = tally.drift
    middle, half = _mean(drift.confidence)
    made = Report(
        bundle=variant.manifest.name,
        precision=variant.placement.precision,
        against=reference.placement.precision,
        n=len(tally.seconds),
        tokens=tally.tokens.count,
        token_agreement=tally.tokens.share,
        token_agreement_interval=tally.tokens.interval,
        output_agreement=tally.outputs.share,
        output_agreement_interval=tally.outputs.interval,
        steps=drift.steps.count,
        accept_agreement=drift.steps.share,
        accept_agreement_interval=drift.steps.interval,
        proposal_agreement=drift.proposals.share,
        proposal_agreement_interval=drift.proposals.interval,
        confidence_drift=middle,
        confidence_drift_interval=(max(0.0, middle - half), middle + half),
        confidence_drift_max=drift.largest,
        tokens_per_forward={name: tokens / max(forwards, 1) for name, (tokens, forwards) in tally.made.items()},
        size_ratio=variant.variant.weights_bytes / reference.variant.weights_bytes,
        processor=this_cpu().name,
        speed_ratio=speed,
        speed_ratio_interval=speed_interval,
        truth=_truth(tally),
        layers=tuple({"layer": f"layers.{i}", "error": error} for i, error in drift.layer_errors()),
        left_out=tuple(tally.left_out),
        wordless=tally.wordless,
        faults=(),
    )
    return Report(**{**vars(made), "faults": tuple(_faults(made, variant.placement.device))})


def _mean(values: list[float]) -> tuple[float, float]:
    """The mean, and half of its interval."""
    spread = float(np.std(values)) / max(len(values) - 1, 1) ** 0.5
    return float(np.mean(values)), 1.96 * spread


def _truth(tally: _Tally) -> dict[str, Any] | None:
    made = {
        name: {"n": rate.count, "exact": rate.share, "interval": rate.interval} for name, rate in tally.right.items()
    }
    return made or None


def _faults(report: Report, device: str) -> list[str]:
    """Findings that speak against the variant, for sure: the whole interval lies on the wrong side."""
    recipe, target = RECIPES.get(report.precision), TARGETS[device]
    faults = []
    if recipe is not None and report.token_agreement_interval[1] < recipe.bar:
        low, high = report.token_agreement_interval
        faults.append(
            f"{report.token_agreement:.1%} of {report.tokens} tokens agree with {report.against} ({low:.1%} to "
            f"{high:.1%}); {report.precision} is to reach {recipe.bar:.1%}"
        )
    # Where a target only emulates a precision, its speed says nothing of the one that is meant.
    if report.speed_ratio_interval[1] < 1 and report.precision not in target.emulated:
        low, high = report.speed_ratio_interval
        faults.append(
            f"{report.speed_ratio:.2f} times the speed of {report.against} ({low:.2f} to {high:.2f}): slower, on "
            f"{device} ({target.what})"
        )
    return faults
