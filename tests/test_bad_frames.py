"""Frames as cameras, browsers and broken copies leave them: read as what they show, or said clearly why not.

Every file is made here with Pillow. What is the same picture in another coat must give the same reading, to the bit;
the others must give a finite reading or an error of their own, and none may end the batch.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import a2d
from a2d.engines.errors import ImageError
from a2d.runtime.inputs.images import load_image

WIDTH, HEIGHT = 224, 112
UPRIGHT, TURNED_LEFT, UPSIDE_DOWN = 1, 6, 3


def picture() -> Image.Image:
    """Sixteen colours in bars, a different row at the top: nothing in it survives a wrong turn or a wrong palette."""
    colours = np.random.default_rng(5).integers(0, 256, (16, 3), np.uint8)
    pixels = np.repeat(np.tile(colours, (HEIGHT, 1, 1)), WIDTH // 16, axis=1)
    pixels[:10] = (200, 30, 60)
    return Image.fromarray(pixels)


PLAIN = picture()


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def transparent(image: Image.Image) -> Image.Image:
    """Opaque where the picture is, and clear black around it, which is white on paper."""
    canvas = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0))
    canvas.paste(image.crop((0, 0, WIDTH, 60)), (0, 0))
    return canvas


def on_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", (WIDTH, HEIGHT), "white")
    canvas.paste(image.crop((0, 0, WIDTH, 60)), (0, 0))
    return canvas


def deep_grey(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def animated(image: Image.Image, path: Path) -> None:
    image.quantize(64).save(path, save_all=True, append_images=[Image.new("P", image.size)] * 3)


SAME: dict[str, tuple[Callable[[Path], None], Image.Image]] = {
    "alpha.png": (lambda path: PLAIN.convert("RGBA").save(path), PLAIN),
    "clear.png": (lambda path: transparent(PLAIN).save(path), on_white(PLAIN)),
    "clear.webp": (lambda path: transparent(PLAIN).save(path, lossless=True), on_white(PLAIN)),
    "palette.png": (lambda path: PLAIN.quantize(64).save(path), PLAIN),
    "palette-key.png": (lambda path: PLAIN.quantize(64).save(path, transparency=63), PLAIN),
    "animated.gif": (lambda path: animated(PLAIN, path), PLAIN),
    "grey.png": (lambda path: PLAIN.convert("L").save(path), PLAIN.convert("L").convert("RGB")),
    "grey-alpha.png": (lambda path: PLAIN.convert("LA").save(path), PLAIN.convert("L").convert("RGB")),
    "grey-16.png": (lambda path: deep_grey(PLAIN).save(path), PLAIN.convert("L").convert("RGB")),
    "grey-16.tiff": (lambda path: deep_grey(PLAIN).save(path), PLAIN.convert("L").convert("RGB")),
    "bit.png": (lambda path: PLAIN.convert("1").save(path), PLAIN.convert("1").convert("RGB")),
    "cmyk.tiff": (lambda path: PLAIN.convert("CMYK").save(path), PLAIN),
    "left.png": (lambda path: PLAIN.rotate(90, expand=True).save(path, exif=exif(TURNED_LEFT)), PLAIN),
    "down.tiff": (lambda path: PLAIN.rotate(180).save(path, exif=exif(UPSIDE_DOWN)), PLAIN),
    "tiff.png": (lambda path: PLAIN.save(path, "TIFF"), PLAIN),
    "no-suffix": (lambda path: PLAIN.save(path, "PNG"), PLAIN),
}
"""File name to its writer and the picture that it shows."""


def truncated(path: Path) -> None:
    buffer = io.BytesIO()
    PLAIN.save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[: buffer.tell() // 2])


def headless(path: Path) -> None:
    buffer = io.BytesIO()
    PLAIN.save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[8:])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.png": (lambda path: path.touch(), "is empty, expected an image file"),
    "text.png": (lambda path: path.write_text("scene 12A take 3"), "is in no format that a2d reads"),
    "headless.png": (headless, "is in no format that a2d reads"),
    "truncated.jpg": (truncated, "is damaged or cut short"),
    "folder.png": (lambda path: path.mkdir(), "is a directory, expected an image file"),
    "huge.png": (lambda path: Image.new("1", (16_384, 8_192)).save(path), "= 134217728 pixels, the budget is"),
    "float.tiff": (lambda path: Image.new("F", (8, 8)).save(path), "floating-point pixels"),
    "missing.png": (lambda _: None, "cannot find an image"),
    "icon.ico": (lambda path: PLAIN.resize((32, 32)).save(path), "is in no format that a2d reads"),
}
"""File name to its writer and the reason that is given."""

ODD: dict[str, Callable[[Path], None]] = {
    "one.png": lambda path: Image.new("RGB", (1, 1), "red").save(path),
    "wide.png": lambda path: PLAIN.resize((16_384, 100)).save(path),
    "thread.png": lambda path: PLAIN.resize((16_384, 1)).save(path),
    "tower.png": lambda path: PLAIN.resize((3, 9_000)).save(path),
    "cmyk.jpg": lambda path: PLAIN.convert("CMYK").save(path),
    "rgb-48.png": lambda path: path.write_bytes(rgb_48()),
}
"""Pictures that are read although they look like trouble."""


def rgb_48() -> bytes:
    """A PNG of 16 bits per channel, which Pillow reads and does not write: 4 x 2 pixels of one orange."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 4, 2, 16, 2, 0, 0, 0)
    rows = (b"\0" + struct.pack(">3H", 0xFF80, 0x8040, 0x0020) * 4) * 2
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("frames")
    for name, writer in [*((n, w) for n, (w, _) in [*SAME.items(), *BAD.items()]), *ODD.items()]:
        writer(made / name)
    return made


@pytest.mark.parametrize("name", SAME)
def test_the_same_picture_in_another_coat(folder: Path, name: str) -> None:
    assert np.array_equal(load_image(folder / name), np.asarray(SAME[name][1]))


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_says_why(folder: Path, name: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(folder / name)
    assert BAD[name][1] in str(caught.value) and name in str(caught.value)


def test_deep_colour_keeps_its_high_bits(folder: Path) -> None:
    assert (load_image(folder / "rgb-48.png") == (0xFF, 0x80, 0x00)).all()


def test_cmyk_jpegs_keep_their_colours(folder: Path) -> None:
    loaded = load_image(folder / "cmyk.jpg").astype(int)
    assert np.abs(loaded - np.asarray(PLAIN)).mean() < 12  # JPEG's own loss on hard edges


def test_no_frame_ends_the_batch(slate: Path, folder: Path) -> None:
    model = a2d.load(slate, threads=1)
    names = [*SAME, *BAD, *ODD]
    made = {Path(str(r.image)).name: r for r in model.each([folder / name for name in names], max_tokens=40)}
    assert list(made) == names
    for name, reading in made.items():
        assert (reading.error is not None) == (name in BAD), name
        assert reading.error is None or BAD[name][1] in str(reading.error)
    for name in ODD:
        assert model.prompt(images=[folder / name]).rows.is_feature.sum() == 128, (
            name
        )  # the letterbox's grid, whatever came
    for name, (_, shown) in SAME.items():
        alone = model.generate(images=[np.asarray(shown)], max_tokens=40)
        assert made[name].result.tokens == alone.tokens, name  # type: ignore[union-attr]
