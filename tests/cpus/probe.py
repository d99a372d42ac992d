"""Numbers of the quantized graphs and readings of the slate reader on one processor, as JSON: a program for every kind.

usage: probe.py FLOATS QUANTIZED [SLATE FRAME...] [--plain]

Two bundles, or three, and pictures. --plain leaves the processor's own options out of the graphs' numbers.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import a2d
from a2d.engines.cpu import this_cpu
from a2d.engines.onnxruntime import load

PRECISIONS = ("int8", "int8-avx2", "fp8", "int8-weight", "int4-weight")
RULES: list[dict[str, Any]] = [{"threshold": 0.9}, {"steps": 4}]


def feeds(rows: int = 8, context: int = 20, layers: int = 2) -> dict[str, np.ndarray]:
    """Inputs of the tiny backbone: tokens that nobody has written, and a cache of noise."""
    chance = np.random.default_rng(0)
    made = {
        "tokens": chance.integers(5, 150, (1, rows)),
        "positions": np.arange(context, context + rows)[None],
        "visible": np.broadcast_to(np.arange(context + rows) >= context, (1, 1, rows, context + rows)).copy(),
    }
    for i in range(layers):
        for kind in ("key", "value"):
            made[f"past_{kind}_{i}"] = chance.normal(size=(1, 2, context, 16)).astype(np.float32)
    return made


def hidden(path: Path, precision: str, plain: bool = False) -> np.ndarray:
    """Hidden rows `[1, R, H]` of a backbone."""
    kind = replace(this_cpu(), options={}) if plain else this_cpu()
    return np.asarray(load(path, precision=precision, threads=1, cpu=kind).run(feeds(), ["hidden"])["hidden"])


def errors(floats: Path, quantized: Path, plain: bool = False) -> dict[str, float]:
    """Relative error of the backbone by precision, against the float one on the same processor."""
    wanted = hidden(floats / "backbone.fp32.onnx", "fp32")
    made = {p: hidden(quantized / f"backbone.{p}.onnx", p, plain) for p in PRECISIONS}
    return {p: float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted)) for p, got in made.items()}


def readings(slate: Path, frames: list[str]) -> dict[str, list[list[list[int]]]]:
    """Tokens by precision, then by rule, of every frame."""
    made = {}
    for precision in ("fp32", "int8"):
        model = a2d.load(slate, precision=precision, threads=1)
        made[precision] = [[list(model.generate(images=[f], **rule).tokens) for f in frames] for rule in RULES]
    return made


def main() -> None:
    """See the module."""
    given = [word for word in sys.argv[1:] if word != "--plain"]
    floats, quantized, *more = given
    found: dict[str, Any] = {"kind": this_cpu().name}
    found["errors"] = errors(Path(floats), Path(quantized), plain="--plain" in sys.argv)
    if more:
        found["readings"] = readings(Path(more[0]), more[1:])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
