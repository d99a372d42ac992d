"""Keys and values of a prompt that was read, at its exact length: all that a tower that denoises takes from it.

A prompt is read in pieces by the backbone graph, as any text is. Rows of zeros behind it would be attended like any
others, so the buffers are as long as the prompt. Knows no clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import BundleError
from ...engines.protocol import Buffer, Engine, Feeds
from ..decode.cache import Cache, CacheShape

__all__ = ["PIECE", "Condition", "piece_feeds", "read"]

PIECE = 512
"""Rows of a prompt that are read at once."""


@dataclass(frozen=True)
class Condition:
    """A prompt, read."""

    feeds: Mapping[str, Buffer]
    """`condition_key_i`, `condition_value_i` `[1, A, L, D]`."""
    length: int
    """Its tokens, L."""


def read(tokens: NDArray[np.int64], engine: Engine, shape: CacheShape, own_key: bool) -> Condition:
    """Read a prompt. `own_key`: what is attended is the key that the backbone gives for that."""
    key = "new_condition_key" if own_key else "new_key"
    if f"{key}_0" not in engine.outputs:
        raise BundleError(f"the backbone graph has no output {key}_0; export the checkpoint again")
    kinds = (("key", key), ("value", "new_value"))
    cache, made = Cache(shape, engine.memory), _empty(shape, engine, len(tokens))
    sources = {f"condition_{kind}_{i}": f"{new}_{i}" for i in range(shape.layers) for kind, new in kinds}
    kept = list(dict.fromkeys([*cache.outputs(), *sources.values()]))
    for start in range(0, len(tokens), PIECE):
        part = tokens[start : start + PIECE]
        new = engine.run(piece_feeds(part, start, cache, engine), kept, keep=kept)
        for name, source in sources.items():
            engine.memory.copy_rows(new[source], 0, len(part), made[name], start)  # type: ignore[arg-type]
        cache.append(new, len(part))  # type: ignore[arg-type]
    return Condition(made, len(tokens))


def piece_feeds(tokens: NDArray[np.int64], start: int, cache: Cache, engine: Engine) -> Feeds:
    """Feeds of the backbone graph for a piece of a prompt behind the `start` rows that are cached."""
    return {**cache.feeds(), **_rows(tokens, start, cache.capacity), **_no_features(len(tokens), engine)}


def _no_features(rows: int, engine: Engine) -> dict[str, NDArray[np.generic]]:
    """Feeds of a graph whose rows may be features of a picture; those of a prompt for films are words."""
    if "features" not in engine.inputs:
        return {}
    width = int(engine.inputs["features"].shape[-1])
    return {"features": np.zeros((1, rows, width), np.float32), "is_feature": np.zeros((1, rows), np.bool_)}


def _empty(shape: CacheShape, engine: Engine, rows: int) -> dict[str, Buffer]:
    names = [f"condition_{kind}_{i}" for i in range(shape.layers) for kind in ("key", "value")]
    return {name: engine.memory.zeros((1, shape.kv_heads, rows, shape.head_dim), shape.dtype) for name in names}


def _rows(tokens: NDArray[np.int64], start: int, capacity: int) -> dict[str, NDArray[np.generic]]:
    """Feeds of consecutive rows, each of which sees all settled ones, those before it, and itself."""
    count = len(tokens)
    visible = np.zeros((count, capacity + count), np.bool_)
    visible[:, :start] = True
    visible[:, capacity:] = np.tri(count, dtype=np.bool_)
    positions = np.broadcast_to(np.arange(start, start + count), (3, 1, count))
    return {"tokens": tokens[None], "positions": np.ascontiguousarray(positions), "visible": visible[None, None]}
