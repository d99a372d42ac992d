"""Pictures to patches: specs, sizes, pixels and windows, held against transformers' own."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from bundles import VISION
from hypothesis import given
from hypothesis import strategies as st

from a2d.engines.errors import ImageError
from a2d.runtime.inputs.images import Letterbox
from a2d.runtime.inputs.patches import Patches, VisionSpec, prepare, smart_resize
from a2d.runtime.schema import Violations, from_json, to_json

IMAGE, VIDEO, START, END = 90, 91, 92, 93

SPEC = replace(
    VISION,
    patch_size=4,
    window_size=16,
    min_pixels=16 * 16,
    max_pixels=40 * 40,
    image_mean=(0.48145466, 0.4578275, 0.40821073),
    image_std=(0.26862954, 0.26130258, 0.27577711),
    vision_end_token_id=END,
    tokens_per_second=4,
)

specs = st.builds(
    partial(replace, SPEC),
    patch_size=st.integers(1, 5),
    merge_size=st.integers(1, 3),
    temporal_patch_size=st.integers(1, 3),
    window_size=st.integers(15, 40),
)
sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def raster(patches: Patches, merge: int) -> np.ndarray:
    """The patches in transformers' order: [T * h * w, K]."""
    groups = patches.pixels.reshape(patches.grid.t, -1, merge**2, patches.pixels.shape[-1])
    return groups[:, patches.order].reshape(-1, patches.pixels.shape[-1])


# -- the spec


def test_a_spec_survives_json() -> None:
    boxed = replace(SPEC, letterbox=Letterbox(112, 224, (114, 114, 114)))
    for spec in (SPEC, boxed, replace(SPEC, vision_start_token_id=None, vision_end_token_id=None)):
        assert from_json(VisionSpec, json.loads(json.dumps(to_json(spec)))) == spec


def test_wrong_keys_are_listed_together() -> None:
    data = to_json(SPEC)
    del data["patch_size"], data["resample"]
    with pytest.raises(Violations) as caught:
        from_json(VisionSpec, data | {"pach_size": 14, "colour": 1})
    assert caught.value.lines == [
        "the whole: unknown key 'pach_size'",
        "the whole: unknown key 'colour'",
        "patch_size: missing",
        "resample: missing",
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("patch_size", 0, "got 0, expected 1 to 256"),
        ("patch_size", -14, "got -14, expected 1 to 256"),
        ("patch_size", 14.0, "got 14.0, expected a whole number"),
        ("patch_size", True, "got True, expected a whole number"),
        ("patch_size", "14", "got '14', expected a whole number"),
        ("patch_size", 10**400, "expected a whole number"),
        ("merge_size", None, "got None, expected a whole number"),
        ("in_channels", 4, "got 4, expected 3 to 3"),
        ("max_pixels", 10**12, f"got {10**12}, expected 1 to {2**30}"),
        ("image_mean", [0.5, 0.5], "got 2 numbers, expected 3"),
        ("image_mean", [0.5] * 4, "got 4 numbers, expected 3"),
        ("image_mean", 0.5, "got 0.5, expected a list"),
        ("image_std", [0.5, 0.5, 0.0], r"\[2\]: got 0.0, expected 1e-06 to 100"),
        ("image_std", [0.5, 0.5, float("nan")], r"\[2\]: got nan, expected a number"),
        ("rescale_factor", 255, "got 255, expected 1e-09 to 1"),
        ("resample", 6, "got 6, expected 0 to 5"),
        ("image_token_id", -1, "got -1, expected 0 to"),
        ("image_token_id", None, "got None, expected a whole number"),
        ("vision_start_token_id", -1, "got -1, expected 0 to"),
        ("tokens_per_second", 0, "got 0, expected 1e-06 to 1000"),
        ("tokens_per_second", [1], r"got \[1\], expected a number"),
        ("min_pixels", 10000, "got 10000, expected at most max_pixels, 1600"),
        ("window_size", 7, "got 7, expected at least a merge group, 8 pixels"),
    ],
)
def test_absurd_values_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(Violations, match=f"{key}.*{message}"):
        from_json(VisionSpec, to_json(SPEC) | {key: value})


