"""How many tokens each step settles: sums, and values worked out by hand or by the published samplers' formulas."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2d.runtime.decode.rules import SCHEDULES, base_remainder, linear_round

blocks = st.integers(1, 200).flatmap(
    lambda block: st.tuples(st.integers(0, block), st.just(block), st.integers(1, block))
)


@pytest.mark.parametrize("name", list(SCHEDULES))
@given(case=blocks)
def test_counts_sum_to_the_masks_and_none_is_idle(name, case):
    masks, block, steps = case
    counts = SCHEDULES[name](masks, block, steps)
    assert sum(counts) == masks
    assert len(counts) <= steps
    assert all(count > 0 for count in counts)


@given(blocks)
def test_base_remainder_differs_by_one_at_most_and_front_first(case):
    _, block, steps = case
    counts = base_remainder(block, block, steps)
    assert len(counts) == steps
    assert counts == sorted(counts, reverse=True)
    assert counts[0] - counts[-1] <= 1


@given(blocks)
def test_linear_round_is_the_rounded_share_of_what_is_left(case):
    """In exact fractions, wherever a half is not at stake: those are decided by float32, as in the original."""
    masks, block, steps = case
    left = masks
    counts = iter(linear_round(masks, block, steps))
    for step in range(steps, 0, -1):
        share = Fraction(left, step)
        if share.denominator == 2:
            return
        count = round(share)
        assert not count or next(counts) == count
        left -= count


@pytest.mark.parametrize(
    ("schedule", "masks", "block", "steps", "counts"),
    [
        (linear_round, 32, 32, 5, [6, 6, 7, 6, 7]),
        (base_remainder, 32, 32, 5, [7, 7, 6, 6, 6]),
        (linear_round, 32, 32, 4, [8, 8, 8, 8]),
        (base_remainder, 32, 32, 4, [8, 8, 8, 8]),
        (base_remainder, 5, 32, 4, [5]),
        (linear_round, 5, 32, 4, [1, 1, 2, 1]),
        (base_remainder, 9, 8, 3, [3, 3, 2]),
        (base_remainder, 8, 8, 8, [1] * 8),
        (linear_round, 8, 8, 8, [1] * 8),
        (linear_round, 1, 8, 4, [1]),
        (base_remainder, 1, 8, 4, [1]),
        (linear_round, 0, 8, 4, []),
        (base_remainder, 0, 8, 4, []),
        (linear_round, 7, 8, 1, [7]),
    ],
)
def test_counts_by_hand(schedule, masks, block, steps, counts):
    assert schedule(masks, block, steps) == counts
