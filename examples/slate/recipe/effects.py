"""What stands between a slate and its frame: perspective, optics, light, sensor, a hand in the way.

Every effect grows with the difficulty d and vanishes at 0. Knows nothing of slates.
"""

from __future__ import annotations

import math
from io import BytesIO
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["Homography", "Quad", "draw_quad", "homography", "lens", "light", "occlude", "place", "project", "sensor"]

Quad = tuple[tuple[float, float], ...]
"""Corners clockwise from the top left, in pixels."""

Homography = NDArray[np.float64]
"""3 x 3, board to frame."""


def draw_quad(rng: Random, size: tuple[int, int], d: float) -> Quad:
    """Where a board stands in a frame: straight and filling it at 0, smaller, turned and tilted towards 1."""
    width, height = size
    scale = rng.uniform(0.97 - 0.25 * d, 1.0)
    w, h = scale * width, scale * height * rng.uniform(0.94 - 0.14 * d, 1.0)
    cx = width / 2 + rng.uniform(-0.5, 0.5) * (width - w)
    cy = height / 2 + rng.uniform(-0.5, 0.5) * (height - h)
    angle, jitter = math.radians(rng.uniform(-1, 1) * 7 * d), 0.012 + 0.05 * d
    corners = []
    for right, down in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)):
        x, y = (right + rng.uniform(-jitter, jitter)) * w, (down + rng.uniform(-jitter, jitter)) * h
        turned = (x * math.cos(angle) - y * math.sin(angle) + cx, x * math.sin(angle) + y * math.cos(angle) + cy)
        corners.append((min(max(turned[0], -4.0), width + 4.0), min(max(turned[1], -4.0), height + 4.0)))
    return tuple(corners)