def test_all_contradictions_are_listed_together() -> None:
    with pytest.raises(Violations) as caught:
        replace(SPEC, min_pixels=10000, window_size=7, image_std=(1.0,))
    assert [line.split(":")[0] for line in caught.value.lines] == ["image_std", "min_pixels", "window_size"]


# -- sizes


@pytest.fixture(scope="module")
def processor_module() -> Any:
    return pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")


def test_smart_resize_equals_transformers(processor_module: Any) -> None:
    random = np.random.default_rng(0)
    for height, width in random.integers(1, 300, (500, 2)).tolist():
        if max(height, width) <= 200 * min(height, width):
            wanted = processor_module.smart_resize(height, width, SPEC.factor, SPEC.min_pixels, SPEC.max_pixels)
            assert smart_resize(height, width, SPEC) == wanted


def test_extreme_aspect_ratios_are_refused() -> None:
    assert smart_resize(1, 200, SPEC) == (8, 232)
    for size in ((1, 201), (201, 1)):
        with pytest.raises(ImageError, match="at most 200:1"):
            smart_resize(*size, SPEC)


# -- pixels


@pytest.mark.parametrize("merge", [1, 2])
def test_images_equal_those_of_transformers(processor_module: Any, merge: int) -> None:
    spec = replace(SPEC, merge_size=merge)
    processor = processor_module.Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=merge, temporal_patch_size=2, min_pixels=256, max_pixels=1600
    )
    for height, width in [(9, 5), (16, 16), (33, 47), (100, 20), (3, 60), (1, 1), (250, 333)]:
        image = noise(height, width, height)
        wanted = processor([image], input_data_format="channels_last", return_tensors="np")
        got = prepare([image], spec)
        assert [[got.grid.t, got.grid.h, got.grid.w]] == wanted["image_grid_thw"].tolist()
        assert got.tokens == got.grid.t * len(got.order) == len(wanted["pixel_values"]) // merge**2
        assert got.pixels.dtype == np.float32
        assert np.array_equal(raster(got, merge), wanted["pixel_values"])


def test_a_video_is_its_frames_interleaved() -> None:
    frames = [noise(20, 30, seed) for seed in range(3)]
    video = prepare(frames, SPEC, is_video=True, fps=8.0)
    assert (video.grid.t, video.grid.is_video, video.grid.seconds_per_group) == (2, True, 0.25)
    stills = [prepare([frame], SPEC).pixels.reshape(-1, 3, 2, 16) for frame in frames]
    pixels = video.pixels.reshape(2, -1, 3, 2, 16)
    # The odd last frame stands in both places of its group.
    for group, place, frame in ((0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 2)):
        assert np.array_equal(pixels[group, :, :, place], stills[frame][:, :, place])


def test_feeds_are_the_frame_groups_in_turn() -> None:
    video = prepare(np.stack([noise(20, 30, seed) for seed in range(5)]), SPEC, is_video=True)
    feeds = list(video.feeds())
    assert len(feeds) == 3 == video.grid.t
    assert video.grid.seconds_per_group == 1.0
    for feed, pixels in zip(feeds, video.pixels, strict=True):
        assert np.array_equal(feed["pixels"], pixels)
        assert set(feed) == {"pixels", "positions", "real", "order"}


def test_a_letterbox_gives_every_frame_the_same_grid() -> None:
    spec = replace(SPEC, letterbox=Letterbox(32, 64), min_pixels=1, max_pixels=1)
    for height, width in [(32, 64), (1, 1), (1, 500), (500, 1), (9, 16), (700, 33)]:
        got = prepare([noise(height, width)], spec)
        assert (got.grid.h, got.grid.w, got.tokens) == (8, 16, 32)
    video = prepare([noise(20, 30, seed) for seed in range(3)], spec, is_video=True)
    assert (video.grid.t, video.grid.h, video.grid.w) == (2, 8, 16)


