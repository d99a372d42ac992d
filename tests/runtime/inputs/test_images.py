"""Whatever comes as an image becomes upright 8-bit RGB, or an ImageError with what to do."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from a2d.engines.errors import ImageError, RequestError
from a2d.runtime.inputs.images import DEFAULT_PIXEL_BUDGET, FORMATS, ImageSource, load_image

COLOURS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2


def encoded(image: Image.Image, kind: str = "PNG", exif: Image.Exif | None = None) -> bytes:
    buffer = io.BytesIO()
    if exif is None:
        image.save(buffer, kind)
    else:
        image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


PNG = encoded(Image.fromarray(COLOURS))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_come_back_exactly(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(Image.fromarray(COLOURS), kind))
    for source in (path, str(path), path.read_bytes(), Image.open(path)):
        loaded = load_image(source)
        assert loaded.dtype == np.uint8
        assert np.array_equal(loaded, COLOURS)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_come_back_with_their_size(kind: str) -> None:
    assert load_image(encoded(Image.new("RGB", (9, 4), (200, 100, 50)), kind)).shape == (4, 9, 3)


def test_a_gif_gives_its_first_frame() -> None:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (3, 2), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert (load_image(buffer.getvalue()) == (255, 0, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.transpose(1, 0, 2),
        6: COLOURS[::-1].transpose(1, 0, 2),
        7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
        8: COLOURS[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    assert np.array_equal(load_image(encoded(Image.fromarray(COLOURS), exif=exif)), turned)


def test_colours_equal_transformers_for_every_8_bit_mode(tmp_path: Path) -> None:
    reference = pytest.importorskip("transformers.image_transforms").convert_to_rgb
    random = np.random.default_rng(0)
    colours = Image.fromarray(random.integers(0, 256, (6, 5, 4), np.uint8))
    palette = colours.convert("RGB").quantize(8)
    images = {f"{mode}.png": colours.convert(mode) for mode in ("1", "L", "LA", "RGB", "RGBA")}
    images |= {"P.png": palette, "P.gif": palette, "CMYK.tiff": colours.convert("RGB").convert("CMYK")}
    images |= {"CMYK.jpg": colours.convert("RGB").convert("CMYK"), "YCbCr.jpg": colours.convert("RGB")}
    images |= {"alpha.webp": colours, "alpha.tiff": colours, "alpha.gif": colours}
    for name, image in images.items():
        image.save(tmp_path / name)
    palette.save(tmp_path / "transparent.png", transparency=3)
    palette.save(tmp_path / "partly.png", transparency=bytes(range(0, 240, 30)))
    Image.fromarray(COLOURS).save(tmp_path / "keyed.png", transparency=(0, 2, 4))
    for name in (*images, "transparent.png", "partly.png", "keyed.png"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = load_image(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(loaded, reference(image, return_numpy=True)), name


@pytest.mark.parametrize("alpha", [0, 1, 127, 254, 255])
def test_transparency_is_composed_onto_white(alpha: int) -> None:
    black = np.zeros((2, 3, 4), np.uint8)
    black[..., 3] = alpha
    grey = Image.fromarray(np.tile(np.array([0, alpha], np.uint8), (2, 3, 1)))
    for source in (black, black[:, ::-1], encoded(Image.fromarray(black)), Image.fromarray(black), grey):
        assert (load_image(source) == 255 - alpha).all()


def test_palettes_with_alpha_are_composed_onto_white() -> None:
    image = Image.new("PA", (2, 2), (0, 0))
    image.putpalette([10, 20, 30] * 256)
    assert (load_image(image) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(kind: str) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    grey = load_image(encoded(Image.fromarray(values), kind))
    assert grey[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
    assert np.array_equal(load_image(Image.fromarray(values.astype(np.int32))), grey)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("F", (2, 2)), "floating-point"),
        (Image.fromarray(np.array([[70000, 3]], np.int32)), "from 3 to 70000"),
        (Image.new("RGB", (0, 4)), "0x4 pixels"),
    ],
)
def test_pixels_without_a_known_range_are_refused(image: Image.Image, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(image)


def test_one_pixel_is_an_image() -> None:
    assert load_image(encoded(Image.new("RGB", (1, 1), (1, 2, 3)))).tolist() == [[[1, 2, 3]]]


def test_arrays() -> None:
    assert np.array_equal(load_image(COLOURS), COLOURS)
    assert np.array_equal(load_image(np.dstack([COLOURS, np.full((5, 7), 255, np.uint8)])), COLOURS)
    grey = load_image(COLOURS[:, :, 0])
    assert grey.shape == (5, 7, 3)
    assert (grey == COLOURS[:, :, :1]).all()


@pytest.mark.parametrize(
    "array",
    [
        COLOURS.astype(np.float32),
        COLOURS.astype(np.int8),
        COLOURS.transpose(2, 0, 1),
        COLOURS[None],
        COLOURS[:, :, :2],
        COLOURS[0, 0],
        np.zeros((0, 4, 3), np.uint8),
        np.array(3, np.uint8),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"expected uint8 \[H, W\]"):
        load_image(array)


def png_claiming(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


def test_the_budget_is_checked_before_decoding() -> None:
    assert png_claiming(7, 5) == PNG
    with pytest.raises(ImageError, match=f"9000x9000 = 81000000 pixels, the budget is {DEFAULT_PIXEL_BUDGET}"):
        load_image(png_claiming(9000, 9000))
    with pytest.raises(ImageError, match="more pixels than Pillow allows"):
        load_image(png_claiming(60000, 60000))


@pytest.mark.parametrize("source", [PNG, COLOURS, Image.fromarray(COLOURS)], ids=["bytes", "array", "pillow"])
def test_the_budget_holds_for_every_source(source: ImageSource) -> None:
    assert load_image(source, budget=35).shape == (5, 7, 3)
    with pytest.raises(ImageError, match="7x5 = 35 pixels, the budget is 34"):
        load_image(source, budget=34)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    refused: dict[str | Path, str] = {
        tmp_path: "is a directory",
        tmp_path / "empty.png": "is empty",
        tmp_path / "missing.png": "cannot find an image",
        "https://example.org/slate.png": "downloads nothing",
        "\0": "cannot find an image",
        "x" * 5000: "cannot find an image",
    }
    for path, message in refused.items():
        with pytest.raises(ImageError, match=message):
            load_image(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no device files")
def test_devices_are_refused() -> None:
    with pytest.raises(ImageError, match="device or a pipe"):
        load_image(os.devnull)


@pytest.mark.parametrize("data", [b"not an image at all", encoded(Image.new("RGB", (4, 4)), "PPM"), PNG[1:]])
def test_other_formats_are_refused_with_the_list(data: bytes) -> None:
    with pytest.raises(ImageError, match=", ".join(FORMATS)):
        load_image(data)


def test_empty_bytes_and_other_types() -> None:
    with pytest.raises(ImageError, match="0 bytes"):
        load_image(b"")
    with pytest.raises(ImageError, match="got int as an image"):
        load_image(3)  # type: ignore[arg-type]
    assert issubclass(ImageError, RequestError)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(ImageError, match="damaged or cut short"):
        load_image(data[: len(data) // 2])


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.sampled_from(FORMATS), st.data())
def test_damage_gives_an_image_or_an_image_error(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(encoded(Image.fromarray(COLOURS), kind))
    spots = st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255))
    for at, value in data.draw(st.lists(spots, min_size=1, max_size=8)):
        damaged[at] = value
    try:
        loaded = load_image(bytes(damaged), budget=10_000)
    except ImageError:
        return
    assert loaded.dtype == np.uint8
    assert loaded.ndim == 3
