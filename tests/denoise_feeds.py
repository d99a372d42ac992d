"""Inputs of a denoise graph of width 64 over 160 tokens: every row masked, two tokens wanted."""

from __future__ import annotations

import numpy as np


def denoise_feeds(rows: int, chance: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "hidden": chance.normal(size=(1, rows, 64)).astype(np.float32),
        "carry": np.zeros((1, 1, 64), np.float32),
        "gather": np.arange(1, rows + 1)[None],
        "tokens": np.full((1, rows), 3),
        "masked": np.ones((1, rows), np.bool_),
        "count": np.array([2]),
        "threshold": np.array([2.0], np.float32),
        "allowed": np.full((1, 20), 255, np.uint8),
        "allowed_by": np.zeros((1, rows), np.int64),
    }