def test_a_frame_of_the_letterbox_s_size_is_what_it_is_without() -> None:
    frame, fixed = noise(32, 64), replace(SPEC, min_pixels=32 * 64, max_pixels=32 * 64)
    boxed = prepare([frame], replace(fixed, letterbox=Letterbox(32, 64)))
    assert np.array_equal(boxed.pixels, prepare([frame], fixed).pixels)


def test_a_letterbox_is_made_of_merge_groups() -> None:
    with pytest.raises(Violations, match="letterbox: got 64x30, expected multiples of a merge group, 8"):
        replace(SPEC, letterbox=Letterbox(30, 64))


@pytest.mark.parametrize(
    ("frames", "is_video", "fps", "message"),
    [
        ([], False, None, "got 0 frames, expected exactly 1"),
        ([], True, None, "got 0 frames, expected at least 1"),
        ([noise(8, 8)] * 2, False, None, "got 2 frames, expected exactly 1"),
        ([noise(8, 8), noise(8, 9)], True, None, "sizes 8x8, 9x8, expected one"),
        ([noise(8, 8).astype(np.float32)], False, None, "got a frame float32"),
        ([noise(8, 8)[:, :, 0]], False, None, r"got a frame uint8\[8, 8\]"),
        ([noise(8, 8)[:0]], False, None, r"got a frame uint8\[0, 8, 3\]"),
        ([noise(8, 8)], True, 0.0, "got 0.0 frames per second"),
        ([noise(8, 8)], True, float("nan"), "got nan frames per second"),
        ([noise(2, 500)], False, None, "at most 200:1"),
    ],
)
def test_unusable_frames_are_refused(frames: Any, is_video: bool, fps: float | None, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        prepare(frames, SPEC, is_video, fps)


# -- windows


@given(specs, sizes)
def test_windows_are_a_padded_permutation(spec: VisionSpec, size: tuple[int, int]) -> None:
    patches = prepare([noise(*size)], spec)
    grid, merge = patches.grid, spec.merge_size
    groups = grid.h * grid.w // merge**2
    slots = patches.real.reshape(-1, merge**2)
    assert len(patches.real) % spec.slots_per_window == 0
    assert (slots.all(1) == slots.any(1)).all()
    assert sorted(patches.order) == np.flatnonzero(slots[:, 0]).tolist()
    assert len(patches.order) == groups == patches.tokens
    assert patches.real.reshape(-1, spec.slots_per_window).any(1).all()
    assert not patches.pixels[:, ~patches.real].any()
    assert not patches.positions[~patches.real].any()
    rows, columns = patches.positions[patches.real].T
    assert sorted(rows * grid.w + columns) == list(range(grid.h * grid.w))


@given(specs, sizes)
def test_patches_of_a_window_lie_within_its_side(spec: VisionSpec, size: tuple[int, int]) -> None:
    patches = prepare([noise(*size)], spec)
    side = spec.window_groups * spec.merge_size
    windows = patches.positions.reshape(-1, spec.slots_per_window, 2) // side
    for window, real in zip(windows, patches.real.reshape(windows.shape[:2]), strict=True):
        assert len({tuple(place) for place in window[real]}) == 1


@pytest.mark.parametrize("merge", [1, 2, 3])
def test_windows_equal_those_of_transformers(merge: int) -> None:
    torch = pytest.importorskip("torch")
    vision_utils = pytest.importorskip("transformers.vision_utils")
    spec = replace(SPEC, merge_size=merge, window_size=28)
    for height, width in [(8, 8), (30, 70), (70, 30), (56, 28), (60, 60)]:
        patches = prepare([noise(height, width)], spec)
        thw = torch.tensor([[1, patches.grid.h, patches.grid.w]])
        index, borders = vision_utils.get_vision_window_index(thw, merge, spec.window_size, spec.patch_size)
        assert np.argsort(patches.order).tolist() == index.tolist()
        assert patches.real.reshape(-1, spec.slots_per_window).sum(1).tolist() == borders.diff().tolist()
        positions = vision_utils.get_vision_position_ids(thw, merge).reshape(-1, merge**2, 2)[index]
        assert patches.positions[patches.real].tolist() == positions.reshape(-1, 2).tolist()
