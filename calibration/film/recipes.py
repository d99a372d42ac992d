"""The quantized precisions of bundles that film: what `quantize/recipes.py` is for words, with names of other layers.

Timesteps, modulation, the first and last layer and everything that a prompt goes through but the feed-forward layers
of its encoder stay high, and so do the convolutions of the autoencoder, which are no products. Knows names and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...engines.errors import RequestError
from ..quantize.recipes import Recipe

__all__ = ["FILM_RECIPES", "LOSS", "TOWERS_RECIPES", "film_recipes"]

HIGH = ("times.*", "rows_out.*", "words.*", "*.cross_kv_weight", "text.layers.*.qkv", "text.layers.*.out",
        "text.layers.*.down", "pixels.*")  # fmt: skip
"""Patterns of weights that stay as they are. Attention of UMT5 loses meaning in 8 bits, its last product range."""

TOWERS_HIGH = ("rows_in.*", "rows_out.*", "*.qkv", "lm_head", "vision.*", "pixels.*")
"""The same of two towers. Queries and keys in 16 bits is the best of the published trades, and the key that rows attend
comes of the same product as the prompt's own."""

WHATS = {
    "int8": "weights and activations of the network in int8: CPUs, GPUs",
    "fp8": "weights and activations of the network in fp8 e4m3: GPUs from sm89 on; a CPU only emulates it",
}
"""Precisions in words."""


def _table(high: tuple[str, ...], relief: str, share: float) -> dict[str, Recipe]:
    """Recipes by name. `relief`, `share`: of products that err by more than 6 % in int8."""
    return {
        r.name: r
        for r in (
            Recipe("int8", WHATS["int8"],
                   "int8", "int8", None, "high", high, relief, 0.06, 0.06, share, 0.0, "mse", 0.0),
            Recipe("fp8", WHATS["fp8"],
                   "fp8", "fp8", None, "high", high, "high", 0.10, 0.10, 0.05, 0.0, "mse", 0.0),
        )
    }  # fmt: skip


FILM_RECIPES, TOWERS_RECIPES = _table(HIGH, "high", 0.25), _table(TOWERS_HIGH, "weights", 0.5)

LOSS = 0.15
"""Error of one forward that is allowed: root mean square, as a share of the velocity, the keys and the values."""


def film_recipes(names: tuple[str, ...], table: Mapping[str, Recipe] = FILM_RECIPES) -> tuple[Recipe, ...]:
    """Names to recipes. Raises RequestError that prints the table."""
    if not names or len(set(names)) < len(names) or not set(names) <= set(table):
        rows = "\n".join(f"  {r.name:<6} {r.what}" for r in table.values())
        got = ", ".join(names) or "none"
        raise RequestError(f"precision: got {got} for a bundle that films, expected one or more, each once, of\n{rows}")
    return tuple(table[name] for name in names)
