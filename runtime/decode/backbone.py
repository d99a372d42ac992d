"""One forward of the backbone over new rows, against the cache, keeping the rows that are final.

A denoising step is a forward that keeps none of its rows, a commit keeps all, and a merged commit keeps the first:
the same graph and the same weights each time. Knows rows, reach and cache; not which rows come when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import BundleError
from ...engines.protocol import Buffer, Engine
from .cache import Cache
from .layout import side_by_side, visibility

__all__ = ["Backbone", "Rows"]


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a sequence, ready to be fed."""

    tokens: NDArray[np.int64]
    """`[R]`"""
    positions: NDArray[np.int64]
    """`[R]`, or `[3, R]` for mrope."""
    reach: NDArray[np.int64]
    """`[R]`; the row sees every key before this position."""
    features: NDArray[np.float32] | None = None
    """`[R, N]`; rows of another model's features, zero where there is none. N is H, or several H side by side."""
    is_feature: NDArray[np.bool_] | None = None
    """`[R]`"""

    def __len__(self) -> int:
        return len(self.tokens)

    def holding(self, tokens: NDArray[np.int64]) -> Rows:
        """The same rows with other tokens."""
        return Rows(tokens, self.positions, self.reach, self.features, self.is_feature)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(
            self.tokens[part],
            self.positions[..., part],
            self.reach[part],
            None if self.features is None else self.features[part],
            None if self.is_feature is None else self.is_feature[part],
        )

    def __add__(self, other: Rows) -> Rows:
        if not len(self):
            return other  # every plain step adds nothing to its block
        return Rows(
            np.concatenate([self.tokens, other.tokens]),
            np.concatenate([self.positions, other.positions], axis=-1),
            np.concatenate([self.reach, other.reach]),
            _joined(self.features, other.features, self, other),
            _joined(self.is_feature, other.is_feature, self, other),
        )


def _joined(a: NDArray[np.generic] | None, b: NDArray[np.generic] | None, left: Rows, right: Rows) -> NDArray | None:  # type: ignore[type-arg]
    """Both, where a missing side stands for zeros."""
    some = a if a is not None else b
    if some is None:
        return None
    return np.concatenate(
        [
            np.zeros((len(rows), *some.shape[1:]), some.dtype) if side is None else side
            for side, rows in ((a, left), (b, right))
        ]
    )


class Backbone:
    """The backbone graph over one cache."""

    def __init__(self, engine: Engine, cache: Cache) -> None:
        self.cache = cache
        self.forwards = 0
        hidden = engine.outputs.get("hidden")
        if hidden is None or not isinstance(hidden.shape[-1], int):
            raise BundleError("the backbone graph has no output hidden [1, R, H]; export the checkpoint again")
        self._width = hidden.shape[-1]
        self.last = engine.memory.zeros((1, 1, self._width), hidden.dtype)
        """Hidden state `[1, 1, H]` of the last cached row, for models that predict one row ahead."""
        self.engine = engine
        self.waits = engine.memory.waits
        """Reading what a forward gives waits for a device."""
        taken = engine.inputs.get("features")
        self._feature_values = None if taken is None else int(taken.shape[-1])

    def forward(self, rows: Rows, keep: int, draft: int = 0, tokens: Buffer | None = None) -> Buffer:
        """Run `rows`, which follow the cached ones; keep the first `keep` in the cache. Returns hidden `[1, R, H]`.

        The `draft` rows behind those that are kept are held as well, for `refine`, until the next rows are kept.
        `tokens [1, R]` are those of the rows, where they lie on the device.
        """
        made = self._run(rows, None, self.cache.outputs() if keep + draft else [], tokens)
        self.keep(made, 0, keep, draft)
        return made["hidden"]

    def keep(self, made: Mapping[str, Buffer], first: int, count: int, draft: int) -> None:
        """Keep `count` rows of a forward's outputs from the `first` on, and hold the `draft` rows behind them."""
        if count + draft:
            self.cache.append(made, count, draft, first)
        if count:
            self.engine.memory.copy_rows(made["hidden"], first + count - 1, 1, self.last, 0)

    def settle(self, hidden: Buffer, count: int) -> None:
        """Keep the first `count` of the drafted rows, which `hidden [1, R, H]` holds alone; forget the others."""
        self.cache.settle(count)
        self.engine.memory.copy_rows(hidden, count - 1, 1, self.last, 0)

    def refine(self, rows: Rows, at: int) -> Buffer:
        """Run `rows` in the place of the drafted ones from the `at`-th on; keeps nothing. Returns hidden `[1, R, H]`.

        They see the other drafted rows as those were when they were drafted.
        """
        return self._run(rows, at, [])["hidden"]

    def visible(self, rows: Rows, at: int | None) -> NDArray[np.bool_]:
        """The mask `[1, 1, R, C + R]` of `rows` over the C rows of this cache's slot, and over themselves."""
        cache = self.cache
        if at is None:
            return visibility(rows.reach, cache.length, cache.capacity)
        return visibility(rows.reach, cache.length + cache.drafted, cache.capacity, cache.length + at)

    def run(
        self, rows: Rows, visible: NDArray[np.bool_], outputs: Iterable[str], tokens: Buffer | None = None
    ) -> dict[str, Buffer]:
        """Run `rows` over all of the pool, under `visible [1, 1, R, capacity + R]`. Returns `hidden` and `outputs`."""
        wanted = ["hidden", *outputs]
        feeds: dict[str, NDArray[np.generic] | Buffer] = dict(self.cache.feeds())
        feeds["tokens"] = rows.tokens[None] if tokens is None else tokens
        feeds["positions"] = rows.positions[..., None, :]
        feeds["visible"] = visible
        if self._feature_values is not None:
            feeds |= self._features(rows)
        return self.engine.run(feeds, wanted, keep=wanted)  # type: ignore[return-value]

    def _run(
        self, rows: Rows, at: int | None, outputs: Iterable[str], tokens: Buffer | None = None
    ) -> dict[str, Buffer]:
        cache, visible = self.cache, self.visible(rows, at)
        if cache.capacity != cache.pool.capacity:
            visible = side_by_side([visible], [cache.start], cache.pool.capacity)
        self.forwards += 1
        return self.run(rows, visible, outputs, tokens)

    def _features(self, rows: Rows) -> dict[str, NDArray[np.generic]]:
        if rows.features is None or rows.is_feature is None:
            return {
                "features": np.zeros((1, len(rows), self._feature_values or 0), np.float32),
                "is_feature": np.zeros((1, len(rows)), np.bool_),
            }
        return {"features": rows.features[None], "is_feature": rows.is_feature[None]}
