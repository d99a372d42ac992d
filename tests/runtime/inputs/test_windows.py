"""Windows of a picture: which pixels they show, whatever its size."""

from __future__ import annotations

import numpy as np
import pytest

from a2d.runtime.inputs.windows import WINDOWS, windowed


@pytest.fixture
def picture():
    """Pixels that say where they are: row, column, nothing."""
    rows, columns = np.mgrid[:100, :200]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def test_the_first_look_is_the_picture(picture):
    assert np.array_equal(windowed(picture, 0), picture)
    assert np.array_equal(windowed(picture, len(WINDOWS)), picture)


@pytest.mark.parametrize("number", range(1, len(WINDOWS)))
def test_a_window_shows_its_share_in_the_same_proportions(picture, number):
    left, upper, size = WINDOWS[number]
    seen = windowed(picture, number)
    height, width = (round(size * length) for length in picture.shape[:2])
    assert seen.shape == (height, width, 3) and seen.dtype == np.uint8
    rows = np.clip(round(100 * upper) + np.arange(height), 0, 99)
    columns = np.clip(round(200 * left) + np.arange(width), 0, 199)
    assert np.array_equal(seen[..., 0], np.repeat(rows[:, None], width, 1))
    assert np.array_equal(seen[..., 1], np.repeat(columns[None], height, 0))


def test_all_windows_differ(picture):
    assert len({windowed(picture, number).tobytes() for number in range(len(WINDOWS))}) == len(WINDOWS)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (2, 2, 3)])
def test_a_picture_of_any_size_has_windows(shape):
    for number in range(len(WINDOWS)):
        assert min(windowed(np.zeros(shape, np.uint8), number).shape) >= 1
