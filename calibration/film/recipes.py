"""The quantized precisions of bundles that film: what `quantize/recipes.py` is for words, with names of other layers.

Timesteps, modulation, the first and last layer and everything that a prompt goes through but the feed-forward layers
of its encoder stay high, and so do the convolutions of the autoencoder, which are no products. Knows names and numbers.
"""

from __future__ import annotations

from ...engines.errors import RequestError
from ..quantize.recipes import Recipe

__all__ = ["FILM_RECIPES", "LOSS", "film_recipes"]

HIGH = ("times.*", "rows_out.*", "words.*", "*.cross_kv_weight", "text.layers.*.qkv", "text.layers.*.out",
        "text.layers.*.down", "pixels.*")  # fmt: skip
"""Patterns of weights that stay as they are. Attention of UMT5 loses meaning in 8 bits, its last product range."""

FILM_RECIPES = {
    r.name: r
    for r in (
        Recipe("int8", "weights and activations of the network in int8: CPUs, GPUs",
               "int8", "int8", None, "high", HIGH, "high", 0.06, 0.06, 0.25, 0.0, "mse", 0.0),
        Recipe("fp8", "weights and activations of the network in fp8 e4m3: GPUs from sm89 on; a CPU only emulates it",
               "fp8", "fp8", None, "high", HIGH, "high", 0.10, 0.10, 0.05, 0.0, "mse", 0.0),
    )
}  # fmt: skip

LOSS = 0.15
"""Error of one forward that is allowed: root mean square, as a share of the velocity, the keys and the values."""


def film_recipes(names: tuple[str, ...]) -> tuple[Recipe, ...]:
    """Names to recipes. Raises RequestError that prints the table."""
    unknown = [name for name in names if name not in FILM_RECIPES]
    if unknown:
        rows = "\n".join(f"  {r.name:<6} {r.what}" for r in FILM_RECIPES.values())
        raise RequestError(
            f"precision: got {', '.join(unknown)} for a bundle that films, expected one or more of\n{rows}"
        )
    return tuple(FILM_RECIPES[name] for name in names)
