"""Parts of filming by themselves: places and times, noise, boards, prompts, and the cache's slots."""

from __future__ import annotations

import numpy as np
import pytest
from film_contracts import contract
from hypothesis import given
from hypothesis import strategies as st

from a2d.engines.host import HostBuffer, HostMemory
from a2d.runtime.decode.cache import CacheShape
from a2d.runtime.film.board import fitted
from a2d.runtime.film.cache import FrameCache
from a2d.runtime.film.clip import Block, Window, clip_of
from a2d.runtime.film.contract import TextSpec
from a2d.runtime.film.noise import Drawn, normal
from a2d.runtime.film.positions import rotations, sinusoid
from a2d.runtime.film.text import cleaned

# -- times and places


def test_a_sinusoid_is_cosines_then_sines_in_float64():
    made = sinusoid([0.0, 937.5, 833.3333129882812], 8)
    for row, t in zip(made, (0.0, 937.5, 833.3333129882812), strict=True):
        angles = [t / 10000 ** (k / 4) for k in range(4)]
        np.testing.assert_array_equal(row, np.float32([*np.cos(angles), *np.sin(angles)]))


def test_rotations_turn_neighbouring_channels_by_time_height_and_width():
    cos, sin = rotations(5, 2, (2, 3), (8, 4, 4), 10000.0)
    assert cos.shape == sin.shape == (12, 16)
    row = 1 * 6 + 1 * 3 + 2  # frame 6, line 1, column 2
    angles = [6 / 10000 ** (2 * i / 8) for i in range(4)]
    angles += [1 / 10000 ** (2 * i / 4) for i in range(2)] + [2 / 10000 ** (2 * i / 4) for i in range(2)]
    np.testing.assert_array_equal(cos[row], np.repeat(np.float32(np.cos(angles)), 2))
    np.testing.assert_array_equal(sin[row, 0::2], -np.float32(np.sin(angles)))
    np.testing.assert_array_equal(sin[row, 1::2], np.float32(np.sin(angles)))


# -- blocks


@given(st.integers(1, 21), st.booleans(), st.integers(1, 4), st.none() | st.integers(1, 4))
def test_blocks_cover_a_clip_without_gaps(latents, picture, block, first):
    made = contract(block_frames=block, first_frames=first)
    blocks = clip_of(made, made.pixel_frames(latents), 32, 48, picture).blocks
    assert [frame for b in blocks for frame in range(b.start, b.end)] == list(range(latents))
    assert [b.index for b in blocks] == list(range(len(blocks)))
    assert [b.given for b in blocks] == [picture, *[False] * (len(blocks) - 1)]
    assert all(len(b) == block for b in blocks[1:-1])


@given(st.integers(0, 30), st.integers(1, 3), st.integers(0, 3), st.integers(0, 5))
def test_a_window_counts_the_block_and_the_sink(start, length, sink, spare):
    block, window = Block(0, start, start + length), Window(sink + length + spare, sink)
    past = window.past(block)
    slow = [
        f for f in range(start) if block.end <= window.frames or f < sink or f >= block.end - (window.frames - sink)
    ]
    assert list(past) == slow
    assert len(past) + length <= window.frames or block.end <= window.frames


# -- noise


def test_noise_is_normal_and_the_same_numbers_for_ever():
    made = normal(7, 3, 2, 200_000)
    assert abs(made.mean()) < 0.01 and abs(made.std() - 1) < 0.01 and np.abs(made).max() < 6.7
    assert abs(np.mean(made**3)) < 0.03 and abs(np.mean(made**4) - 3) < 0.1
    np.testing.assert_allclose(normal(0, 0, 0, 4), FIRST, atol=1e-6)


FIRST = (-0.396777, 0.820419, 0.173718, 0.977148)
"""Numbers that another language has to draw."""


def test_noise_belongs_to_a_frame_not_to_a_block():
    drawn = Drawn(9, 4, (2, 3))
    whole = drawn.start(Block(0, 0, 6))
    np.testing.assert_array_equal(drawn.start(Block(1, 2, 5)), whole[:, 2:5])
    np.testing.assert_array_equal(drawn.fresh(Block(5, 2, 3), 1), drawn.fresh(Block(0, 0, 6), 1)[:, 2:3])
    assert np.abs(drawn.fresh(Block(0, 0, 6), 0) - whole).max() > 1
    assert np.abs(Drawn(10, 4, (2, 3)).start(Block(0, 0, 6)) - whole).max() > 1


