"""Decisions of a recipe on each layer of one model: scales from a recording, and which layers stay high.

The error of a product is estimated from statistics alone: rounding the input and rounding the weights are independent,
so their shares of squared error add up. Knows recipes and recordings; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from math import sqrt

import numpy as np

from ..collect.histogram import Histogram
from ..collect.row_kinds import kept_only
from ..source.smoothquant import Smoothed
from . import merge
from .number_formats import FORMATS, Format
from .recipes import Recipe
from .weight_quant import Coded, code, loss

__all__ = ["Decision", "Layer", "coded", "decide", "input_format", "table_format", "weight_format"]

RELIEF_GROUP, SMALLEST_GROUP = 64, 16

TOWER = "vision."


@dataclass(frozen=True)
class Layer:
    """One product with weights."""

    name: str
    form: str
    """Its treatment: `static`, `weights`, `dynamic`, `relief` or `high`."""
    limit: float | None
    """Largest magnitude of its input that is kept; None where nothing is calibrated."""
    asked: dict[str, float]
    """Scales that each stratum alone would have asked for."""
    error: float
    """Expected error of its output as a share of it, before any relief."""
    errors: dict[str, float]
    """The same by stratum of its rows."""
    shared: float = 1.0
    """Squared error of its input by the one scale, as a multiple of that by a scale for each stratum."""


@dataclass(frozen=True)
class Decision:
    """A recipe, made concrete."""

    recipe: Recipe
    merge: str
    layers: dict[str, Layer]

    def worst_first(self) -> list[Layer]:
        """Layers by expected error."""
        return sorted(self.layers.values(), key=lambda layer: -layer.error)


def coded(recipe: Recipe, weights: Smoothed, name: str, form: str) -> Coded:
    """A product's weights, quantized. A table is coded by its rows, in int8, whatever the recipe."""
    weight = weights.weight(name)
    if weights.source.tables[name]:
        return code(weight, table_format(recipe), 0)
    if form == "relief":
        return code(weight, FORMATS["int8"], 1, whole_group(len(weight), RELIEF_GROUP))
    return code(weight, FORMATS[recipe.weights], 1, whole_group(len(weight), recipe.group))


def whole_group(rows: int, group: int | None) -> int | None:
    """The group, or the largest fraction of it that cuts `rows` without a rest; None if only a tiny one would."""
    while group is not None and rows % group:
        group = group // 2 if group > SMALLEST_GROUP else None
    return group


def decide(
    recipe: Recipe, weights: Smoothed, seen: Mapping[str, Mapping[str, Histogram]], how: str, strata: str
) -> Decision:
    """Scales by the merge `how` over all strata, or over those of the prompt alone (`strata` is `prefill`)."""
    layers = {}
    for name, table in weights.source.tables.items():
        form, rows = _form(recipe, name, table), _chosen(seen.get(name, {}), strata)
        if form == "static" and not rows:
            form = "high"  # no sample reached it: a scale would be a guess
        layers[name] = _layer(recipe, weights, name, form, rows, how)
    return Decision(recipe, how, _relieved(recipe, weights, layers))


def _chosen(strata: Mapping[str, Histogram], which: str) -> dict[str, Histogram]:
    only = {name: h for name, h in strata.items() if which == "all" or kept_only(name)}
    # The projection is never asked about rows of a prompt; it takes what there is.
    return only or dict(strata)


def _form(recipe: Recipe, name: str, table: bool) -> str:
    if any(fnmatch(name, pattern) for pattern in recipe.high):
        return "high"
    if table:
        return recipe.head
    return "static" if recipe.activations else "weights"


def _layer(
    recipe: Recipe, weights: Smoothed, name: str, form: str, strata: dict[str, Histogram], how: str
) -> Layer:  # fmt: skip
    if form == "high":
        return Layer(name, form, None, {}, 0.0, {})
    rounding = loss(weights.weight(name), coded(recipe, weights, name, form))
    if form != "static":
        return Layer(name, form, None, {}, sqrt(rounding), {})
    numbers = input_format(recipe, weights.source.tables[name])
    limit = merge.limit(strata, numbers, how)
    errors = {s: sqrt(rounding + merge.error({s: h}, numbers, limit)) for s, h in strata.items()} if limit else {}
    asked = {s: merge.limit({s: h}, numbers, how) for s, h in strata.items()}
    apart = [merge.error({s: h}, numbers, asked[s]) for s, h in strata.items() if asked[s]]
    shared = merge.error(strata, numbers, limit) / max(float(np.mean(apart)), 1e-300) if apart else 1.0
    return Layer(name, form, limit, asked, max(errors.values(), default=sqrt(rounding)), errors, shared)


def input_format(recipe: Recipe, table: bool) -> Format:
    """Format of what is multiplied: an int8 table wants int8."""
    return FORMATS["int8" if table else str(recipe.activations)]


def weight_format(recipe: Recipe, table: bool, form: str) -> Format:
    """Format of a product's weights."""
    return table_format(recipe) if table else FORMATS["int8" if form == "relief" else recipe.weights]


def table_format(recipe: Recipe) -> Format:
    """Format of a table that is looked up and multiplied by: int8, in pairs where the other products are."""
    return FORMATS[recipe.weights if FORMATS[recipe.weights].paired else "int8"]


def _relieved(recipe: Recipe, weights: Smoothed, layers: dict[str, Layer]) -> dict[str, Layer]:
    """The layers, the worst by expected error with wider numbers, as far as the recipe has room for them."""
    inner = [layer for layer in layers.values() if layer.form in ("static", "weights")]
    room = recipe.relief_share * sum(weights.source.size(layer.name) for layer in layers.values())
    made = dict(layers)
    for layer in sorted(inner, key=lambda layer: -layer.error):
        if layer.error <= (recipe.tower_above if layer.name.startswith(TOWER) else recipe.relief_above):
            continue
        room -= weights.source.size(layer.name)
        if room < 0:
            break
        form = "high" if recipe.relief == "high" else "relief"
        made[layer.name] = replace(layer, form=form, limit=None)
    return made
