"""Positions of prompts with pictures, held against transformers' own; prompts that do not fit their pictures."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bundles import VISION
from hypothesis import given
from hypothesis import strategies as st

from a2d.engines.errors import RequestError
from a2d.runtime.inputs.patches import Grid, VisionSpec
from a2d.runtime.inputs.prompt import mrope_positions

IMAGE, VIDEO, START, END = 90, 91, 92, 93

SPEC = replace(
    VISION,
    patch_size=4,
    window_size=16,
    vision_end_token_id=END,
    tokens_per_second=4,
)

grids = st.builds(
    lambda t, h, w, is_video, fps: Grid(t if is_video else 1, 2 * h, 2 * w, is_video, 2 / fps),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 6),
    st.booleans(),
    st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.0, 23.976, 25.0]),
)


def prompt(pictures: list[Grid], texts: list[int], spec: VisionSpec = SPEC) -> list[int]:
    tokens = [1] * texts[0]
    for grid, text in zip(pictures, texts[1:], strict=True):
        kind = spec.video_token_id if grid.is_video else spec.image_token_id
        tokens += [START, *[kind] * grid.tokens(spec), END, *[1] * text]
    return tokens


@pytest.fixture(scope="module")
def rope_index() -> Any:
    """Transformers' own positions, from its method alone: no model is built."""
    torch = pytest.importorskip("torch")
    model = pytest.importorskip("transformers.models.qwen2_5_vl.modeling_qwen2_5_vl").Qwen2_5_VLModel

    def positions(tokens: list[int], pictures: list[Grid], spec: VisionSpec) -> tuple[np.ndarray, int]:
        vision = SimpleNamespace(spatial_merge_size=spec.merge_size, tokens_per_second=spec.tokens_per_second)
        host = SimpleNamespace(
            config=SimpleNamespace(vision_config=vision),
            get_vision_position_ids=partial(model.get_vision_position_ids, None),
        )
        ids = torch.tensor([tokens])
        kinds = (ids == spec.image_token_id).int() + 2 * (ids == spec.video_token_id).int()
        split = [[[g.t, g.h, g.w] for g in pictures if g.is_video == kind] for kind in (False, True)]
        thw = [torch.tensor(part) if part else None for part in split]
        seconds = torch.tensor([g.seconds_per_group for g in pictures if g.is_video])
        got, delta = model.get_rope_index(host, ids, kinds, thw[0], thw[1], seconds)
        return got[:, 0].numpy(), int(delta[0, 0]) + len(tokens)

    return positions


@given(pictures=st.lists(grids, max_size=4), data=st.data(), speed=st.sampled_from([1, 2, 4, 25]))
def test_positions_equal_those_of_transformers(
    rope_index: Any, pictures: list[Grid], data: st.DataObject, speed: int
) -> None:
    counts = st.integers(0, 5)
    texts = [data.draw(st.integers(1, 5)), *[data.draw(counts) for _ in pictures]]
    spec = replace(SPEC, tokens_per_second=speed)
    tokens = prompt(pictures, texts)
    wanted, wanted_next = rope_index(tokens, pictures, spec)
    got, after = mrope_positions(tokens, pictures, spec)
    assert got.dtype == np.int64
    assert np.array_equal(got, wanted)
    assert after == wanted_next


def test_positions_of_text_and_of_nothing() -> None:
    positions, after = mrope_positions([5, 6, 7], [], SPEC)
    assert positions.tolist() == [[0, 1, 2]] * 3
    assert after == 3
    positions, after = mrope_positions([], [], SPEC)
    assert positions.shape == (3, 0)
    assert after == 0


def test_pictures_may_touch() -> None:
    """Transformers takes neighbouring images for one; nothing in the model asks for that."""
    pair = [Grid(1, 2, 4), Grid(1, 4, 2)]
    positions, after = mrope_positions([IMAGE] * 4, pair, SPEC)
    assert positions.tolist() == [[0, 0, 2, 2], [0, 0, 2, 3], [0, 1, 2, 2]]
    assert after == 4


@pytest.mark.parametrize(
    ("tokens", "pictures", "message"),
    [
        ([1, IMAGE, 1], [], "1 picture tokens, expected 0 for 0 pictures"),
        ([1, 1], [Grid(1, 2, 2)], "0 picture tokens, expected 1"),
        ([IMAGE] * 3, [Grid(1, 2, 4)], r"3 picture tokens, expected 2 for 1 pictures \[2\]"),
        ([IMAGE, 1, IMAGE], [Grid(1, 2, 4)], "at token 0 is not 2 image tokens"),
        ([1, VIDEO], [Grid(1, 2, 2)], "at token 1 is not 1 image tokens"),
        ([IMAGE, START, VIDEO], [Grid(1, 2, 2, True), Grid(1, 2, 2)], "at token 0 is not 1 video tokens"),
    ],
)
def test_prompts_that_do_not_fit_their_pictures(tokens: list[int], pictures: list[Grid], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        mrope_positions(tokens, pictures, SPEC)


def test_a_grid_is_plain_data() -> None:
    assert Grid(**asdict(Grid(1, 2, 3))) == Grid(1, 2, 3)
