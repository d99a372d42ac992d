"""Random inputs that exported graphs are checked with: several row counts and contexts, partial visibility, every knob.

Knows the ports of the graphs and nothing of who computes them. The hidden rows that denoise is checked with are the
backbone's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...engines.protocol import Signature

Array: TypeAlias = NDArray[Any]

__all__ = ["Array", "Case", "backbone_cases", "crop_cases", "denoise_cases", "sample_cases", "vision_cases"]

SHAPES = ((1, 3), (8, 0), (5, 40), (24, 7))
"""(rows, context) of the backbone's cases; the last has rows enough for the denoise cases."""


@dataclass(frozen=True)
class Case:
    """One set of inputs."""

    name: str
    feeds: Mapping[str, Array]


def backbone_cases(inputs: Mapping[str, Signature], vocab: int) -> Iterator[Case]:
    """Cases for a backbone with these inputs; keys of the past are as large as a normalised key's."""
    rng = np.random.default_rng(0)
    for rows, context in SHAPES:
        sizes: dict[int | str, int] = {"rows": rows, "context": context, "keys": rows + context}
        feeds = {name: _random(port, sizes, rng) for name, port in inputs.items()}
        feeds["tokens"] = rng.integers(0, vocab, (1, rows))
        feeds["visible"] = _visible(rows, context, rng)
        feeds["positions"] = _positions(inputs["positions"], context, rows, rng)
        yield Case(f"{rows} rows, {context} cached", feeds)


def denoise_cases(hidden: Array, block: int, vocab: int) -> Iterator[Case]:
    """Cases over the rows `hidden [1,R,H]`, for shifts and accept rules."""
    rng = np.random.default_rng(1)
    hidden = hidden.astype(np.float16).astype(np.float32)  # as above
    rows = hidden.shape[1]
    block = min(block, rows)
    for shift in (0, 1):
        for count, threshold in ((2, 2.0), (1, 0.2)):
            gather = np.arange(rows - block, rows)[None] + 1 - shift
            feeds: dict[str, Array] = {
                "hidden": hidden,
                "carry": hidden[:, -1:],
                "gather": gather,
                "tokens": rng.integers(0, vocab, (1, block)),
                "masked": rng.random((1, block)) < 0.8,
                "count": np.array([count]),
                "threshold": np.array([threshold], np.float32),
            }
            yield Case(f"shift {shift}, count {count}, threshold {threshold}", feeds)


def sample_cases(hidden: Array, block: int, vocab: int) -> Iterator[Case]:
    """The denoise cases with temperatures and filters."""
    rng = np.random.default_rng(2)
    knobs = ((1.0, 0, 1.0), (0.7, 5, 1.0), (1.3, 0, 0.9), (0.8, 40, 0.8))
    for case, (temperature, top_k, top_p) in zip(denoise_cases(hidden, block, vocab), knobs, strict=True):
        drawn = {
            "noise": rng.random(case.feeds["tokens"].shape).astype(np.float32),
            "temperature": np.array([temperature], np.float32),
            "top_k": np.array([top_k]),
            "top_p": np.array([top_p], np.float32),
        }
        yield Case(f"temperature {temperature}, top-k {top_k}, top-p {top_p}", {**case.feeds, **drawn})


def vision_cases(inputs: Mapping[str, Signature], slots: int, merge: int) -> Iterator[Case]:
    """Pictures of one, and of several windows with padding at the edge; `slots` patches a window."""
    rng = np.random.default_rng(3)
    for windows in (1, 3):
        patches, groups = windows * slots, windows * slots // merge**2
        real = np.repeat(rng.random(groups) < (1.0 if windows == 1 else 0.7), merge**2)
        real[: merge**2] = True
        order = rng.permutation(np.flatnonzero(real[:: merge**2]))
        pixels = _random(inputs["pixels"], {"patches": patches}, rng) * real[:, None]
        positions = rng.integers(0, 40, (patches, 2))
        feeds: dict[str, Array] = {
            "pixels": pixels.astype(np.float32),
            "positions": positions,
            "real": real,
            "order": order,
        }
        yield Case(f"{windows} windows", feeds)


def crop_cases(inputs: Mapping[str, Signature]) -> Iterator[Case]:
    """Two crops."""
    rng = np.random.default_rng(3)
    for number in range(2):
        yield Case(f"crop {number}", {"pixels": _random(inputs["pixels"], {}, rng)})


def _random(port: Signature, sizes: Mapping[int | str, int], rng: np.random.Generator) -> Array:
    shape = [sizes.get(axis, axis) for axis in port.shape]
    if port.dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)  # type: ignore[arg-type]
    if port.dtype == "int64":
        return np.zeros(shape, np.int64)  # type: ignore[arg-type]
    # Numbers that every precision holds exactly: what comes in is not what is checked.
    return (rng.integers(-384, 384, shape) / 128).astype(port.dtype)  # type: ignore[arg-type]


def _visible(rows: int, context: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Random, but a row always sees itself, as in every mask of a decode."""
    own = np.eye(rows, rows + context, context, dtype=np.bool_)
    return np.asarray(own | (rng.random(own.shape) < 0.7))[None, None]


def _positions(port: Signature, context: int, rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    line = np.arange(context, context + rows)[None]
    if len(port.shape) == 2:
        return line
    return line[None] + rng.integers(0, 5, (3, 1, rows))
