"""The `velocity` graph: noisy rows of a clip to their velocity, over the keys and values of a prompt that was read.

A tower of its own, with layers like those of the tower that reads (`backbone.py`), whose keys and values it attends
before its own. They come at the prompt's exact length, so every key is seen and there is no mask: engines can fuse the
attention. Rotations are inputs, for places are fractions far from 0, which a table of whole numbers cannot hold. Rows
that are clean already get no embedding of the time. Knows no schedule, guidance or prompt. The network is that of
diffusers' Cosmos3OmniTransformer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import silu

from .backbone import Layer
from .film_shapes import TowersNetwork, TowersShape
from .kind import DYNAMIC, OWN, Axes, Case, Kind, Machine, Piece, Port, random_feeds
from .layers import affine, exact, parameters, rms_norm_wide

__all__ = ["VELOCITY"]

V = TypeVar("V")

PREFIX = "generator."
"""Prefix of the names of its layers' weights."""

CHECKED = ((6, 0, 9), (12, 4, 5), (30, 6, 17))
"""Sizes of the cases: (rows, clean ones among them, rows of the prompt)."""


class RowsIn(nn.Module):
    """The start of the tower: patches to rows, of which noisy ones get the time's embedding added."""

    def __init__(self, shape: TowersShape) -> None:
        super().__init__()
        h = shape.reader.hidden
        parameters(self, {"weight": (shape.patch_values, h), "bias": (h,)})
        exact(self, {"time_in_weight": (shape.freq_dim, h), "time_in_bias": (h,)})
        exact(self, {"time_out_weight": (h, h), "time_out_bias": (h,)})

    def forward(self, rows: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """Map `rows [1,R,K]`, `noisy [1,R,1]` of 0 and 1 and `time [1,freq]` to x `[1,R,H]`; the time in float32."""
        inner = silu(affine(time, self.time_in_weight, self.time_in_bias))
        embedded = affine(inner, self.time_out_weight, self.time_out_bias)
        x = affine(rows.to(self.weight.dtype), self.weight, self.bias)
        return x + (noisy * embedded.unsqueeze(1)).to(x.dtype)


class GeneratorLayer(Layer):
    """A layer in which every row sees all rows and all of the prompt's."""

    def forward(  # type: ignore[override]
        self, x: Tensor, rope_cos: Tensor, rope_sin: Tensor, condition_key: Tensor, condition_value: Tensor
    ) -> Tensor:
        """Map `x [1,R,H]` to the same, with rotations `[1,R,1,D]` and the prompt's keys and values `[1,Hkv,L,D]`."""
        return super().forward(x, rope_cos, rope_sin, None, condition_key, condition_value)[0]

    def rotated(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate `x [1,R,heads,D]` in float32, and round the result to the dtype of `x`."""
        return super().rotated(x.float(), cos, sin).to(x.dtype)


class RowsOut(nn.Module):
    """The end of the tower: rows to the velocity of their patches, in float32."""

    def __init__(self, shape: TowersShape) -> None:
        super().__init__()
        self.eps, h = shape.reader.norm_eps, shape.reader.hidden
        parameters(self, {"norm": (h,), "weight": (h, shape.patch_values), "bias": (shape.patch_values,)})

    def forward(self, x: Tensor) -> Tensor:
        """Map `x [1,R,H]` to `[1,R,K]` float32: norm in float32, projection in the dtype of its weights."""
        return affine(rms_norm_wide(x, self.norm, self.eps), self.weight, self.bias).float()


def _axes(_: TowersNetwork) -> Axes:
    return {"rows": (6, DYNAMIC), "words": (5, DYNAMIC)}


def _rows(network: TowersNetwork) -> dict[str, Port]:
    s = network.towers
    return {
        "rows": Port("float32", (1, "rows", s.patch_values)),
        "noisy": Port("float32", (1, "rows", 1)),
        "time": Port("float32", (1, s.freq_dim)),
    }


def _rope(network: TowersNetwork) -> dict[str, Port]:
    return dict.fromkeys(("rope_cos", "rope_sin"), Port("float32", (1, "rows", 1, network.decoder.head_dim)))


def _x(network: TowersNetwork) -> Port:
    return Port(OWN, (1, "rows", network.decoder.hidden))


def _condition(network: TowersNetwork) -> Port:
    return Port(OWN, (1, network.decoder.kv_heads, "words", network.decoder.head_dim))


ROWS_IN = Piece("generator_rows_in", lambda n: RowsIn(n.towers), _rows, ("x",), _axes)
LAYER = Piece(
    "generator_layer",
    lambda n: GeneratorLayer(n.towers.generator),
    lambda n: {"x": _x(n), **_rope(n), **dict.fromkeys(("condition_key", "condition_value"), _condition(n))},
    ("x_out",),
    _axes,
    residual=True,
    heads=lambda n: n.decoder.kv_heads,
)
ROWS_OUT = Piece("generator_rows_out", lambda n: RowsOut(n.towers), lambda n: {"x": _x(n)}, ("velocity",), _axes)


def _inputs(network: TowersNetwork) -> dict[str, Port]:
    names = [f"condition_{what}_{i}" for i in range(network.decoder.layers) for what in ("key", "value")]
    return {**_rows(network), **_rope(network), **dict.fromkeys(names, _condition(network))}


def _outputs(network: TowersNetwork) -> dict[str, Port]:
    return {"velocity": _rows(network)["rows"]}


def _run(network: TowersNetwork, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    (x,) = machine.apply(ROWS_IN, {name: feeds[name] for name in _rows(network)}, "rows_in.")
    turned = {name: feeds[name] for name in _rope(network)}
    for i in range(network.decoder.layers):
        own = {f"condition_{what}": feeds[f"condition_{what}_{i}"] for what in ("key", "value")}
        (x,) = machine.apply(LAYER, {"x": x, **turned, **own}, f"{PREFIX}layers.{i}.")
    (velocity,) = machine.apply(ROWS_OUT, {"x": x}, "rows_out.")
    return {"velocity": velocity}


def _cases(network: TowersNetwork) -> Iterator[Case]:
    rng = np.random.default_rng(6)
    for rows, clean, words in CHECKED:
        feeds = random_feeds(_inputs(network), {"rows": rows, "words": words}, rng)
        feeds["noisy"] = (np.arange(rows) >= clean).astype(np.float32)[None, :, None]
        angles = rng.uniform(-np.pi, np.pi, (1, rows, 1, network.decoder.head_dim // 2))
        cos, sin = np.cos(angles), np.sin(angles)
        feeds["rope_cos"] = np.concatenate([cos, cos], -1).astype(np.float32)
        feeds["rope_sin"] = np.concatenate([-sin, sin], -1).astype(np.float32)
        yield Case(f"{rows} rows, {clean} of them clean, over {words}", feeds)


VELOCITY: Kind = Kind(_inputs, _outputs, _run, lambda n, *_: _cases(n))
