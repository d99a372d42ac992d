"""The pieces that programs are made of: each a torch module on `meta`, with example inputs to trace it by.

Knows which module stands behind a piece's name and what may change its size; not how pieces are put together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..graphs import decoder, denoise, experts, siglip, tower, vision
from ..graphs.programs import Network
from .trace import Recipe

__all__ = ["PIECES", "pieces_of", "recipe"]

R, C, B = 4, 6, 3
"""Rows, context and block of the examples: different, so that tracing does not take them for one size."""

DYNAMIC = torch.export.Dim.DYNAMIC


def recipe(name: str, network: Network, dtype: torch.dtype) -> Recipe:
    """The recipe of the piece `name`; its weights are of `dtype` on the `meta` device."""
    with torch.device("meta"):
        made = PIECES[name](network, dtype)
    made.module.to(dtype)
    for exact in getattr(made.module, "exact", ()):
        exact.data = exact.data.float()
    inputs = {key: torch.zeros_like(value, device="cpu") for key, value in made.inputs.items()}
    return Recipe(made.module.eval(), inputs, made.dynamic, made.outputs)


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
    dynamic = {
        "tokens": {1: DYNAMIC},
        "positions": {2 if s.rope_axes else 1: DYNAMIC},
        "visible": {2: DYNAMIC, 3: DYNAMIC},
    }
    if s.features:
        inputs |= {"features": _float(1, R, s.hidden), "is_feature": _bool(1, R)}
        dynamic |= {"features": {1: DYNAMIC}, "is_feature": {1: DYNAMIC}}
    return Recipe(decoder.Embed(s), inputs, dynamic, ("x", "cos", "sin", "bias"))


def _layer(kind: type[decoder.Attention], network: Network, dtype: torch.dtype) -> Recipe:
    s = network.decoder
    inputs = {
        "x": _float(1, R, s.hidden).to(dtype),
        "cos": _float(1, R, 1, s.rotary_dim).to(dtype),
        "sin": _float(1, R, 1, s.rotary_dim).to(dtype),
        "bias": _float(1, 1, s.group * R, R + C),
        "past_key": _float(1, s.kv_heads, C, s.head_dim).to(dtype),
        "past_value": _float(1, s.kv_heads, C, s.head_dim).to(dtype),
    }
    dynamic = {name: {1: DYNAMIC} for name in ("x", "cos", "sin")}
    dynamic |= {"bias": {2: DYNAMIC, 3: DYNAMIC}, "past_key": {2: DYNAMIC}, "past_value": {2: DYNAMIC}}
    return Recipe(kind(s), inputs, dynamic, ("x_out", "key", "value"))


def _experts(network: Network) -> tuple[experts.ExpertShape, int]:
    """The shape of the experts, and the width of the rows."""
    shape = network.decoder.experts
    assert shape is not None
    return shape, network.decoder.hidden


def _route(network: Network, dtype: torch.dtype) -> Recipe:
    shape, hidden = _experts(network)
    module = experts.Route(shape, hidden, network.decoder.norm_eps)
    return Recipe(module, {"x": _float(1, R, hidden).to(dtype)}, {"x": {1: DYNAMIC}}, experts.ROUTED)


def _expert(network: Network, dtype: torch.dtype) -> Recipe:
    shape, hidden = _experts(network)
    inputs = {"tile": _int(1), "members": _int(experts.TILE), "rows": _float(1, R, hidden).to(dtype)}
    return Recipe(experts.Expert(shape, hidden), inputs, {"rows": {1: DYNAMIC}}, ("made",))


def _combine(network: Network, dtype: torch.dtype) -> Recipe:
    shape, hidden = _experts(network)
    inputs = {
        "x": _float(1, R, hidden).to(dtype),
        "rows": _float(1, R, hidden).to(dtype),
        "made": _float(C, 1, experts.TILE, hidden).to(dtype),
        "weights": _float(R, shape.active),
        "places": _int(R, shape.active),
    }
    dynamic = {"x": {1: DYNAMIC}, "rows": {1: DYNAMIC}} | {name: {0: DYNAMIC} for name in ("made", "weights", "places")}
    return Recipe(experts.Combine(shape, hidden), inputs, dynamic, ("x_out",))


def _final(network: Network, dtype: torch.dtype) -> Recipe:
    inputs = {"x": _float(1, R, network.decoder.hidden).to(dtype)}
    return Recipe(decoder.Final(network.decoder), inputs, {"x": {1: DYNAMIC}}, ("hidden",))


def _project(network: Network, dtype: torch.dtype) -> Recipe:
    s = network.decoder
    inputs = {
        "hidden": _float(1, R, s.hidden).to(dtype),
        "carry": _float(1, 1, s.hidden).to(dtype),
        "gather": _int(1, B),
    }
    dynamic = {"hidden": {1: DYNAMIC}, "gather": {1: DYNAMIC}}
    return Recipe(denoise.Project(s.hidden, s.vocab), inputs, dynamic, ("logits",))


def _wide(network: Network, *names: str) -> dict[str, Tensor]:
    return {name: _float(B, network.decoder.vocab) for name in names}


def _narrow(*names: str) -> dict[str, Tensor]:
    return {name: _float(B, 1) for name in names}


def _per_row(inputs: dict[str, Tensor], axis: int = 0) -> dict[str, dict[int, Any]]:
    return {name: {axis: DYNAMIC} for name in inputs}


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
    return Recipe(denoise.Draw(), rows | {"top_p": _float(1)} | noise, dynamic, ("proposed", "kept"))


def _believe(network: Network, _: torch.dtype) -> Recipe:
    rows = _wide(network, "scaled", "kept") | {"proposed": _int(B)}
    return Recipe(denoise.Believe(), rows, _per_row(rows), denoise.BELIEVED)


def _settle(network: Network, _: torch.dtype) -> Recipe:
    rows = _wide(network, "logits") | {"proposed": _int(B)}
    block = {"tokens": _int(1, B), "masked": _bool(1, B)}
    inputs = rows | block | {"count": _int(1), "threshold": _float(1)}
    return Recipe(denoise.Settle(), inputs, _per_row(rows) | _per_row(block, 1), denoise.SETTLED)


def _vision(network: Network) -> tuple[vision.VisionShape, dict[str, Tensor], dict[str, dict[int, Any]]]:
    """The tower's shape, its example inputs, and what of them is dynamic: whole windows of patches, any groups."""
    shape = network.tower
    assert isinstance(shape, vision.VisionShape)
    return shape, vision.example_inputs(shape), vision.dynamic_shapes(shape)


