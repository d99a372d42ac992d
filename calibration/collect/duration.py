"""The time that a calibration will take, from two short decodes of its first sample. Knows no statistics."""

from __future__ import annotations

import time
from dataclasses import replace

from ...engines.errors import ContextFullError
from ...runtime.decode.options import Options
from .observer import ObservedModel
from .samples import Data, Sample

__all__ = ["FORWARDS", "answer_tokens", "expected_seconds"]

TOKENS = 64
"""Tokens of an answer that are looked at, where nobody says how many."""

FORWARDS = 32
"""Blocks of an answer at most: a model of one token per forward shows the same kinds of rows again and again."""

TRIED = 3
"""Samples that are tried, should the first not fit; and blocks of the longer decode."""


def answer_tokens(block: int) -> int:
    """Tokens to decode of each sample for a model with blocks of that size."""
    return min(TOKENS, FORWARDS * block)


def expected_seconds(model: ObservedModel, data: Data, options: Options, share: float) -> float | None:
    """Time to decode every sample, and a `share` of them once before; None where the first ones do not fit."""
    block = options.block_size or model.manifest.decode.block_size
    blocks = -(-options.max_tokens // block)
    for sample in data.samples[:TRIED]:
        try:
            _timed(model, sample, replace(options, max_tokens=block))  # engines are loaded, and memory is touched
            short, long = (_timed(model, sample, replace(options, max_tokens=n * block)) for n in (1, TRIED))
        except ContextFullError:
            continue
        each = max(long - short, 0.0) / (TRIED - 1)
        return len(data.samples) * (1 + share) * (short + each * (blocks - 1))
    return None


def _timed(model: ObservedModel, sample: Sample, options: Options) -> float:
    model.observer.sample = sample.name
    start = time.perf_counter()
    model.session().generate(sample.rows(model), options)
    return time.perf_counter() - start
