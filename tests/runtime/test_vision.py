import json
from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2d.engines.errors import BundleError, ImageError, RequestError
from a2d.runtime.vision import Grid, Patches, VisionSpec, mrope_positions, prepare, smart_resize

IMAGE, VIDEO, START, END = 90, 91, 92, 93

SPEC = VisionSpec(
    patch_size=4,
    merge_size=2,
    temporal_patch_size=2,
    window_size=16,
    in_channels=3,
    min_pixels=16 * 16,
    max_pixels=40 * 40,
    image_mean=(0.48145466, 0.4578275, 0.40821073),
    image_std=(0.26862954, 0.26130258, 0.27577711),
    rescale_factor=1 / 255,
    resample=3,
    image_token_id=IMAGE,
    video_token_id=VIDEO,
    vision_start_token_id=START,
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
    for spec in (SPEC, replace(SPEC, vision_start_token_id=None, vision_end_token_id=None)):
        assert VisionSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_wrong_keys_are_listed_together() -> None:
    data = SPEC.to_json()
    del data["patch_size"], data["resample"]
    data |= {"pach_size": 14, "colour": 1}
    with pytest.raises(BundleError) as caught:
        VisionSpec.from_json(data)
    assert "unknown keys ['colour', 'pach_size'] and lacks ['patch_size', 'resample']" in str(caught.value)
    with pytest.raises(BundleError, match="list, expected an object"):
        VisionSpec.from_json([])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("patch_size", 0),
        ("patch_size", -14),
        ("patch_size", 14.0),
        ("patch_size", True),
        ("patch_size", "14"),
        ("patch_size", 10**6),
        ("merge_size", None),
        ("in_channels", 4),
        ("max_pixels", 10**12),
        ("image_mean", [0.5, 0.5]),
        ("image_mean", 0.5),
        ("image_std", [0.5, 0.5, 0.0]),
        ("image_std", [0.5, 0.5, float("nan")]),
        ("rescale_factor", 255),
        ("resample", 6),
        ("image_token_id", -1),
        ("image_token_id", None),
        ("tokens_per_second", 0),
        ("tokens_per_second", [1]),
    ],
)
def test_absurd_values_are_refused(key: str, value: Any) -> None:
    with pytest.raises(BundleError, match=f"{key} = "):
        VisionSpec.from_json(SPEC.to_json() | {key: value})


def test_all_absurd_values_are_listed_together() -> None:
    with pytest.raises(BundleError, match=r"patch_size = 0 is not .*; merge_size = 99 is not"):
        VisionSpec.from_json(SPEC.to_json() | {"patch_size": 0, "merge_size": 99})


def test_values_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(BundleError, match="min_pixels = 10000 is more than"):
        replace(SPEC, min_pixels=10000)
    with pytest.raises(BundleError, match="holds no merge group of 8 pixels"):
        replace(SPEC, window_size=7)


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


# -- positions

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
