"""A mixture of experts in three pieces: `Route`, one `Expert` on a few rows, and `Combine`.

Rows are sorted by expert into tiles of `TILE` rows that all want the same one, and a loop runs over the tiles: it looks
up one expert's weights, once for all of a tile's rows, and multiplies. So an expert that nobody wants is never read, no
row is run through an expert that it does not want, and what is held at a time is one expert and one tile.

Form chosen by measurement (docs/design.md, "Experts"): gathering the weights of every row's experts reads and writes
them once a row; running all experts on all rows reads them all. TensorRT takes a Loop, and does not take a Scan.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from .kind import DYNAMIC, OWN, Machine, Piece, Port
from .layers import parameters, rms_norm
from .shapes import ExpertShape, Network

__all__ = ["COMBINE", "EXPERT", "ROUTE", "TILE", "Combine", "Expert", "Route", "mixed"]

V = TypeVar("V")

TILE = 4
"""Rows of a tile. A prompt has many rows for an expert and gains by larger tiles; a block has few and loses."""

ROUTED = ("rows", "weights", "tiles", "members", "places", "count")
"""Names of the results of `Route`, in order."""

UNWANTED = -1.0e30
"""Score of an expert in a group that was not chosen: below all others, and finite."""


class Route(nn.Module):
    """The router: the experts of each row, and the rows sorted into tiles that have one expert each."""

    def __init__(self, shape: ExpertShape, hidden: int, eps: float) -> None:
        super().__init__()
        self.shape, self.eps = shape, eps
        bias = (shape.count,) if shape.bias else None
        parameters(self, {"mlp_norm": (hidden,), "router": (shape.count, hidden), "router_bias": bias})

    @property
    def exact(self) -> tuple[nn.Parameter, ...]:
        """Parameters that stay float32 in every precision."""
        return (self.router,) if self.router_bias is None else (self.router, self.router_bias)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map `x [1,R,H]` to ROUTED, with k experts for each row and room for L tiles:

        rows     [1,R,H]   normalised
        weights  [R,k]     float32, of each row's experts
        tiles    [L,1]     the expert of each tile
        members  [L,TILE]  the rows of each tile; spare places hold row 0, whose result is not read
        places   [R,k]     row among all tiles' rows that each expert of a row writes
        count    []        number of tiles that are used
        """
        rows = rms_norm(x, self.mlp_norm, self.eps)
        wanted, weights = self.choose(rows[0])
        tiles, members, places, count = self.tiled(wanted)
        return rows, weights, tiles, members, places, count

    def choose(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts and their weights, `[R,k]` each, for `rows [R,H]`: in float32, since rounding moves them."""
        s = self.shape
        # Not `linear`: that is a Gemm by a table, which calibration takes for an output projection and quantizes.
        logits = rows.float() @ self.router.transpose(0, 1)
        scores = logits.sigmoid() if s.scores == "sigmoid" else logits.softmax(-1)
        preferred = scores if self.router_bias is None else scores + self.router_bias
        if s.groups > s.active_groups:
            preferred = self._grouped(preferred)
        wanted = preferred.topk(s.active, -1)[1]
        weights = scores.gather(1, wanted)
        if s.normalised:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return wanted, weights * s.scale

    def _grouped(self, preferred: Tensor) -> Tensor:
        s = self.shape
        members = preferred.view(-1, s.groups, s.count // s.groups)
        best = members.topk(2, -1)[0].sum(-1).topk(s.active_groups, -1)[1]
        chosen = torch.zeros_like(members[..., 0]).scatter(1, best, 1.0)
        return torch.where(chosen.unsqueeze(-1) > 0, members, UNWANTED).view(-1, s.count)

    def tiled(self, wanted: Tensor) -> tuple[Tensor, ...]:
        """Sort `wanted [R,k]` into tiles, members, places and count: see `forward`."""
        count, active = self.shape.count, self.shape.active
        flat = wanted.reshape(-1)
        is_for = (flat.unsqueeze(1) == torch.arange(count).unsqueeze(0)).long()
        rank = (is_for.cumsum(0) * is_for).sum(1) - 1  # how many before it want the same
        ends = ((is_for.sum(0) + (TILE - 1)) // TILE).cumsum(0)
        begins = torch.cat([torch.zeros_like(ends[:1]), ends[:-1]])
        places = begins.index_select(0, flat) * TILE + rank
        # At most: all full, and one more for each expert.
        most = flat.shape[0] // TILE + count
        tiles = (torch.arange(most).unsqueeze(1) >= ends.unsqueeze(0)).long().sum(1, keepdim=True).clamp(max=count - 1)
        row = torch.arange(flat.shape[0]) // active
        members = torch.zeros(most * TILE, dtype=torch.int64).scatter(0, places, row)
        return tiles, members.view(-1, TILE), places.view(-1, active), ends[-1]


class Expert(nn.Module):
    """The MLP of one expert, applied to the rows of one tile."""

    def __init__(self, shape: ExpertShape, hidden: int) -> None:
        super().__init__()
        self.shape = shape
        wide = 2 * shape.intermediate
        parameters(
            self,
            {
                "experts_gate_up": (shape.count, hidden, wide),
                "experts_down": (shape.count, shape.intermediate, hidden),
            },
        )

    def forward(self, tile: Tensor, members: Tensor, rows: Tensor) -> Tensor:
        """Apply expert `tile [1]` to the rows `members [TILE]` of `rows [1,R,H]`; gives `[1,TILE,H]`."""
        taken = rows.index_select(1, members)
        gate, up = (taken @ self.experts_gate_up.index_select(0, tile)).split(self.shape.intermediate, -1)
        return (silu(gate) * up) @ self.experts_down.index_select(0, tile)


class Combine(nn.Module):
    """The weighted sum of the experts' results, and the shared expert's, added to the residual stream."""

    def __init__(self, shape: ExpertShape, hidden: int) -> None:
        super().__init__()
        self.shape = shape
        shared = shape.shared
        parameters(
            self,
            {
                "shared_gate_up": (hidden, 2 * shared) if shared else None,
                "shared_down": (shared, hidden) if shared else None,
            },
        )

    def forward(self, x: Tensor, rows: Tensor, made: Tensor, weights: Tensor, places: Tensor) -> Tensor:
        """Map `x, rows [1,R,H]`, `made [count,1,TILE,H]`, `weights, places [R,k]` to `x [1,R,H]`."""
        own = made.reshape(-1, x.shape[-1]).index_select(0, places.reshape(-1)).view(-1, self.shape.active, x.shape[-1])
        mixed = (own.float() * weights.unsqueeze(-1)).sum(1).to(x.dtype).unsqueeze(0)
        if self.shared_gate_up is not None:
            gate, up = (rows @ self.shared_gate_up).split(self.shape.shared, -1)
            mixed = mixed + (silu(gate) * up) @ self.shared_down
        return x + mixed


def _shape(network: Network) -> ExpertShape:
    assert network.decoder.experts is not None
    return network.decoder.experts


def _rows(network: Network) -> Port:
    return Port(OWN, (1, "rows", network.decoder.hidden))


def _of_combine(network: Network) -> dict[str, Port]:
    active, made = _shape(network).active, ("tiles", 1, TILE, network.decoder.hidden)
    weights, places = (Port(dtype, ("rows", active)) for dtype in ("float32", "int64"))
    rows = _rows(network)
    return {"x": rows, "rows": rows, "made": Port(OWN, made), "weights": weights, "places": places}


ROUTE = Piece(
    "route",
    lambda network: Route(_shape(network), network.decoder.hidden, network.decoder.norm_eps),
    lambda network: {"x": _rows(network)},
    ROUTED,
)
EXPERT = Piece(
    "expert",
    lambda network: Expert(_shape(network), network.decoder.hidden),
    lambda network: {"tile": Port("int64", (1,)), "members": Port("int64", (TILE,)), "rows": _rows(network)},
    ("made",),
)
COMBINE = Piece(
    "combine",
    lambda network: Combine(_shape(network), network.decoder.hidden),
    _of_combine,
    ("x_out",),
    lambda _: {"tiles": (6, DYNAMIC)},
    residual=True,
)


def mixed(machine: Machine[V], x: V, prefix: str) -> V:
    """Apply the experts of one layer to the residual stream `x [1,R,H]`; gives the stream behind them."""
    routed = dict(zip(ROUTED, machine.apply(ROUTE, {"x": x}, prefix), strict=True))
    tile = {"tile": routed["tiles"], "members": routed["members"]}
    made = machine.each(EXPERT, routed["count"], tile, {"rows": routed["rows"]}, prefix)
    given = {name: routed[name] for name in ("rows", "weights", "places")}
    (x,) = machine.apply(COMBINE, {"x": x, "made": made, **given}, prefix)
    return x
