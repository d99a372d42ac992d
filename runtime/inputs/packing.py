"""Ways in which towers that see a picture whole want it: a table of names. Knows no pixels."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PACKINGS", "Packing"]


@dataclass(frozen=True)
class Packing:
    """One way."""

    meaning: str
    colours_together: bool
    """Colours of a pixel stand together in a patch; else pixels of a colour do."""
    enlarged: bool
    """A picture whose shorter side is less than a merge group is enlarged before its size is rounded."""
    corners: bool
    """The corners of the table of positions are those of the picture; else their outer edges are."""
    places: bool
    """The graph takes lines and columns of patches."""


PACKINGS = {
    "siglip2": Packing("SigLIP2 as Cosmos 3 Edge has it", True, True, False, False),
    "qwen3_vl": Packing("Qwen3-VL and Cosmos 3 Nano and Super", False, False, True, True),
}
