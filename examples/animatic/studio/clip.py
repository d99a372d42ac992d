"""A scene to frames: who is where at what time, drawn over the backdrop under the camera.

Knows the parts and their order; nothing of prompts or models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from .backdrop import FEET, backdrop, light_side
from .camera import FRAMES, HEIGHT, WIDTH, View, views
from .figure import Canvas, Costume, Stand, draw_figure
from .layers import over
from .palettes import COSTUMES, HAIR, PALETTES, SKIN, THING_COLOURS, Palette, graded, mix
from .pose import Pose, pose
from .scene import SIDES, Scene

__all__ = ["TALL", "Actor", "clip", "staged", "thing_place"]

TALL = {"wide": 43.0, "medium": 106.0, "close": 258.0}
"""Height of a figure in pixels."""
APART = {"wide": 34.0, "medium": 54.0, "close": 82.0}
OFF = {"wide": 52.0, "medium": 46.0, "close": 40.0}
"""How far from the centre `left` and `right` are."""
TRAVEL = {"wide": 72.0, "medium": 88.0, "close": 84.0}
"""Pixels walked in a whole shot."""
CYCLES = {"wide": 2.2, "medium": 1.8, "close": 1.8}
"""Walk cycles in a whole shot."""
WAVES = 2.7


@dataclass(frozen=True)
class Actor:
    """A figure in one frame, before the camera: where it stands, and how."""

    colour: str
    x: float
    pose: Pose


def staged(scene: Scene, progress: float) -> list[Actor]:
    """All figures at a moment in [0, 1]."""
    count = len(scene.figures)
    centre = WIDTH / 2 + (SIDES.index(scene.side) - 1) * OFF[scene.size]
    rng = Random(f"staged/{scene.seed}")
    actors = []
    for index, colour in enumerate(scene.figures):
        start = centre + (index - (count - 1) / 2) * APART[scene.size] + rng.uniform(-3, 3)
        actors.append(_actor(scene, index, colour, start, progress, rng.random()))
    return actors


def _actor(scene: Scene, index: int, colour: str, x: float, progress: float, offset: float) -> Actor:
    heading = {"left": -1, "right": 1, "none": 0}[scene.heading]
    if scene.action in {"walk", "stop"}:
        done, amount = _walked(scene.action, progress)
        middle = 0.5 if scene.action == "walk" else STOPPED / 2
        phase = CYCLES[scene.size] * done + offset
        return Actor(colour, x + heading * (done - middle) * TRAVEL[scene.size], pose("walk", heading, phase, amount))
    if scene.action == "wave":
        return Actor(colour, x, pose("wave", 0, WAVES * progress + offset, 1.0))
    if scene.action == "sit":
        facing = 1 if offset < 0.5 else -1
        return Actor(colour, x, pose("sit", facing, 0.0, _eased((progress - 0.15) / 0.5)))
    if scene.action == "exchange":
        return Actor(colour, x, pose("reach", 1 - 2 * index, 0.0, _reaching(scene, index, progress)))
    return Actor(colour, x, pose("stand", 0, progress + offset, 0.0))


STOPPED = 0.55
"""Share of the shot after which those who stop stand still."""


def _walked(action: str, progress: float) -> tuple[float, float]:
    """Share of the way that is done, and how much of a stride is left."""
    if action == "walk":
        return progress, 1.0
    slow = min(1.0, max(0.0, (STOPPED + 0.06 - progress) / 0.12))
    return min(progress, STOPPED), slow


def _eased(t: float) -> float:
    t = min(1.0, max(0.0, t))
    return t * t * (3 - 2 * t)


def _giver(scene: Scene) -> int:
    return 0 if scene.heading == "right" else 1


def _reaching(scene: Scene, index: int, progress: float) -> float:
    """The giver reaches first and lets go; the taker reaches and keeps the arms half out."""
    if index == _giver(scene):
        return 0.35 + 0.65 * _eased(progress / 0.4) - _eased((progress - 0.6) / 0.35)
    return _eased((progress - 0.1) / 0.35) - 0.65 * _eased((progress - 0.6) / 0.4)


def clip(scene: Scene, frames: int = FRAMES, first: int | None = None) -> NDArray[np.uint8]:
    """[frames, H, W, 3]; only the first so many of them, if `first` is given."""
    layers, palette, costumes = backdrop(scene), PALETTES[scene.time], _costumes(scene)
    light, vignette = light_side(scene), _vignette()
    seen = views(scene, frames)[:first]
    made = np.empty((len(seen), HEIGHT, WIDTH, 3), np.uint8)
    for index, view in enumerate(seen):
        picture = layers[0].seen(view)[..., :3]
        for layer in layers[1:]:
            picture = over(picture, layer.seen(view))
        actors = staged(scene, index / (frames - 1))
        picture = _shadows(picture, scene, view, actors, palette, light)
        canvas = Canvas()
        _props(canvas, scene, view, actors, palette, index / (frames - 1), behind=True)
        for actor in actors:
            draw_figure(canvas, _stand(scene, view, actor.x, light), actor.pose, costumes[actor.colour])
        _props(canvas, scene, view, actors, palette, index / (frames - 1), behind=False)
        picture = over(picture, np.asarray(canvas.reduced(), np.float32))
        picture = _lit(picture, scene, view, actors, index / (frames - 1))
        made[index] = np.clip(picture * vignette + 0.5, 0, 255)
    return made


def _costumes(scene: Scene) -> dict[str, Costume]:
    rng, palette = Random(f"costume/{scene.seed}"), PALETTES[scene.time]
    return {
        colour: Costume.made(COSTUMES[colour], rng.choice(SKIN), rng.choice(HAIR), palette, rng.random() < 0.5)
        for colour in scene.figures
    }


def _stand(scene: Scene, view: View, x: float, light: int) -> Stand:
    at = view.place(x, FEET[scene.size])
    return Stand(at[0], at[1], TALL[scene.size] * view.zoom, light)


def _vignette() -> NDArray[np.float32]:
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return (1 - 0.16 * np.clip(np.hypot(x, y) - 0.55, 0, 1) ** 1.5)[..., None].astype(np.float32)


Picture = NDArray[np.float32]


def _shadows(picture: Picture, scene: Scene, view: View, actors: list[Actor], palette: Palette, light: int) -> Picture:
    """Soft ovals on the ground, away from the light."""
    if scene.size == "close":
        return picture
    tall = TALL[scene.size] * view.zoom
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    for actor in actors:
        sx, sy = view.place(actor.x + actor.pose.hip[0] * TALL[scene.size], FEET[scene.size])
        long = 0.34 if scene.time in {"dusk", "dawn"} else 0.2
        d = np.hypot((x - sx + light * tall * long * 0.6) / (tall * (0.1 + long)), (y - sy) / (tall * 0.055))
        picture = picture * (1 - palette.shade * np.clip(1.5 - 1.5 * d, 0, 1))[..., None]
    return picture


def thing_place(scene: Scene) -> float:
    """Beside the figures, on the roomier side."""
    actors = staged(scene, 0.0)
    left, right = actors[0].x, actors[-1].x
    gap = {"wide": 26.0, "medium": 44.0, "close": 60.0}[scene.size]
    return right + gap if WIDTH - right >= left else left - gap


def _props(
    canvas: Canvas, scene: Scene, view: View, actors: list[Actor], palette: Palette, progress: float, behind: bool
) -> None:
    """Seats and a thing that stands are behind figures, a thing in hands before them."""
    tall = TALL[scene.size] * view.zoom
    if behind:
        for actor in actors:
            if scene.action == "sit":
                _seat(
                    canvas,
                    view.place(actor.x - actor.pose.facing * 0.12 * TALL[scene.size], FEET[scene.size]),
                    tall,
                    palette,
                )
    if scene.thing == "none" or (scene.action == "exchange") == behind:
        return
    if scene.action == "exchange":
        _thing(canvas, scene.thing, *_in_hands(scene, view, actors, progress), tall * 0.8, palette)
        return
    x, y = view.place(thing_place(scene), FEET[scene.size])
    if scene.size == "medium":
        y = _plinth(canvas, x, y, tall, palette)
    _thing(canvas, scene.thing, x, y, tall, palette)


def _in_hands(scene: Scene, view: View, actors: list[Actor], progress: float) -> tuple[float, float]:
    """Under the hands of whoever holds it; in between, on its way."""
    held = []
    for actor in actors:
        hand = actor.pose.near_arm.end
        held.append(view.place(actor.x + hand[0] * TALL[scene.size], FEET[scene.size] - hand[1] * TALL[scene.size]))
    giver = _giver(scene)
    share = _eased((progress - 0.38) / 0.24)
    (ax, ay), (bx, by) = held[giver], held[1 - giver]
    return ax + (bx - ax) * share, ay + (by - ay) * share + 0.1 * TALL[scene.size] * view.zoom


def _seat(canvas: Canvas, at: tuple[float, float], tall: float, palette: Palette) -> None:
    x, y = at
    wood, top = mix(palette.near, palette.middle, 0.35), mix(palette.near, palette.rim, 0.35)
    canvas.polygon(_rectangle(x, y, 0.13 * tall, 0.2 * tall), wood)
    canvas.polygon(_rectangle(x, y - 0.17 * tall, 0.15 * tall, 0.035 * tall), top)


def _plinth(canvas: Canvas, x: float, y: float, tall: float, palette: Palette) -> float:
    wood, top = mix(palette.near, palette.middle, 0.35), mix(palette.near, palette.rim, 0.35)
    canvas.polygon(_rectangle(x, y, 0.15 * tall, 0.46 * tall), wood)
    canvas.polygon(_rectangle(x, y - 0.46 * tall, 0.175 * tall, 0.03 * tall), top)
    return y - 0.48 * tall


def _rectangle(x: float, y: float, half: float, high: float) -> list[tuple[float, float]]:
    return [(x - half, y - high), (x + half, y - high), (x + half, y), (x - half, y)]


def _thing(canvas: Canvas, kind: str, x: float, y: float, tall: float, palette: Palette) -> None:
    """Its foot at (x, y)."""
    colour = graded(THING_COLOURS[kind], palette)
    dark = mix(colour, palette.near, 0.4)
    if kind == "crate":
        half = 0.12 * tall
        canvas.polygon(_rectangle(x, y, half, 2 * half), colour)
        canvas.polygon(_rectangle(x, y - 1.7 * half, half, 0.3 * half), mix(colour, palette.rim, 0.4))
        canvas.polygon(
            [(x - half, y), (x - half * 0.6, y), (x + half, y - 1.7 * half), (x + half * 0.6, y - 1.7 * half)], dark
        )
    elif kind == "ball":
        r = 0.115 * tall
        canvas.oval(x, y - r, r, r, dark)
        canvas.oval(x, y - 1.08 * r, 0.9 * r, 0.9 * r, colour)
        canvas.oval(x, y - 1.4 * r, 0.3 * r, 0.22 * r, mix(colour, palette.rim, 0.6))
    else:
        half, metal = 0.085 * tall, mix(palette.near, (0, 0, 0), 0.25)
        canvas.polygon(_rectangle(x, y, half, 0.28 * tall), metal)
        canvas.polygon(_rectangle(x, y - 0.05 * tall, half * 0.75, 0.18 * tall), THING_COLOURS["lantern"])
        canvas.oval(x, y - 0.14 * tall, half * 0.4, 0.06 * tall, (255, 250, 225))
        canvas.polygon(
            [(x - half * 1.2, y - 0.28 * tall), (x + half * 1.2, y - 0.28 * tall), (x, y - 0.36 * tall)], metal
        )


def _lit(picture: Picture, scene: Scene, view: View, actors: list[Actor], progress: float) -> Picture:
    """A lantern's light on all that is near it."""
    if scene.thing != "lantern":
        return picture
    tall = TALL[scene.size] * view.zoom
    if scene.action == "exchange":
        x, y = _in_hands(scene, view, actors, progress)
    else:
        x, y = view.place(thing_place(scene), FEET[scene.size])
        y -= 0.5 * tall if scene.size == "medium" else 0
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    d = np.hypot(u - x, v - (y - 0.14 * tall)) / (0.62 * tall)
    strength = {"day": 0.1, "dawn": 0.16, "dusk": 0.28, "night": 0.4}[scene.time]
    flicker = 1 + 0.06 * math.sin(9 * progress)
    glow = (strength * flicker * np.clip(1 - d, 0, 1) ** 1.5)[..., None]
    return np.asarray(picture + glow * np.array((255, 190, 90), np.float32) * (1 - picture / 400), np.float32)
