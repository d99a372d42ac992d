"""The colours of a time of day: few, and made for each other. Knows nothing of shapes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COSTUMES", "HAIR", "PALETTES", "SKIN", "THING_COLOURS", "Colour", "Palette", "graded", "mix"]

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """One time of day. Layers run from `far` to `near`; `light` multiplies what has a colour of its own."""

    zenith: Colour
    horizon: Colour
    disc: Colour
    """Sun or moon."""
    glow: Colour
    cloud: Colour
    far: Colour
    middle: Colour
    near: Colour
    ground_far: Colour
    ground_near: Colour
    wall: Colour
    floor: Colour
    window: Colour
    """Panes of houses; at dusk and night they are lit."""
    rim: Colour
    light: tuple[float, float, float]
    shade: float
    """How dark shadows are."""


PALETTES = {
    "dawn": Palette(
        zenith=(122, 150, 196),
        horizon=(250, 208, 198),
        disc=(255, 240, 220),
        glow=(255, 214, 190),
        cloud=(252, 222, 218),
        far=(190, 170, 190),
        middle=(142, 134, 164),
        near=(92, 92, 122),
        ground_far=(186, 166, 176),
        ground_near=(124, 116, 138),
        wall=(190, 172, 186),
        floor=(142, 124, 142),
        window=(206, 190, 200),
        rim=(255, 226, 206),
        light=(0.96, 0.9, 0.92),
        shade=0.22,
    ),
    "day": Palette(
        zenith=(78, 158, 222),
        horizon=(214, 236, 242),
        disc=(255, 252, 232),
        glow=(255, 250, 226),
        cloud=(252, 253, 252),
        far=(156, 192, 208),
        middle=(112, 156, 164),
        near=(66, 104, 116),
        ground_far=(214, 208, 168),
        ground_near=(180, 166, 122),
        wall=(222, 214, 192),
        floor=(184, 148, 108),
        window=(150, 190, 206),
        rim=(255, 255, 244),
        light=(1.0, 1.0, 0.98),
        shade=0.3,
    ),
    "dusk": Palette(
        zenith=(62, 44, 106),
        horizon=(252, 150, 82),
        disc=(255, 214, 140),
        glow=(255, 150, 84),
        cloud=(196, 92, 102),
        far=(142, 72, 102),
        middle=(92, 48, 88),
        near=(52, 30, 66),
        ground_far=(140, 72, 84),
        ground_near=(66, 38, 66),
        wall=(120, 66, 84),
        floor=(82, 44, 66),
        window=(255, 196, 104),
        rim=(255, 184, 104),
        light=(0.95, 0.74, 0.7),
        shade=0.36,
    ),
    "night": Palette(
        zenith=(8, 14, 38),
        horizon=(44, 70, 118),
        disc=(232, 238, 250),
        glow=(90, 120, 176),
        cloud=(38, 56, 96),
        far=(34, 52, 92),
        middle=(22, 36, 70),
        near=(12, 20, 44),
        ground_far=(38, 56, 94),
        ground_near=(16, 26, 52),
        wall=(62, 70, 110),
        floor=(40, 44, 78),
        window=(250, 208, 116),
        rim=(164, 200, 255),
        light=(0.6, 0.66, 0.82),
        shade=0.4,
    ),
}

COSTUMES = {
    "red": (218, 48, 44),
    "yellow": (246, 200, 40),
    "green": (44, 168, 84),
    "blue": (44, 96, 220),
    "white": (244, 242, 238),
}
THING_COLOURS = {"crate": (186, 112, 54), "ball": (236, 84, 170), "lantern": (255, 214, 120)}
SKIN = ((236, 190, 160), (206, 150, 116), (142, 94, 70), (96, 64, 50))
HAIR = ((44, 34, 32), (86, 56, 38), (150, 104, 58), (92, 92, 98))


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` at 0, `b` at 1."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def graded(colour: Colour, palette: Palette, brightness: float = 1.0) -> Colour:
    """A colour in the light of its time of day."""
    return tuple(min(255, round(x * y * brightness)) for x, y in zip(colour, palette.light, strict=True))  # type: ignore[return-value]
