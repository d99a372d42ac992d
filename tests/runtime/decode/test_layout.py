"""Blocks, reach and visibility, each against its definition row by row."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from toy import contract

from a2d.runtime.decode.block import Layout, chunks, visibility
from a2d.runtime.decode.contract import ALIGNMENTS, CONTEXT_MASKS

layouts = st.builds(
    Layout,
    st.integers(1, 30),
    st.integers(1, 9),
    st.sampled_from(list(ALIGNMENTS)),
    st.sampled_from(list(CONTEXT_MASKS)),
)
reaches = st.lists(st.integers(1, 12), max_size=40).map(
    lambda ahead: np.array([row + step for row, step in enumerate(ahead)], np.int64)
)


@given(layouts, st.integers(0, 40))
def test_reach_is_the_contract_pair_by_pair(layout, rows):
    c = contract(prompt_alignment=layout.alignment, context_mask=layout.context_mask, block_size=layout.block)
    reach = layout.reach(0, rows)
    for q in range(rows):
        for k in range(rows + layout.block):
            wanted = reference.sees(q, k, layout.prompt, -1, c, layout.block)
            assert (k < reach[q]) == wanted, (q, k)


@given(layouts, st.integers(0, 20), st.integers(0, 20))
def test_reach_of_a_part_is_a_part_of_the_reach(layout, start, count):
    assert np.array_equal(layout.reach(start, start + count), layout.reach(0, start + count)[start:])


@given(layouts)
def test_the_first_block_begins_on_the_grid_and_takes_in_the_prompts_end(layout):
    assert (layout.start + layout.offset) % layout.block == 0
    assert layout.start <= layout.prompt < layout.start + layout.block
    if layout.alignment == "left":
        assert layout.start == layout.prompt


@pytest.mark.parametrize(
    ("alignment", "start", "last", "size"),
    [("left", 10, 100, 8), ("left", 10, 13, 3), ("left", 10, 18, 8), ("tail", 8, 100, 8), ("tail", 8, 9, 8)],
)
def test_only_left_aligned_blocks_are_cut_short(alignment, start, last, size):
    assert Layout(10, 8, alignment, "block_causal", alignment == "left").size(start, last) == size


@pytest.mark.parametrize(
    ("alignment", "mask", "reach"),
    [
        ("tail", "block_causal", [4, 4, 4, 4, 8, 8, 8, 8, 12]),
        ("left", "block_causal", [2, 2, 6, 6, 6, 6, 10, 10, 10]),
        ("tail", "token_causal", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("left", "token_causal", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("tail", "causal_prompt", [1, 2, 3, 4, 5, 6, 8, 8, 12]),
        ("left", "causal_prompt", [1, 2, 3, 4, 5, 6, 10, 10, 10]),
    ],
)
def test_reach_by_hand(alignment, mask, reach):
    assert Layout(6, 4, alignment, mask).reach(0, 9).tolist() == reach


@given(reaches, st.integers(0, 20), st.integers(0, 20))
def test_visibility_is_reach_over_the_cached_and_the_new(reach, cached, spare):
    reach = reach + cached
    capacity = cached + spare
    seen = visibility(reach, cached, capacity)
    assert seen.shape == (1, 1, len(reach), capacity + len(reach))
    for row, limit in enumerate(reach):
        for column in range(capacity + len(reach)):
            key = column if column < cached else column - capacity + cached
            hidden = cached <= column < capacity  # taken memory that holds no row yet
            assert seen[0, 0, row, column] == (not hidden and key < limit)


@given(reaches, st.integers(0, 20), st.integers(1, 15))
def test_chunks_are_closed_and_as_large_as_the_limit_lets_them(reach, first, limit):
    reach = reach + first
    sizes = chunks(reach, first, limit)
    assert sum(sizes) == len(reach)
    closed = [all(reach[: end + 1] <= first + end + 1) for end in range(len(reach))]
    at = 0
    for size in sizes:
        end = at + size
        assert size > 0
        assert closed[end - 1] or not any(closed[at:])  # open only where nothing after it closes either
        ends = [e + 1 for e in range(at, len(reach)) if closed[e]]
        near = [e for e in ends if e <= at + limit]
        if near:
            assert end == near[-1]
        elif ends:
            assert end == ends[0]
        at = end


def test_chunks_by_hand():
    assert chunks(np.array([2, 2, 6, 6, 6, 6, 10, 10]), 0, 4) == [2, 4, 2]
    assert chunks(np.arange(1, 11), 0, 4) == [4, 4, 2]
    assert chunks(np.full(10, 10), 0, 4) == [10]
    assert chunks(np.array([], np.int64), 5, 4) == []
