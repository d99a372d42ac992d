"""The quantized precisions: a table of frozen data. What a name means stands here and nowhere else.

Knows names and numbers; not graphs, nor how anything is computed. Imports nothing that a device lacks, so that
`a2d verify` reads the bars here.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...engines.errors import RequestError

__all__ = ["HEADS", "RECIPES", "Recipe", "known", "recipes"]

HEADS = {
    "static": "int8, a scale per token of the vocabulary; its input has a calibrated scale",
    "dynamic": "int8, a scale per token of the vocabulary; its input is measured at every step",
    "high": "as in the source, and so is an embedding table that is tied to it",
}
"""Treatments of the output projection (lm_head). Quantized, it shares one table with the embedding if they are
tied; a lookup takes int8 rows, whatever the recipe."""


@dataclass(frozen=True)
class Recipe:
    """One precision."""

    name: str
    what: str
    weights: str
    """Format of the weights: symmetric, one scale per output channel, or per group of inputs."""
    activations: str | None
    """Format of what is multiplied with them: one calibrated scale per tensor. None: weights alone."""
    group: int | None
    """Inputs that share a scale; None is all."""
    head: str
    """Treatment of the output projection: a name of HEADS."""
    high: tuple[str, ...]
    """Patterns of weight names that stay as they are in the source."""
    relief: str
    """Treatment of layers that err too much: `high`, or `weights`, int8 weights in groups and float inputs."""
    relief_above: float
    """Layers whose output is expected to err by more than this share of itself ..."""
    tower_above: float
    """The same for a vision tower, which runs once an image and not at every step."""
    relief_share: float
    """... the worst first, as long as they hold at most this share of all weights."""
    smooth: float
    """SmoothQuant's migration strength (Xiao et al., 2211.10438): 0 leaves outlying channels to the activations."""
    merge: str
    """Rule by which strata become one scale: a name of `merge.MERGES`."""
    bar: float
    """Share of tokens that must agree with the source's."""
    study: bool = False
    """For comparing calibrations; no target is faster with it."""


TOWER = "vision.*"

RECIPES = {
    r.name: r
    for r in (
        Recipe("int8", "weights and activations in int8: CPUs, GPUs",
               "int8", "int8", None, "static", (), "weights", 0.06, 0.03, 0.25, 0.5, "mse", 0.97),
        Recipe("int8-avx2", "int8 for CPUs without VNNI: codes whose products fit the 16 bits that they are added in",
               "int8-paired", "int8", None, "static", (), "weights", 0.06, 0.03, 0.25, 0.5, "mse", 0.97),
        Recipe("fp8", "weights and activations in fp8 e4m3: GPUs from sm89 on; a CPU only emulates it",
               "fp8", "fp8", None, "high", (TOWER,), "high", 0.10, 0.10, 0.05, 0.0, "mse", 0.97),
        Recipe("int8-weight", "weights in int8 in groups of 64, activations as they are",
               "int8", None, 64, "dynamic", (), "high", 0.10, 0.10, 0.05, 0.0, "mse", 0.98),
        Recipe("int4-weight", "weights in int4 in groups of 32: the smallest file",
               "int4", None, 32, "dynamic", (TOWER,), "high", 0.20, 0.20, 0.05, 0.0, "mse", 0.92),
        Recipe("int4-int8", "weights in int4 per channel, activations in int8: for study",
               "int4", "int8", None, "static", (TOWER,), "high", 9.0, 9.0, 0.0, 0.5, "mse", 0.0, study=True),
        Recipe("int4", "weights and activations in int4: for study, nothing runs it fast",
               "int4", "int4", None, "static", (TOWER,), "high", 9.0, 9.0, 0.0, 0.5, "mse", 0.0, study=True),
    )
}  # fmt: skip


def known() -> str:
    """The table as text."""
    rows = [f"  {r.name:<12} {r.what}" for r in RECIPES.values()]
    return "\n".join(rows)


def recipes(names: str) -> tuple[Recipe, ...]:
    """`"int8,fp8"` to recipes. Raises RequestError that prints the table."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(RECIPES):
        expected = f"expected one or more, by comma, each once, of\n{known()}"
        raise RequestError(f"the setting precision: got {names!r}, {expected}")
    return tuple(RECIPES[name] for name in wanted)
