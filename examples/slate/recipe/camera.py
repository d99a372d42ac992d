"""Holds a board in front of a background, and films it: pinhole, shadow, light, lens, noise, codecs. With OpenCV.

Every effect grows with the difficulty d. Knows pixels and points; nothing of slates.
"""

from __future__ import annotations

import io
import math
from functools import cache
from random import Random

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from .assets import photo, photos

__all__ = ["backdrop", "film", "fit", "hold"]

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""Width, height."""

cv2.setNumThreads(1)


def backdrop(rng: Random, size: Size, held_out: bool) -> Pixels:
    """A photograph in or out of focus, a plain or shaded wall, a green screen, lights out of focus."""
    kind, known = rng.random(), photos(held_out)
    if known and kind < 0.55:
        by = rng.choice((1, 1, rng.randint(3, 14), rng.randint(3, 14), rng.randint(3, 14)))
        small = (max(size[0] // by, 4), max(size[1] // by, 4))  # what is out of focus needs no more pixels
        image = _cut(rng, photo(rng.choice(known)), small, size)
        image = image if by == 1 else cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    elif kind < 0.62:
        image = np.empty((size[1], size[0], 3), np.uint8)
        image[:] = [rng.randint(10, 60), rng.randint(120, 210), rng.randint(15, 70)]
    elif kind < 0.8:
        spread, middle = rng.choice((6, 30, 90)), [rng.randint(20, 230) for _ in range(3)]
        low = np.array([[[c + rng.randint(-spread, spread) for c in middle] for _ in range(4)] for _ in range(3)])
        image = cv2.resize(np.clip(low, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
    else:
        image = _things(rng, size)
    return image


def _cut(rng: Random, image: Pixels, size: Size, shape: Size) -> Pixels:
    """A random part of a photograph in this size and of the other one's shape, mirrored or not."""
    height, width = image.shape[:2]
    share = rng.uniform(0.5, 1.0) * min(width / shape[0], height / shape[1])
    wide, tall = int(shape[0] * share), int(shape[1] * share)
    x, y = rng.randint(0, width - wide), rng.randint(0, height - tall)
    part = cv2.resize(image[y : y + tall, x : x + wide], size, interpolation=cv2.INTER_AREA)
    return cv2.flip(part, 1) if rng.random() < 0.5 else part


