"""Presets: choices for a clip that go together under a name, as data of a bundle. A caller's own choices win.

Knows rows and how one is chosen; what its values mean, the contract and the options know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from ...engines.errors import RequestError
from ..schema import bounds
from .towers_spec import GuidanceSpec

__all__ = ["CHOSEN", "DRAFT", "Preset", "preset_named"]

DRAFT = "draft"
"""Name of the preset that the option `draft` asks for."""


@dataclass(frozen=True)
class Preset:
    """A row; None leaves a value to the contract."""

    what: str
    """Its meaning, for people."""
    frames: int | None = field(default=None, metadata=bounds(1, 1 << 20))
    height: int | None = field(default=None, metadata=bounds(1, 1 << 16))
    width: int | None = field(default=None, metadata=bounds(1, 1 << 16))
    fps: float | None = field(default=None, metadata=bounds(1e-3, 1e4))
    guidance: float | None = field(default=None, metadata=bounds(0, 1000))
    guidance_interval: tuple[float, ...] | None = None
    negative: str | None = None
    steps: str | None = None
    """Name of one of the schedule's other step lists; None takes the usual ones."""
    small_decoder: bool = False
    """Pixels are made by the bundle's decoder for drafts, where it has one."""

    def __post_init__(self) -> None:
        GuidanceSpec(interval=self.guidance_interval or ())


CHOSEN = tuple(one.name for one in fields(Preset) if one.name not in ("what", "steps", "small_decoder"))
"""Values that are options of the same name."""


def preset_named(presets: Mapping[str, Preset], name: str, asked: str = "preset") -> Preset:
    """The row of a name, which the option `asked` asks for. Raises RequestError that prints the rows there are."""
    if name in presets:
        return presets[name]
    if not presets:
        raise RequestError(
            f"{asked}: this bundle has no preset for it; give the settings height, width and steps yourself, or export "
            "the checkpoint with one"
        )
    rows = "\n".join(f"  {known:<16} {preset.what}" for known, preset in presets.items())
    raise RequestError(f"{asked}: got {name!r}, this bundle has\n{rows}")
