"""The kinds of graphs that a checkpoint is exported to: a name in the bundle, and the file that describes it."""

from __future__ import annotations

from collections.abc import Mapping

from .backbone import BACKBONE
from .denoise import DENOISE
from .kind import Kind
from .sample import SAMPLE
from .shapes import Network, SiglipShape, VisionShape
from .siglip import CROPS
from .vision import WINDOWS

__all__ = ["kinds"]

TOWERS = {VisionShape: WINDOWS, SiglipShape: CROPS}
"""The vision graph by the shape of the tower."""


def kinds(network: Network) -> Mapping[str, Kind]:
    """The graphs of `network` by name, in the order in which rows go through them."""
    vision = {} if network.tower is None else {"vision": TOWERS[type(network.tower)]}
    return {"backbone": BACKBONE, "denoise": DENOISE, "sample": SAMPLE, **vision}
