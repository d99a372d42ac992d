"""The table of graphs: the kinds that a network is exported to, by their names in the bundle."""

from __future__ import annotations

from collections.abc import Mapping

from .backbone import BACKBONE
from .denoise import DENOISE
from .film_shapes import FilmNetwork, TowersNetwork
from .kind import Kind
from .packed import PACKED
from .pixels import pixel_kinds
from .sample import SAMPLE
from .shapes import Network, PackedShape, SiglipShape, VisionShape
from .siglip import CROPS
from .umt5 import TEXT
from .velocity import VELOCITY
from .vision import WINDOWS
from .wan import CROSS, FRAMES, FRAMES_MERGED

__all__ = ["kinds"]

TOWERS: dict[type, Kind] = {VisionShape: WINDOWS, SiglipShape: CROPS, PackedShape: PACKED}
"""Kinds of vision graphs by the class of the tower's shape."""


def kinds(network: Network | FilmNetwork | TowersNetwork) -> Mapping[str, Kind]:
    """List the graphs of `network` by name, in the order in which rows go through them."""
    if isinstance(network, FilmNetwork):
        return {"text": TEXT, "cross": CROSS, "frames": FRAMES, "frames_merged": FRAMES_MERGED, **pixel_kinds(network)}
    vision = {} if network.tower is None else {"vision": TOWERS[type(network.tower)]}
    words = {"backbone": BACKBONE, "denoise": DENOISE, "sample": SAMPLE, **vision}
    return {**words, "velocity": VELOCITY, **pixel_kinds(network)} if isinstance(network, TowersNetwork) else words
