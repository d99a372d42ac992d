"""Positions of a prompt with pictures in Qwen2.5-VL's text model: time, row and column of every token (mrope).

Knows token ids and the grids of pictures; nothing of pixels, or of how a prompt is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...engines.errors import RequestError
from .patches import Grid, VisionSpec

__all__ = ["mrope_positions"]


def mrope_positions(tokens: ArrayLike, grids: Sequence[Grid], spec: VisionSpec) -> tuple[NDArray[np.int64], int]:
    """Positions [3, L] (time, row, column) of a prompt of L tokens, and that of the first generated token.

    `grids` has one entry per image or video, in the order of the prompt. Text counts up on all three axes; a
    picture spreads over them from where it stands, and the text after it goes on behind its longer side, as
    in transformers' `Qwen2_5_VLModel.get_rope_index` (one sequence, no padding).

    Raises `RequestError` where the picture tokens are not exactly those that `grids` ask for.
    """
    tokens = np.asarray(tokens, np.int64).reshape(-1)
    pictured = np.flatnonzero((tokens == spec.image_token_id) | (tokens == spec.video_token_id))
    _check_count(len(pictured), grids, spec)
    pieces, row, position = [], 0, 0
    for grid in grids:
        first, count = int(pictured[0]), grid.tokens(spec)
        _check_run(tokens[first : first + count], first, grid, spec)
        pieces += [_text(position, first - row), _picture(position + first - row, grid, spec)]
        position += first - row + max(grid.h, grid.w) // spec.merge_size
        row, pictured = first + count, pictured[count:]
    pieces.append(_text(position, len(tokens) - row))
    positions = np.concatenate(pieces, axis=1)
    return positions, int(positions.max(initial=-1)) + 1


def _text(position: int, count: int) -> NDArray[np.int64]:
    return np.tile(np.arange(position, position + count), (3, 1))


def _picture(position: int, grid: Grid, spec: VisionSpec) -> NDArray[np.int64]:
    """Positions [3, tokens] of one picture. Time is scaled in float32 and rounded down, as torch does it."""
    seconds = np.float32(grid.seconds_per_group) * np.float32(spec.tokens_per_second) if grid.is_video else 1
    time = (np.arange(grid.t, dtype=np.float32) * seconds).astype(np.int64)
    rows, columns = np.arange(grid.h // spec.merge_size), np.arange(grid.w // spec.merge_size)
    return position + np.stack(np.meshgrid(time, rows, columns, indexing="ij")).reshape(3, -1)


def _check_count(found: int, grids: Sequence[Grid], spec: VisionSpec) -> None:
    wanted = [grid.tokens(spec) for grid in grids]
    if found != sum(wanted):
        raise RequestError(
            f"the prompt has {found} picture tokens, expected {sum(wanted)} for {len(grids)} pictures "
            f"{wanted}; write one picture token per merge group"
        )


def _check_run(run: NDArray[np.int64], first: int, grid: Grid, spec: VisionSpec) -> None:
    kind, wanted = ("video", spec.video_token_id) if grid.is_video else ("image", spec.image_token_id)
    if not (run == wanted).all():
        raise RequestError(
            f"the picture at token {first} is not {grid.tokens(spec)} {kind} tokens ({wanted}) in a row; "
            "give the pictures in the order of the prompt"
        )
