"""SmoothQuant: outlying input channels divided out of the activations and multiplied into the weights.

Xiao et al., SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models (2211.10438):
s_k = max|x_k|^a / max|w_k|^(1-a). What precedes the product takes 1/s: the norm before `qkv` and `gate_up`, and the
`up` half of `gate_up` before `down` (its output is silu(gate) * up, linear in up). `out` has no such place.

Works on weights as they are written: a graph stays as it is. Knows the exporter's names (docs/bundle.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .source import Source

__all__ = ["Smoothed", "factors"]

BEFORE = {
    "layers": {"qkv": "attention_norm", "gate_up": "mlp_norm", "down": "gate_up"},
    "vision": {"qkv": "norm1", "gate_up": "norm2", "down": "gate_up"},
}
"""A layer's product to what takes 1/s, in the decoder and in a vision tower."""

WIDEST = 1e4
"""Ratio of two factors at most: beyond, float32 itself would lose what is divided."""

Vector = NDArray[np.float32]


def factors(source: Source, channels: Mapping[str, Vector], strength: float) -> dict[str, Vector]:
    """Divisors of the input channels of each product that can be smoothed; empty for strength 0."""
    if not strength:
        return {}
    return {name: _factors(source, name, most, strength) for name, most in channels.items() if _smooths(source, name)}


@dataclass(frozen=True)
class _Name:
    """`layers.3.down`, or `vision.blocks.3.down.weight`."""

    layer: str
    kind: str
    suffix: str

    @staticmethod
    def of(name: str) -> _Name:
        stem = name.removesuffix(".weight").removesuffix(".bias").removesuffix("_bias")
        layer, _, kind = stem.rpartition(".")
        return _Name(layer, kind, name[len(stem) :])

    @property
    def before(self) -> dict[str, str]:
        """The table for this part of the network."""
        return BEFORE.get(self.layer.partition(".")[0], {})

    def product(self, kind: str) -> str:
        """The weight of another product of this layer."""
        return f"{self.layer}.{kind}{'.weight' if self.layer.startswith('vision.') else ''}"


def _smooths(source: Source, name: str) -> bool:
    own = _Name.of(name)
    return own.kind in own.before and own.product(own.before[own.kind]) in source.tensors


def _factors(source: Source, name: str, most: Vector, strength: float) -> Vector:
    weights = np.abs(source.matrix(name)).max(1)
    # A channel that is always zero, on either side, has nothing to move.
    alive = (most > 0) & (weights > 0)
    made = np.where(alive, most, 1.0) ** strength / np.where(alive, weights, 1.0) ** (1 - strength)
    middle = float(np.exp(np.mean(np.log(made[alive])))) if alive.any() else 1.0
    made = np.clip(made, middle / WIDEST**0.5, middle * WIDEST**0.5)
    return np.where(alive, made, 1.0).astype(np.float32)


class Smoothed:
    """The weights of a source after smoothing."""

    def __init__(self, source: Source, factors: Mapping[str, Vector]) -> None:
        self.source, self._factors = source, factors

    def weight(self, name: str) -> NDArray[np.float32]:
        """One tensor, as it is to be stored."""
        weight = self.source.weight(name)
        named, own = _Name.of(name), self._factors.get(name)
        if own is not None:
            weight = weight * own[:, None]
        for product, before in named.before.items():
            taken = self._factors.get(named.product(product))
            if taken is not None and named.kind == before:
                weight = weight / _padded(taken, weight.shape[-1])
        return np.asarray(weight, np.float32)


def _padded(factors: Vector, width: int) -> Vector:
    """Ones before: `up` is the second half of `gate_up`."""
    return np.concatenate([np.ones(width - len(factors), np.float32), factors])
