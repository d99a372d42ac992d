"""The pieces that programs are made of: each a torch module on `meta`, with example inputs to trace it by.

Knows which module stands behind a piece's name and what may change its size; not how pieces are put together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .graphs import decoder, denoise, vision
from .programs import Network
from .trace import Piece, trace

__all__ = ["Recipe", "recipe", "traced"]

R, C, B = 4, 6, 3
"""Rows, context and block of the examples: different, so that tracing does not take them for one size."""


@dataclass(frozen=True)
class Recipe:
    """A module and how to trace it."""

    module: nn.Module
    inputs: dict[str, Tensor]
    dynamic: dict[str, dict[int, Any]]
    outputs: tuple[str, ...]


def recipe(name: str, network: Network, dtype: torch.dtype) -> Recipe:
    """The recipe of the piece `name`; its weights are of `dtype` on the `meta` device."""
    with torch.device("meta"):
        made = _RECIPES[name](network, dtype)
    made.module.to(dtype)
    inputs = {key: torch.zeros_like(value, device="cpu") for key, value in made.inputs.items()}
    return Recipe(made.module.eval(), inputs, made.dynamic, made.outputs)


def traced(made: Recipe) -> Piece:
    """The recipe as ONNX."""
    return trace(made.module, made.inputs, made.dynamic, made.outputs)


def _float(*shape: int) -> Tensor:
    return torch.zeros(shape)


def _int(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64)


def _bool(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.bool)


def _embed(network: Network, _: torch.dtype) -> Recipe:
    s = network.decoder
    inputs = {
        "tokens": _int(1, R),
        "positions": _int(3, 1, R) if s.rope_axes else _int(1, R),
        "visible": _bool(1, 1, R, R + C),
    }
    dynamic = {"tokens": {1: "rows"}, "positions": {2 if s.rope_axes else 1: "rows"}, "visible": {2: "rows", 3: "keys"}}
    if s.features:
        inputs |= {"features": _float(1, R, s.hidden), "is_feature": _bool(1, R)}
        dynamic |= {"features": {1: "rows"}, "is_feature": {1: "rows"}}
    return Recipe(decoder.Embed(s), inputs, dynamic, ("x", "cos", "sin", "bias"))


def _layer(network: Network, dtype: torch.dtype) -> Recipe:
    s = network.decoder
    inputs = {
        "x": _float(1, R, s.hidden).to(dtype),
        "cos": _float(1, R, 1, s.head_dim).to(dtype),
        "sin": _float(1, R, 1, s.head_dim).to(dtype),
        "bias": _float(1, 1, 1, R, R + C),
        "past_key": _float(1, s.kv_heads, C, s.head_dim).to(dtype),
        "past_value": _float(1, s.kv_heads, C, s.head_dim).to(dtype),
    }
    dynamic = {name: {1: "rows"} for name in ("x", "cos", "sin")}
    dynamic |= {"bias": {3: "rows", 4: "keys"}, "past_key": {2: "context"}, "past_value": {2: "context"}}
    return Recipe(decoder.Layer(s), inputs, dynamic, ("x_out", "key", "value"))


def _final(network: Network, dtype: torch.dtype) -> Recipe:
    inputs = {"x": _float(1, R, network.decoder.hidden).to(dtype)}
    return Recipe(decoder.Final(network.decoder), inputs, {"x": {1: "rows"}}, ("hidden",))


def _project(network: Network, dtype: torch.dtype) -> Recipe:
    s = network.decoder
    inputs = {"hidden": _float(1, R, s.hidden).to(dtype), "carry": _float(1, 1, s.hidden).to(dtype), "gather": _int(1, B)}
    dynamic = {"hidden": {1: "rows"}, "gather": {1: "block"}}
    return Recipe(denoise.Project(s.hidden, s.vocab), inputs, dynamic, ("logits",))


def _wide(network: Network, *names: str) -> dict[str, Tensor]:
    return {name: _float(B, network.decoder.vocab) for name in names}


def _narrow(*names: str) -> dict[str, Tensor]:
    return {name: _float(B, 1) for name in names}


def _per_row(inputs: dict[str, Tensor], axis: int = 0) -> dict[str, dict[int, Any]]:
    return {name: {axis: "block"} for name in inputs}


def _greedy(network: Network, _: torch.dtype) -> Recipe:
    rows = _wide(network, "logits")
    return Recipe(denoise.Greedy(network.forbidden), rows, _per_row(rows), ("proposed",))


def _temper(network: Network, _: torch.dtype) -> Recipe:
    rows = _wide(network, "logits")
    inputs = rows | {"temperature": _float(1), "top_k": _int(1)}
    outputs = ("scaled", "weight", "wanted", "low", "high")
    return Recipe(denoise.Temper(network.forbidden), inputs, _per_row(rows), outputs)


def _halve(network: Network, _: torch.dtype) -> Recipe:
    inputs = _wide(network, "scaled", "weight") | _narrow("wanted", "low", "high")
    return Recipe(denoise.Halve(), inputs, _per_row(inputs), ("lower", "higher"))


def _nucleus(network: Network, _: torch.dtype) -> Recipe:
    rows = _wide(network, "scaled") | _narrow("low")
    outputs = ("weight", "wanted", "lower", "higher")
    return Recipe(denoise.Nucleus(), rows | {"top_p": _float(1)}, _per_row(rows), outputs)


def _draw(network: Network, _: torch.dtype) -> Recipe:
    rows = _wide(network, "scaled", "weight") | _narrow("low")
    noise = {"noise": _float(1, B)}
    dynamic = _per_row(rows) | _per_row(noise, 1)
    return Recipe(denoise.Draw(), rows | {"top_p": _float(1)} | noise, dynamic, ("proposed",))


def _settle(network: Network, _: torch.dtype) -> Recipe:
    rows = _wide(network, "logits") | {"proposed": _int(B)}
    block = {"tokens": _int(1, B), "masked": _bool(1, B)}
    inputs = rows | block | {"count": _int(1), "threshold": _float(1)}
    return Recipe(denoise.Settle(), inputs, _per_row(rows) | _per_row(block, 1), denoise.SETTLED)


def _tower(network: Network, _: torch.dtype) -> Recipe:
    assert network.tower is not None
    shapes = vision.dynamic_shapes(network.tower)
    return Recipe(vision.VisionTower(network.tower), vision.example_inputs(network.tower), shapes, ("features",))


_RECIPES: dict[str, Callable[[Network, torch.dtype], Recipe]] = {
    "embed": _embed,
    "layer": _layer,
    "final": _final,
    "project": _project,
    "greedy": _greedy,
    "temper": _temper,
    "halve": _halve,
    "nucleus": _nucleus,
    "draw": _draw,
    "settle": _settle,
    "tower": _tower,
}
