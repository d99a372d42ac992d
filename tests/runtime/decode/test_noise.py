"""Random numbers as data: pinned values, an independent Philox, uniformity, and independence of order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2d.runtime.decode.noise import uniform

WORD = 2**64 - 1


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10, written from Salmon et al. 2011: what another language has to do."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        first, second = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b, c, d = (second >> 64) ^ b ^ k0, second & WORD, (first >> 64) ^ d ^ k1, first & WORD
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & WORD, (k1 + 0xBB67AE8584CAA73B) & WORD
    return [a, b, c, d]


@settings(max_examples=50)
@given(st.integers(0, WORD), st.integers(0, 2**40), st.integers(0, 2**20), st.integers(1, 9))
def test_noise_is_philox_counted_from_one(seed, block, step, rows):
    words: list[int] = []
    while len(words) < rows:
        words += philox([len(words) // 4 + 1, 0, step, block], [seed, 0])
    expected = [(word >> 40) / 2**24 for word in words[:rows]]
    assert uniform(seed, block, step, rows)[0].tolist() == expected


@pytest.mark.parametrize(
    ("seed", "block", "step", "bits"),
    [
        (0, 0, 0, [193722, 4052523, 1869415, 9469306, 8428531]),
        (0, 0, 1, [10798432, 1065822, 2018691, 5679812, 11468384]),
        (0, 1, 0, [5740874, 9672307, 1453779, 10662453, 1125250]),
        (1, 0, 0, [5093026, 14238970, 2619506, 521879, 15103998]),
        (2**64 - 1, 7, 31, [5545379, 15824082, 5673681, 10919557, 14555543]),
    ],
)
def test_values_are_pinned(seed, block, step, bits):
    assert (uniform(seed, block, step, 5)[0] * 2**24).astype(int).tolist() == bits


def test_noise_is_float32_below_one():
    noise = uniform(3, 1, 4, 10_000)
    assert (noise.dtype, noise.shape) == (np.float32, (1, 10_000))
    assert noise.min() >= 0 and noise.max() < 1


def test_noise_is_uniform():
    """Kolmogorov and Smirnov: fixed seed, so that it either always passes or never."""
    noise = np.sort(uniform(0, 0, 0, 100_000)[0])
    distance = np.abs(noise - (np.arange(len(noise)) + 0.5) / len(noise)).max()
    assert distance < 1.63 / len(noise) ** 0.5  # one in a hundred seeds is worse


def test_no_two_steps_share_their_noise():
    seen = {uniform(s, b, i, 2).tobytes() for s in range(6) for b in range(6) for i in range(6)}
    assert len(seen) == 6**3


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8), st.randoms())
def test_noise_does_not_depend_on_what_was_drawn_before(places, random):
    first = {place: uniform(5, *place, 6).tolist() for place in places}
    random.shuffle(places)
    assert {place: uniform(5, *place, 6).tolist() for place in places} == first


def test_longer_blocks_begin_with_the_same_noise():
    assert np.array_equal(uniform(5, 1, 2, 40)[:, :7], uniform(5, 1, 2, 7))
