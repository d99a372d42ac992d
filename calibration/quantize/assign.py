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
from ..source.source import Source
from . import merge
from .coded_weights import CodedWeights
from .number_formats import FORMATS, Format
from .recipes import Recipe

__all__ = ["Decision", "Layer", "decide", "input_format"]

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


def decide(weights: CodedWeights, seen: Mapping[str, Mapping[str, Histogram]], how: str, strata: str) -> Decision:
    """Scales by the merge `how` over all strata, or over those of the prompt alone (`strata` is `prefill`)."""
    recipe, source, layers = weights.recipe, weights.weights.source, {}
    for name, table in source.tables.items():
        form, rows = _form(recipe, name, table), _chosen(seen.get(name, {}), strata)
        if form == "static" and not rows:
            form = "high"  # no sample reached it: a scale would be a guess
        layers[name] = _layer(weights, name, form, rows, how)
    return Decision(recipe, how, _relieved(recipe, source, layers))


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


def _layer(weights: CodedWeights, name: str, form: str, strata: dict[str, Histogram], how: str) -> Layer:
    if form == "high":
        return Layer(name, form, None, {}, 0.0, {})
    rounding = weights.loss(name, form)
    if form != "static":
        return Layer(name, form, None, {}, sqrt(rounding), {})
    numbers = input_format(weights.recipe, weights.weights.source.tables[name])
    limit = merge.limit(strata, numbers, how)
    errors = {s: sqrt(rounding + merge.error({s: h}, numbers, limit)) for s, h in strata.items()} if limit else {}
    asked = {s: merge.limit({s: h}, numbers, how) for s, h in strata.items()}
    apart = [merge.error({s: h}, numbers, asked[s]) for s, h in strata.items() if asked[s]]
    shared = merge.error(strata, numbers, limit) / max(float(np.mean(apart)), 1e-300) if apart else 1.0
    return Layer(name, form, limit, asked, max(errors.values(), default=sqrt(rounding)), errors, shared)


def input_format(recipe: Recipe, table: bool) -> Format:
    """Format of what is multiplied: an int8 table wants int8."""
    return FORMATS["int8" if table else str(recipe.activations)]


def _relieved(recipe: Recipe, source: Source, layers: dict[str, Layer]) -> dict[str, Layer]:
    """The layers, the worst by expected error with wider numbers, as far as the recipe has room for them."""
    inner = [layer for layer in layers.values() if layer.form in ("static", "weights")]
    room = recipe.relief_share * sum(source.size(layer.name) for layer in layers.values())
    made = dict(layers)
    for layer in sorted(inner, key=lambda layer: -layer.error):
        if layer.error <= (recipe.tower_above if layer.name.startswith(TOWER) else recipe.relief_above):
            continue
        room -= source.size(layer.name)
        if room < 0:
            break
        form = "high" if recipe.relief == "high" else "relief"
        made[layer.name] = replace(layer, form=form, limit=None)
    return made
