"""Masks of allowed tokens: bits by hand."""

from __future__ import annotations

import numpy as np
import pytest

from a2d.runtime.decode.block import all_but


@pytest.mark.parametrize("forbidden", [(), (0,), (7, 8), (5, 5, 23), tuple(range(24))])
def test_every_token_is_allowed_but_the_forbidden(forbidden: tuple[int, ...]) -> None:
    mask = all_but(forbidden, 3)
    assert (mask.shape, mask.dtype) == ((1, 3), np.uint8)
    bits = [byte >> bit & 1 for byte in mask[0].tolist() for bit in range(8)]
    assert [token for token, bit in enumerate(bits) if not bit] == sorted(set(forbidden))