# -- boards


def board(height: int, width: int) -> np.ndarray:
    return np.tile(np.linspace(10, 250, width).astype(np.uint8)[None, :, None], (height, 1, 3))


def test_a_board_of_the_clips_size_is_not_touched():
    picture = board(32, 48)
    made, said = fitted(picture, 32, 48, "letterbox")
    assert made is picture and said == ""


def test_a_board_of_the_same_shape_is_scaled():
    made, said = fitted(board(64, 96), 32, 48, "crop")
    assert made.shape == (32, 48, 3) and said == "the picture is 96x64, the clip 48x32: scaled"


def test_a_board_of_another_shape_gets_bars_or_is_cropped():
    boxed, said = fitted(board(48, 48), 32, 48, "letterbox")
    assert (boxed[:, :8] == 0).all() and (boxed[:, 40:] == 0).all() and boxed[:, 8:40].min() > 5
    assert "with black bars" in said and "[fit=crop]" in said
    cut, said = fitted(board(32, 96), 32, 48, "crop")
    assert cut.shape == (32, 48, 3) and cut.min() > 60 and cut.max() < 200 and "cropped" in said


# -- prompts


@pytest.mark.parametrize(
    ("prompt", "clean"),
    [
        ("  a\n b\t c ", "a b c"),
        ("fish &amp;amp; chips", "fish & chips"),
        ("a &lt;b&gt;", "a <b>"),
        ("", ""),
    ],
)
def test_prompts_are_cleaned_as_the_encoder_was_trained(prompt, clean):
    assert cleaned(prompt, TextSpec("t", 8, clean="wan")) == clean
    assert cleaned(prompt, TextSpec("t", 8)) == prompt


# -- the cache's slots


@given(st.lists(st.integers(1, 3), min_size=1, max_size=12), st.integers(0, 2), st.none() | st.integers(0, 4))
def test_a_cache_holds_the_frames_that_are_seen_each_in_one_slot(lengths, sink, spare):
    window = Window(None if spare is None else sink + max(lengths) + spare, sink)
    rows, shape = 2, CacheShape(1, 2, 4, "float32")
    cache = FrameCache(shape, rows, HostMemory())
    kept, start = None, 0
    for i, length in enumerate(lengths):
        block = Block(i, start, start + length)
        wanted = window.past(block)
        cache.show(wanted)
        assert sorted(cache.frames) == sorted(wanted)
        for name, buffer in cache.feeds().items():
            assert buffer.shape == (1, 2, rows * len(wanted), 4)
            for slot, frame in enumerate(cache.frames):
                np.testing.assert_array_equal(buffer.numpy()[0, 0, slot * rows], value(frame, name))
        new = [
            np.concatenate([filled(f, f"past_{n}", rows) for f in range(start, block.end)], 2)
            for n in ("key_0", "value_0")
        ]
        extra = np.full((1, 2, 3, 4), -1, np.float32)  # a merged forward gives the noisy rows as well
        cache.hold(
            {
                f"new_{n}": HostBuffer(np.concatenate([a, extra], 2))
                for n, a in zip(("key_0", "value_0"), new, strict=True)
            },
            range(start, block.end),
        )
        if i == len(lengths) // 2:
            kept = cache.kept(), block
        start = block.end
    assert kept is not None
    cache.restore(kept[0])
    after = Block(0, kept[1].end, kept[1].end + 1)
    cache.show(window.past(after))
    for slot, frame in enumerate(cache.frames):
        got = cache.feeds()["past_key_0"].numpy()[0, 1, slot * rows]
        np.testing.assert_array_equal(got, value(frame, "past_key_0"))


def value(frame: int, name: str) -> np.ndarray:
    return np.full(4, frame + (100 if "value" in name else 0), np.float32)


def filled(frame: int, name: str, rows: int) -> np.ndarray:
    return np.broadcast_to(value(frame, name), (1, 2, rows, 4)).astype(np.float32)
