"""Rows, masks and noise of both training stages.

Autoregressive: `[prompt | clean]`, every row sees what is before it and predicts the next one.

Block diffusion: `[prompt | clean | noisy 1 | ... | noisy K]`. All copies of the answer have the same positions. A row
of the prompt sees the prompt up to itself, a clean row the prompt and the clean blocks up to its own, a noisy row
the prompt, the clean blocks *before* its own, and its own block in its own copy. So every noisy block is denoised
exactly as the decode loop denoises it (docs/decoding.md, `causal_prompt`, `left`), all of them in one forward; several
noisy copies share the cost of the prompt and its image.

Knows rows; nothing of networks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .words import MASK, STOP

__all__ = ["autoregressive_mask", "diffusion_mask", "draw_noise", "wanted"]


def autoregressive_mask(prompt: int, answer: int) -> NDArray[np.bool_]:
    """Which rows `[q, k]` see which, token by token."""
    return np.tri(prompt + answer, dtype=np.bool_)


def diffusion_mask(prompt: int, answer: int, block: int, copies: int) -> NDArray[np.bool_]:
    """Which rows `[q, k]` see which, for `copies` noisy copies behind the clean one.

    Raises ValueError for an answer that is no whole number of blocks.
    """
    if answer % block:
        raise ValueError(f"the answer has {answer} rows, expected a multiple of the block size {block}; fill it up")
    copy = np.concatenate([np.full(prompt, -1), np.repeat(np.arange(copies + 1), answer)])
    place = np.concatenate([np.arange(prompt), np.tile(np.arange(answer) // block, copies + 1)])
    q_copy, k_copy, q, k = copy[:, None], copy[None], place[:, None], place[None]
    in_prompt = (k_copy == -1) & ((q_copy >= 0) | (k <= q))
    earlier = (k_copy == 0) & ((q_copy > 0) & (k < q) | (q_copy == 0) & (k <= q))
    own = (k_copy == q_copy) & (k_copy > 0) & (k == q)
    return np.asarray(in_prompt | earlier | own)


def draw_noise(
    rng: np.random.Generator, rows: NDArray[np.int64], block: int, high: float, full: float
) -> NDArray[np.int64]:
    """A noisy copy of answers `[N, L]`: each block has a mask rate in (0, high); a share `full` is all masks."""
    count, length = rows.shape
    shape = (count, length // block)
    rate = np.where(rng.random(shape) < full, 1.0, rng.uniform(0, high, shape))
    if block == 1:
        rate[:] = 1.0  # a lone row that is not masked teaches nothing
    hidden = rng.random(rows.shape) < np.repeat(rate, block, axis=1)
    return np.where(hidden, MASK, rows)


def wanted(rows: NDArray[np.int64], block: int) -> NDArray[np.bool_]:
    """Rows that a decode would still produce: up to the end of the block with the first stop token."""
    first = np.argmax(rows == STOP, axis=1)
    return np.asarray(np.arange(rows.shape[1]) < ((first // block + 1) * block)[:, None])
