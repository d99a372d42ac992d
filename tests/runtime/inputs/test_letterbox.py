"""A frame on a canvas: the whole of it, undistorted, centred, and untouched where it fits already."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import LETTERBOXED, VISION
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from a2d.runtime.inputs.images import Letterbox
from a2d.runtime.inputs.patches import reduced
from a2d.runtime.schema import Violations, from_json, to_json

BOX = Letterbox(112, 224)
BICUBIC = 3
sides = st.integers(1, 3000)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("resample", range(6))
def test_a_frame_of_the_same_size_is_not_touched(resample: int) -> None:
    frame = noise(112, 224)
    assert np.array_equal(BOX.apply(frame, resample), frame)


@pytest.mark.parametrize(
    ("height", "width", "fitted"),
    [
        (1080, 1920, (112, 199)),  # 16:9 leaves 12 and 13 columns of bars
        (858, 2048, (94, 224)),  # scope leaves 9 and 9 rows
        (56, 112, (112, 224)),
        (1, 1, (112, 112)),
        (1, 16_000, (1, 224)),
        (16_000, 1, (112, 1)),
        (224, 112, (112, 56)),
    ],
)
def test_sizes(height: int, width: int, fitted: tuple[int, int]) -> None:
    assert BOX.fitted(height, width) == fitted


@given(sides, sides, sides, sides)
def test_one_side_is_full_and_the_other_is_within_half_a_pixel(h: int, w: int, height: int, width: int) -> None:
    made = Letterbox(h, w).fitted(height, width)
    assert made[0] == h or made[1] == w
    assert 1 <= made[0] <= h and 1 <= made[1] <= w
    exact = min(h / height, w / width)
    assert all(abs(got - max(side * exact, 0.5)) <= 0.5 + 1e-9 for got, side in zip(made, (height, width), strict=True))


def test_the_frame_stands_in_the_middle_of_black() -> None:
    made = BOX.apply(np.full((1080, 1920, 3), 200, np.uint8), BICUBIC)
    assert made.shape == (112, 224, 3)
    assert (made[:, 12:211] == 200).all()
    assert not made[:, :12].any() and not made[:, 211:].any()


def test_bars_take_the_colour_that_is_declared() -> None:
    made = Letterbox(112, 224, (10, 20, 30)).apply(noise(50, 50), BICUBIC)
    assert (made[:, :56] == (10, 20, 30)).all() and (made[:, 168:] == (10, 20, 30)).all()


def test_reducing_looks_at_every_pixel() -> None:
    """Fine stripes become grey; a filter that skips pixels would keep some of them."""
    frame = np.zeros((1120, 2240, 3), np.uint8)
    frame[:, ::2] = 255
    made = BOX.apply(frame, BICUBIC)
    assert np.abs(made[:, 2:-2].astype(int) - 128).max() <= 2  # the outermost pixels have neighbours on one side only


def test_the_middle_is_pillow_s_own_resize() -> None:
    frame = noise(270, 480)
    wanted = Image.fromarray(frame).resize((199, 112), Image.Resampling.BICUBIC)
    assert np.array_equal(BOX.apply(frame, BICUBIC)[:, 12:211], np.asarray(wanted))


@pytest.mark.parametrize(
    ("shape", "kept"),
    [((1080, 1920), (224, 398)), ((402, 960), (188, 448)), ((224, 398), (224, 398)), ((40, 60), (40, 60))],
)
def test_a_frame_is_kept_at_twice_its_size_on_the_canvas_at_most(shape: tuple[int, int], kept: tuple[int, int]) -> None:
    frame = noise(*shape)
    made = reduced(frame, LETTERBOXED, 2)
    assert made.shape[:2] == kept
    assert np.array_equal(made, frame if kept == shape else Image.fromarray(frame).resize(kept[::-1], BICUBIC))
    assert reduced(frame, VISION, 2) is frame  # no canvas, no size to keep


def test_json() -> None:
    assert from_json(Letterbox, {"height": 112, "width": 224}) == BOX
    assert from_json(Letterbox, to_json(BOX)) == BOX
    with pytest.raises(Violations, match="fill: got 4 numbers, expected 3"):
        Letterbox(1, 1, (0, 0, 0, 0))