def _soft(image: Pixels, by: int) -> Pixels:
    small = cv2.resize(
        image, (max(image.shape[1] // by, 4), max(image.shape[0] // by, 4)), interpolation=cv2.INTER_AREA
    )
    return cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC)


def _things(rng: Random, size: Size) -> Pixels:
    """Lights and shapes before a dark or light wall."""
    image = np.empty((size[1], size[0], 3), np.uint8)
    image[:] = [rng.randint(5, 200)] * 3
    for _ in range(rng.randint(4, 30)):
        colour = [rng.randint(0, 255) for _ in range(3)]
        at = (rng.randint(0, size[0]), rng.randint(0, size[1]))
        if rng.random() < 0.5:
            cv2.circle(image, at, rng.randint(3, size[1] // 5), colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(image, at, (rng.randint(0, size[0]), rng.randint(0, size[1])), colour, rng.choice((-1, 2, 5)))
    return _soft(image, rng.randint(2, 16)) if rng.random() < 0.75 else image


def hold(rng: Random, board: Pixels, behind: Pixels, d: float, least: float) -> tuple[Pixels, NDArray[np.float64]]:
    """The board `[H, W, 4]` in front of a background, and the 3 x 3 matrix from its pixels to the frame's.

    It covers `least` to all of what fits, less the harder; a hand's tilt and a pinhole's perspective grow with d.
    """
    height, width = behind.shape[:2]
    quad = _quad(rng, board.shape[1] / board.shape[0], (width, height), d, least)
    # A board is first reduced to about its size in the frame: warping alone would alias.
    scale = min(1.0, 1.25 * max(np.ptp(quad[:, 0]) / board.shape[1], np.ptp(quad[:, 1]) / board.shape[0]))
    small = cv2.resize(board, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 0.95 else board
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    to = [cv2.getPerspectiveTransform(corners * np.array(b.shape[1::-1], np.float32), quad) for b in (small, board)]
    seen = cv2.warpPerspective(small, to[0], (width, height), flags=cv2.INTER_LINEAR)
    alpha = seen[:, :, 3]
    if rng.random() < 0.5:
        behind = cv2.multiply(behind, cv2.merge([_lit(rng, alpha)] * 3), dtype=cv2.CV_8U)
    share = cv2.merge([alpha] * 3)
    over = cv2.multiply(seen[:, :, :3], share, scale=1 / 255)
    return cv2.add(over, cv2.multiply(behind, 255 - share, scale=1 / 255)), to[1]


def _quad(rng: Random, aspect: float, size: Size, d: float, least: float) -> NDArray[np.float32]:
    """Corners of a board of this aspect, turned in space and seen by a pinhole, fitted into the frame."""
    yaw, pitch = rng.gauss(0, 0.05 + 0.3 * d), rng.gauss(0, 0.03 + 0.2 * d)
    roll = rng.gauss(0, 0.015 + 0.1 * d)
    flat = np.array([(-aspect, -1, 0), (aspect, -1, 0), (aspect, 1, 0), (-aspect, 1, 0)], np.float64) / 2
    turned = flat @ _turn(yaw, 1).T @ _turn(pitch, 0).T @ _turn(roll, 2).T
    seen = turned[:, :2] / (1 + turned[:, 2:] / rng.uniform(2.0, 5.0))
    seen -= seen.min(0)
    room, most = np.array(size, np.float64), seen.max(0)
    share = 1.0 - (1.0 - least) * rng.random() ** (1.6 - d)
    seen *= (room / most).min() * share * rng.choice((1.0, 1.0, 1.03))
    spare = room - seen.max(0)
    middle = np.array([0.5 + rng.uniform(-0.5, 0.5), 0.5 + rng.uniform(-0.5, 0.5)])
    return (seen + spare * middle).astype(np.float32)


def _turn(angle: float, axis: int) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    a, b = [(1, 2), (0, 2), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    return matrix


def _lit(rng: Random, alpha: Pixels) -> NDArray[np.float32]:
    """How much light the background gets beside the board's shadow."""
    small = cv2.resize(alpha, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
    moved = np.roll(small, (rng.randint(0, 3), rng.randint(-3, 3)), (0, 1)).astype(np.float32)
    soft = cv2.GaussianBlur(moved, (0, 0), rng.uniform(0.6, 2.5))
    return 1 - np.float32(rng.uniform(0.2, 0.7) / 255) * cv2.resize(soft, (alpha.shape[1], alpha.shape[0]))


def film(rng: Random, image: Pixels, d: float) -> Pixels:
    """What the camera makes of a scene: light, lens, sensor, codec."""
    image = _optics(rng, image, d)
    image = _sensed(rng, image, d)
    return _coded(rng, image, d)


def _optics(rng: Random, image: Pixels, d: float) -> Pixels:
    height, width = image.shape[:2]
    if rng.random() < 0.3 + 0.4 * d:  # fewer pixels, as a proxy or a crop has
        share = rng.uniform(max(0.85 - 0.45 * d, 0.45), 1.0)
        small = cv2.resize(image, (int(width * share), int(height * share)), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC)))
    if rng.random() < 0.25 + 0.3 * d:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.45 + 0.8 * d))
    if rng.random() < 0.4 * d:
        image = cv2.filter2D(image, -1, _streak(rng, rng.uniform(1.0, 1.0 + 3.5 * d)))
    return image


def _streak(rng: Random, length: float) -> NDArray[np.float32]:
    """A line of this length, as a kernel."""
    kernel, angle = np.zeros((9, 9), np.float32), rng.uniform(0, math.pi)
    for t in np.linspace(-0.5, 0.5, 15):
        x, y = 4 + t * length * math.cos(angle), 4 + t * length * math.sin(angle)
        kernel[round(y), round(x)] += 1
    return np.asarray(cv2.GaussianBlur(kernel, (0, 0), 0.5) / kernel.sum(), np.float32)


def _sensed(rng: Random, image: Pixels, d: float) -> Pixels:
    height, width = image.shape[:2]
    pixels = image.astype(np.float32)
    if rng.random() < 0.3 + 0.6 * d:  # light that falls off, reflections
        low = np.array([[1 + rng.gauss(0, 0.08 + 0.22 * d) for _ in range(4)] for _ in range(3)], np.float32)
        shade = cv2.resize(np.clip(low, 0.15, 2.0), (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.multiply(pixels, cv2.merge([shade] * 3), pixels)
    if rng.random() < 0.35 * d:
        low = np.zeros((5, 9), np.float32)
        low[rng.randrange(5), rng.randrange(9)] = rng.uniform(40, 60 + 140 * d)
        pixels += cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)[:, :, None]
    gain = math.exp(rng.gauss(-0.15 * d, 0.08 + 0.28 * d))
    tint = np.array([math.exp(rng.gauss(0, 0.02 + 0.08 * d)) for _ in range(3)], np.float32)
    floor = 255 * abs(rng.gauss(0, 0.01 + 0.07 * d))
    pixels *= tint * np.float32(gain * (1 - floor / 255))
    pixels += np.float32(floor)
    if rng.random() < 0.08 + 0.1 * d:
        pixels[:] = pixels.mean(2, keepdims=True)
    amount = abs(rng.gauss(0, 1.5 + 10 * d * d))
    y, x = rng.randrange(_NOISE - height), rng.randrange(_NOISE - width)
    grain = _noise()[y : y + height, x : x + width]
    cv2.scaleAdd(grain if rng.random() < 0.5 else cv2.merge([grain[:, :, 0]] * 3), amount, pixels, pixels)
    return cv2.convertScaleAbs(np.maximum(pixels, 0, out=pixels))


_NOISE = 1024


@cache
def _noise() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((_NOISE, _NOISE, 3), np.float32)


def _coded(rng: Random, image: Pixels, d: float) -> Pixels:
    kind = rng.random()
    if kind < 0.35 + 0.2 * d:
        quality = rng.randint(int(85 - 60 * d), 95)
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
    if kind > 0.97:
        return _video(image, rng.choice(("libx264", "mpeg2video", "mpeg4")), rng.uniform(0.1, 0.3 + 0.6 * d))
    return image


def _video(image: Pixels, codec: str, loss: float) -> Pixels:
    """One frame through a video codec; `loss` runs from 0 to 1."""
    height, width = image.shape[:2]
    options = {"crf": str(int(14 + 22 * loss)), "preset": "ultrafast", "threads": "1"} if codec == "libx264" else {}
    with io.BytesIO() as file:
        with av.open(file, "w", format="matroska") as out:
            stream = out.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            if not options:
                stream.codec_context.qmin = stream.codec_context.qmax = int(2 + 18 * loss)
            for packet in (*stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")), *stream.encode()):
                out.mux(packet)
        file.seek(0)
        with av.open(file) as seen:
            return next(seen.decode(video=0)).to_ndarray(format="rgb24")


def fit(image: Pixels, size: Size) -> tuple[Pixels, float, tuple[int, int]]:
    """A picture in the middle of a black frame of this size, how much it was scaled, and its corner there."""
    height, width = image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    wide, tall = round(width * scale), round(height * scale)
    if (wide, tall) != (width, height):
        image = cv2.resize(image, (wide, tall), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    left, top = (size[0] - wide) // 2, (size[1] - tall) // 2
    frame[top : top + tall, left : left + wide] = image
    return frame, scale, (left, top)
