"""Cuts in synthetic scenes, and which frames are read of what lies between them."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from clips import Part, held, moving, still
from hypothesis import given
from hypothesis import strategies as st

from a2d.runtime.footage.sampling import Sampling
from a2d.runtime.footage.scan import moments
from a2d.runtime.footage.shots import DETECTORS, scan

PARTS = [moving(1, 40), held("easy-01.png", 24), moving(2, 50), moving(3, 30), held("hard-05.png", 30)]
CUTS = [0, 40, 64, 114, 144]


def frames(parts):
    pictures = [part.draw(index) for part in parts for index in range(part.frames)]
    return [(512 * index, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)) for index, picture in enumerate(pictures)]


@pytest.mark.parametrize("name", ["adaptive", "content"])
def test_cuts_are_found_to_the_frame(name):
    found = scan(frames(PARTS), Fraction(24), name, 0.3)
    assert list(found.cuts) == CUTS
    assert found.shots == [(0, 40), (40, 64), (64, 114), (114, 144), (144, 174)]
    assert list(found.stamps) == [512 * index for index in range(174)]


def test_a_clip_may_be_one_shot():
    assert scan(frames(PARTS), Fraction(24), "whole", 0.3).cuts == (0,)


def test_a_moving_camera_is_no_cut():
    wide = np.random.default_rng(0).integers(0, 255, (30, 80, 3), np.uint8).repeat(4, 0).repeat(8, 1)
    pan = Part(60, lambda index: np.ascontiguousarray(wide[:112, 4 * index : 4 * index + 224]))
    assert scan(frames([pan]), Fraction(24), "adaptive", 0.3).cuts == (0,)


def test_shots_last_so_long_at_least():
    flashes = [moving(1, 40), Part(4, still(np.full((112, 224, 3), 250, np.uint8))), moving(2, 40)]
    assert len(scan(frames(flashes), Fraction(24), "adaptive", 0.05).cuts) == 3
    assert len(scan(frames(flashes), Fraction(24), "adaptive", 0.5).cuts) == 2


def test_nothing_has_no_shots():
    found = scan([], Fraction(24), "adaptive", 0.3)
    assert not found.stamps and found.cuts == ()
    assert scan(frames([moving(1, 1)]), Fraction(24), "content", 0.3).shots == [(0, 1)]


def test_every_detector_of_the_table_can_be_made():
    looks = {name: DETECTORS[name](12) for name in DETECTORS}
    assert [name for name, detector in looks.items() if detector is None] == ["whole"]


def even(count, rate=24):
    return np.arange(count + 1) / rate


def test_frames_of_each_shot_are_spread_evenly():
    assert moments([(0, 60), (60, 66)], even(66), Sampling(per_shot=3)) == [10, 30, 50, 61, 63, 65]
    assert moments([(0, 1)], even(1), Sampling(per_shot=3)) == [0]


def test_head_and_tail_are_read_closely():
    sampling = Sampling(per_shot=1, head=1.0, tail=1.0, every=0.25)
    assert moments([(0, 240)], even(240), sampling) == [0, 6, 12, 18, 120, 216, 222, 228, 234]


@given(st.integers(1, 300), st.integers(1, 9), st.floats(0, 30), st.floats(0, 30), st.floats(0.05, 5))
def test_every_shot_is_looked_at_and_no_frame_twice(count, per_shot, head, tail, every):
    cuts = sorted({0, count // 3, count // 2})
    shots = list(zip(cuts, [*cuts[1:], count], strict=True))
    found = moments(shots, even(count), Sampling("whole", 0.0, per_shot, head, tail, every))
    assert found == sorted(set(found)) and all(0 <= index < count for index in found)
    assert all(any(first <= index < end for index in found) for first, end in shots)