def _patches(network: Network, _: torch.dtype) -> Recipe:
    shape, inputs, dynamic = _vision(network)
    taken = {name: inputs[name] for name in ("pixels", "positions", "real")}
    return Recipe(tower.Patches(shape), taken, dynamic, ("x", "cos", "sin", "window_bias", "full_bias"))


def _block(full: bool, network: Network, dtype: torch.dtype) -> Recipe:
    shape, inputs, dynamic = _vision(network)
    rows, patches = len(inputs["real"]), dynamic["real"]
    windows = rows // shape.slots
    inputs = {
        "x": _float(rows, shape.hidden).to(dtype),
        "cos": _float(rows, 1, shape.head_dim),
        "sin": _float(rows, 1, shape.head_dim),
        "bias": _float(1, 1, 1, rows) if full else _float(windows, 1, 1, shape.slots),
    }
    own = {3: patches[0]} if full else {0: torch.export.Dim("windows")}
    dynamic = {"x": patches, "cos": patches, "sin": patches, "bias": own}
    return Recipe(tower.TowerBlock(shape, full), inputs, dynamic, ("x_out",))


def _merge(network: Network, dtype: torch.dtype) -> Recipe:
    shape, inputs, dynamic = _vision(network)
    x = _float(len(inputs["real"]), shape.hidden).to(dtype)
    axes = {"x": dynamic["real"], "order": dynamic["order"]}
    return Recipe(tower.Merge(shape), {"x": x, "order": inputs["order"]}, axes, ("features",))


def _crop(name: str, network: Network, dtype: torch.dtype) -> Recipe:
    """A piece of a tower that sees one size: nothing of it is dynamic."""
    shape = network.tower
    assert isinstance(shape, siglip.SiglipShape)
    x = _float(shape.patches, shape.hidden).to(dtype)
    if name == "crop_patches":
        return Recipe(siglip.CropPatches(shape), {"pixels": _float(shape.patches, shape.patch_values)}, {}, ("x",))
    if name == "crop_block":
        return Recipe(siglip.CropBlock(shape), {"x": x}, {}, ("x_out",))
    return Recipe(siglip.CropProjector(shape), {"x": x}, {}, ("features",))


PIECES: dict[str, Callable[[Network, torch.dtype], Recipe]] = {
    "embed": _embed,
    "layer": partial(_layer, decoder.Layer),
    "attention": partial(_layer, decoder.Attention),
    "route": _route,
    "expert": _expert,
    "combine": _combine,
    "final": _final,
    "project": _project,
    "greedy": _greedy,
    "temper": _temper,
    "halve": _halve,
    "nucleus": _nucleus,
    "draw": _draw,
    "believe": _believe,
    "settle": _settle,
    "patches": _patches,
    "window_block": partial(_block, False),
    "full_block": partial(_block, True),
    "merge": _merge,
    **{name: partial(_crop, name) for name in ("crop_patches", "crop_block", "crop_projector")},
}

_WINDOWED = ("patches", "window_block", "full_block", "merge")
_CROPPED = ("crop_patches", "crop_block", "crop_projector")
_SPARSE = ("attention", "route", "expert", "combine")

_PIECES_OF = {
    "denoise": ("project", "greedy", "settle"),
    "sample": ("project", "temper", "halve", "nucleus", "draw", "believe", "settle"),
}


def pieces_of(graph: str, network: Network) -> tuple[str, ...]:
    """The pieces that a program applies."""
    if graph == "vision":
        return _CROPPED if isinstance(network.tower, siglip.SiglipShape) else _WINDOWED
    if graph == "backbone":
        sparse = [network.decoder.sparse(i) for i in range(network.decoder.layers)]
        plain = () if all(sparse) else ("layer",)
        return "embed", *plain, *(_SPARSE if any(sparse) else ()), "final"
    return _PIECES_OF[graph]
