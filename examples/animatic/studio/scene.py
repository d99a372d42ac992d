"""A shot as data: every attribute that a prompt can name, drawn so that the shot makes sense.

Knows what may stand beside what (nobody sits in a close-up); nothing of pixels or words.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

__all__ = ["ACTIONS", "CAMERAS", "COLOURS", "PLACES", "SIDES", "SIZES", "THINGS", "TIMES", "Scene", "draw_scene"]

TIMES = ("dawn", "day", "dusk", "night")
PLACES = ("street", "forest", "field", "room")
SIZES = ("wide", "medium", "close")
CAMERAS = ("static", "pan left", "pan right", "tilt up", "tilt down", "push in", "pull back")
ACTIONS = ("stand", "walk", "stop", "sit", "wave", "exchange")
COLOURS = ("red", "yellow", "green", "blue", "white")
SIDES = ("left", "centre", "right")
THINGS = ("none", "crate", "ball", "lantern")
MOST = {"wide": 3, "medium": 3, "close": 2}
"""Figures that a shot size has room for."""


@dataclass(frozen=True)
class Scene:
    """What a shot shows. `figures` are their colours from left to right, as they stand at first."""

    time: str
    place: str
    size: str
    camera: str
    action: str
    heading: str
    """Where they walk, or where the thing goes that is handed over: left, right, or none."""
    figures: tuple[str, ...]
    side: str
    """Where a lone figure stands; several, and those who walk, are around the centre."""
    thing: str
    seed: str
    """Everything that no prompt names: skylines, trees, hair, light from the left or the right."""


def draw_scene(seed: str) -> Scene:
    """A scene, a pure function of its seed."""
    rng = Random(f"scene/{seed}")
    size = rng.choices(SIZES, (4, 4, 3))[0]
    action = rng.choices(*_actions(size))[0]
    count = 2 if action == "exchange" else rng.choices((1, 2, 3), (5, 4, 3))[0]
    count = 1 if size == "close" and action == "wave" else min(count, MOST[size])
    heading = rng.choice(("left", "right")) if action in {"walk", "stop", "exchange"} else "none"
    return Scene(
        time=rng.choice(TIMES),
        place=rng.choice(PLACES),
        size=size,
        camera=rng.choices(*_cameras(action, heading))[0],
        action=action,
        heading=heading,
        figures=tuple(rng.sample(COLOURS, count)),
        side=rng.choice(SIDES) if count == 1 and action in {"stand", "sit", "wave"} else "centre",
        thing=_thing(rng, size, action),
        seed=seed,
    )


def _actions(size: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """A close-up shows neither a seat nor hands at the height of the waist."""
    if size == "close":
        return ("stand", "walk", "stop", "wave"), (2, 3, 1.5, 2)
    return ACTIONS, (1.5, 4, 2, 2, 2, 2)


def _cameras(action: str, heading: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """A pan follows those who walk; nobody sits down in a tilt, which would hide it."""
    weights = dict.fromkeys(CAMERAS, 1.0) | {"static": 2.0}
    if action in {"walk", "stop"}:
        weights |= {"pan left": 0.0, "pan right": 0.0, f"pan {heading}": 1.5}
    if action in {"sit", "exchange"}:
        weights |= {"tilt up": 0.0, "tilt down": 0.0}
    return tuple(weights), tuple(weights.values())


def _thing(rng: Random, size: str, action: str) -> str:
    if action == "exchange":
        return rng.choice(THINGS[1:])
    if size == "close" or action in {"walk", "stop"}:
        return "none"
    return rng.choices(THINGS, (3, 1, 1, 1))[0]
