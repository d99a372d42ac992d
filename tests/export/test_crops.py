"""Pictures in crops against transformers' LLaVA-OneVision: pixels, and the order and the mixing of features."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel

from a2d.runtime.inputs.crop_patches import Cropped, prepare_crops
from a2d.runtime.inputs.crops import Crops
from a2d.runtime.inputs.patches import VisionSpec, fitted
from a2d.runtime.schema import Violations, from_json, to_json

SIZE, PATCH = 20, 3
GRIDS = tuple((SIZE * rows, SIZE * columns) for rows in range(1, 5) for columns in range(1, 5))
SIDE = SIZE // PATCH


def spec(most: int = 2) -> VisionSpec:
    return VisionSpec(
        patch_size=PATCH,
        merge_size=1,
        temporal_patch_size=1,
        window_size=SIZE,
        in_channels=3,
        min_pixels=1,
        max_pixels=2**30,
        image_mean=(0.5, 0.4, 0.3),
        image_std=(0.5, 0.6, 0.7),
        rescale_factor=1 / 255,
        resample=3,
        image_token_id=1,
        video_token_id=2,
        vision_start_token_id=None,
        vision_end_token_id=None,
        tokens_per_second=1.0,
        crops=Crops(SIZE, GRIDS, most),
    )


def theirs(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Pixels `[N, 3, SIZE, SIZE]` of each picture of one prompt."""
    processor = LlavaOnevisionImageProcessorPil(
        size={"height": SIZE, "width": SIZE},
        image_grid_pinpoints=[list(grid) for grid in GRIDS],
        image_mean=[0.5, 0.4, 0.3],
        image_std=[0.5, 0.6, 0.7],
        do_pad=False,
    )
    return [np.asarray(x) for x in processor([[Image.fromarray(picture) for picture in pictures]])["pixel_values"]]


def patches(pixels: np.ndarray) -> np.ndarray:
    """What a convolution with stride PATCH sees of crops."""
    kernel = torch.eye(3 * PATCH**2).reshape(-1, 3, PATCH, PATCH)
    seen = torch.nn.functional.conv2d(torch.from_numpy(pixels), kernel, stride=PATCH)
    return seen.flatten(2).transpose(1, 2).numpy()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(1, 150), st.integers(1, 150))
def test_pixels_are_those_of_transformers(height: int, width: int) -> None:
    one = picture(height, width)
    np.testing.assert_allclose(prepare_crops(one, spec(), alone=True).pixels, patches(theirs([one])[0]), atol=1e-6)


def test_several_pictures_are_a_square_each() -> None:
    several = [picture(30, 70), picture(44, 12), picture(25, 25)]
    for one, expected in zip(several, theirs(several), strict=True):
        made = prepare_crops(one, spec(), alone=False)
        assert made.tokens == SIDE**2 + 1
        np.testing.assert_allclose(made.pixels, patches(expected), atol=1e-6)


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 9))
def test_features_are_packed_as_in_transformers(height: int, width: int, most: int) -> None:
    """Chosen by size, freed of bars, reduced, ended line by line."""
    index, weight = spec(most).crops.arrange(height, width, SIDE)  # type: ignore[union-attr]
    rows, columns = spec(most).crops.best(height, width)  # type: ignore[union-attr]
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1 + rows * columns // SIZE**2, SIDE**2, 5)).astype(np.float32)
    newline = rng.normal(size=5).astype(np.float32)
    vision = SimpleNamespace(image_size=SIZE, patch_size=PATCH)
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision, image_grid_pinpoints=[list(g) for g in GRIDS]))
    (packed,), _ = LlavaOnevisionModel.pack_image_features(
        model, [torch.from_numpy(features)], [(height, width)], torch.from_numpy(newline), f"anyres_max_{most}"
    )
    ended = [np.concatenate([crop, newline[None]]) for crop in features]
    made = Cropped(np.zeros((0, 0, 0), np.float32), index, weight).joined(ended)
    np.testing.assert_allclose(made, packed.numpy(), atol=1e-5)


def test_a_frame_is_kept_as_it_is_until_it_is_cut() -> None:
    one = picture(30, 70)
    assert fitted(one, spec()) is one


def test_a_spec_is_its_json() -> None:
    assert from_json(VisionSpec, to_json(spec())) == spec()


@pytest.mark.parametrize("grids", [(), ((20, 30),), ((20,),), ((20, 20, 20),)])
def test_bad_grids(grids: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(Violations, match="grids"):
        Crops(SIZE, grids, 2)