def homography(size: tuple[int, int], quad: Quad) -> Homography:
    """Maps the corners of a board of this size to the quad."""
    width, height = size
    rows, values = [], []
    for (x, y), (u, v) in zip(((0, 0), (width, 0), (width, height), (0, height)), quad, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    solved = np.linalg.solve(np.array(rows, np.float64), np.array(values, np.float64))
    return np.append(solved, 1.0).reshape(3, 3)


def project(matrix: Homography, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points `[N, 2]` of the board in the frame."""
    moved = np.c_[points, np.ones(len(points))] @ matrix.T
    return np.asarray(moved[:, :2] / moved[:, 2:])


def place(board: Image.Image, quad: Quad, behind: Image.Image) -> Image.Image:
    """The board, its corners at those of the quad, in front of a background."""
    matrix = homography(board.size, quad)
    inverse = np.linalg.inv(matrix)
    data = tuple((inverse / inverse[2, 2]).reshape(-1)[:8])
    # Nearest is a quarter of the cost of bilinear; that the frame is reduced afterwards smooths it as well.
    seen = board.transform(behind.size, Image.Transform.PERSPECTIVE, data, Image.Resampling.NEAREST)
    inside = Image.new("L", behind.size)
    ImageDraw.Draw(inside).polygon([corner for point in quad for corner in point], fill=255)
    behind.paste(seen, (0, 0), inside)
    return behind


def occlude(rng: Random, image: Image.Image, boxes: NDArray[np.float64], d: float) -> None:
    """A hand, a stand, tape: something over the board that covers none of the boxes `[N, 4]`."""
    draw, (width, height) = ImageDraw.Draw(image), image.size
    for _ in range(rng.choice((0, 1, 1, 2)) if rng.random() < 0.15 + 0.6 * d else 0):
        for _ in range(6):  # tries
            w, h = rng.uniform(0.05, 0.15 + 0.15 * d) * width, rng.uniform(0.1, 0.2 + 0.3 * d) * height
            x, y = rng.uniform(-w / 2, width - w / 2), rng.uniform(-h / 2, height - h / 2)
            hit = (boxes[:, 0] < x + w) & (boxes[:, 2] > x) & (boxes[:, 1] < y + h) & (boxes[:, 3] > y)
            if not hit.any():
                _blob(rng, draw, (x, y, x + w, y + h))
                break


def lens(rng: Random, image: Image.Image, d: float) -> Image.Image:
    """Defocus and motion, in pixels of the final frame."""
    if rng.random() < 0.3 + 0.4 * d:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.25 + 0.55 * d)))
    if rng.random() < 0.35 * d:
        image = image.filter(_streak(rng, rng.uniform(0, 1.1 * d)))
    return image


def light(rng: Random, pixels: NDArray[np.float32], d: float) -> None:
    """Exposure, contrast, colour of the light, uneven light and glare, in place. Pixels in 0..1."""
    height, width, _ = pixels.shape
    gain = 1 + rng.uniform(-0.45, 0.3) * d
    floor = rng.uniform(0, 0.22) * d
    tint = np.array([1 + rng.uniform(-0.12, 0.12) * d for _ in range(3)], np.float32)
    pixels *= np.float32(gain * (1 - floor)) * tint
    pixels += np.float32(floor)
    if rng.random() < 0.6 * d:
        ramp = np.linspace(1 - rng.uniform(0, 0.5) * d, 1 + rng.uniform(0, 0.2) * d, width, dtype=np.float32)
        pixels *= ramp[None, :: rng.choice((1, -1)), None]
    if rng.random() < 0.5 * d:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        wide, tall = rng.uniform(0.05, 0.3) * width, rng.uniform(0.1, 0.5) * height
        across = np.exp(-(((np.arange(width, dtype=np.float32) - x) / wide) ** 2))
        down = np.exp(-(((np.arange(height, dtype=np.float32) - y) / tall) ** 2))
        pixels += np.float32(rng.uniform(0.1, 0.55) * d) * (down[:, None] * across)[:, :, None]


def sensor(rng: Random, pixels: NDArray[np.float32], d: float) -> NDArray[np.uint8]:
    """Noise, 8 bits, and sometimes a codec."""
    noise = np.random.Generator(np.random.SFC64(rng.getrandbits(64)))
    amount = np.float32(rng.uniform(0, 0.012 + 0.07 * d * d))
    shape = pixels.shape if rng.random() < 0.4 else (*pixels.shape[:2], 1)
    pixels += amount * noise.standard_normal(shape, np.float32)
    frame = (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    return _compressed(frame, rng.randint(int(90 - 55 * d), 95)) if rng.random() < 0.25 + 0.35 * d else frame


def _compressed(frame: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    packed = BytesIO()
    Image.fromarray(frame).save(packed, "JPEG", quality=quality)
    return np.asarray(Image.open(packed, formats=("JPEG",)))


def _streak(rng: Random, length: float) -> ImageFilter.Kernel:
    """A 5 x 5 kernel that smears along a line of this length to both sides."""
    angle = rng.uniform(0, math.pi)
    dx, dy = math.cos(angle) * length, math.sin(angle) * length
    across, along = np.meshgrid(np.arange(-2, 3), np.arange(-2, 3))
    kernel = np.zeros((5, 5))
    for t in np.linspace(-1, 1, 9):
        kernel += np.clip(1 - abs(across - t * dx), 0, 1) * np.clip(1 - abs(along - t * dy), 0, 1)
    return ImageFilter.Kernel((5, 5), kernel.reshape(-1).tolist(), scale=float(kernel.sum()))


def _blob(rng: Random, draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
    skin = rng.choice(((224, 172, 140), (141, 85, 54), (92, 60, 42), (240, 200, 175)))
    tape = rng.choice(((230, 230, 220), (40, 40, 45), (200, 180, 60), (70, 90, 140)))
    if rng.random() < 0.5:
        draw.rounded_rectangle(box, radius=min(box[2] - box[0], box[3] - box[1]) / 2, fill=skin)
    else:
        draw.rectangle(box, fill=tape)
