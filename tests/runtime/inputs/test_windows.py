"""Windows of a picture: which pixels they show, whatever its size."""

from __future__ import annotations

from itertools import pairwise

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
def test_a_window_shows_its_share(picture, number):
    window, seen = WINDOWS[number], windowed(picture, number)
    height, width = round(100 * window.height), round(200 * window.width)
    assert seen.shape == (height, width, 3) and seen.dtype == np.uint8
    rows = np.clip(round(100 * window.upper) + np.arange(height), 0, 99)
    columns = np.clip(round(200 * window.left) + np.arange(width), 0, 199)
    assert np.array_equal(seen[..., 0], np.repeat(rows[:, None], width, 1))
    assert np.array_equal(seen[..., 1], np.repeat(columns[None], height, 0))


def test_windows_keep_proportions_and_parts_together_show_all_but_the_sides():
    parts = [one for one in WINDOWS if one.part]
    assert all(one.width == one.height for one in WINDOWS if not one.part) and not WINDOWS[0].part
    for width in (1.0, 0.8, 0.66):
        rows = sorted((one.upper, one.upper + one.height) for one in parts if one.width == width)
        assert rows[0][0] == 0 and rows[-1][1] == pytest.approx(1, abs=0.01)
        assert all(end > begin for (_, end), (begin, _) in pairwise(rows))


def test_all_windows_differ(picture):
    assert len({windowed(picture, number).tobytes() for number in range(len(WINDOWS))}) == len(WINDOWS)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (2, 2, 3)])
def test_a_picture_of_any_size_has_windows(shape):
    for number in range(len(WINDOWS)):
        assert min(windowed(np.zeros(shape, np.uint8), number).shape) >= 1
