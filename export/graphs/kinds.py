"""The kinds of graphs that a checkpoint is exported to: a name in the bundle, and the file that describes it."""

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
"""The vision graph by the shape of the tower."""


def kinds(network: Network | FilmNetwork | TowersNetwork) -> Mapping[str, Kind]:
    """The graphs of `network` by name, in the order in which rows go through them."""
    if isinstance(network, FilmNetwork):
        return {"text": TEXT, "cross": CROSS, "frames": FRAMES, "frames_merged": FRAMES_MERGED, **pixel_kinds(network)}
    vision = {} if network.tower is None else {"vision": TOWERS[type(network.tower)]}
    words = {"backbone": BACKBONE, "denoise": DENOISE, "sample": SAMPLE, **vision}
    return {**words, "velocity": VELOCITY, **pixel_kinds(network)} if isinstance(network, TowersNetwork) else words
