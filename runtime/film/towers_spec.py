"""The part of a film's contract that only networks of two towers have: one reads the prompt, the other denoises.

Prompt, places and guidance as explicit data. Knows no tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..schema import Violations, bounds

__all__ = ["ChatSpec", "GuidanceSpec", "PlacesSpec", "TowersSpec"]

TOKENS = 2**31


@dataclass(frozen=True)
class ChatSpec:
    """The way of a prompt to the tokens that the reading tower gets."""

    template: str
    """File of the chat template."""
    special_tokens: dict[str, str] = field(default_factory=dict)
    """Names that the template may use."""
    suffix: tuple[int, ...] = field(default=(), metadata=bounds(0, TOKENS))
    """Token ids behind the rendered conversation."""
    still_system: str | None = None
    clip_system: str | None = None
    """System message for one frame, and for more; null is none."""
    sentences: bool = True
    """Length and size of the clip are told in sentences behind the prompt."""


@dataclass(frozen=True)
class PlacesSpec:
    """Places of text and rows on the axes time, height and width, and the rotations that they become."""

    inv_freq: tuple[float, ...] = field(metadata=bounds(0, 1))
    """Radians per position of each pair of channels; exactly those of the graph that reads."""
    axes: tuple[int, ...] = field(metadata=bounds(0, 2))
    """The axis that turns each of them."""
    margin: float = field(default=15000.0, metadata=bounds(0, 1e6))
    """Positions between the prompt's last and the first frame's."""
    base_fps: float | None = field(default=24.0, metadata=bounds(1e-3, 1e4))
    """Frames a second at which neighbouring latent frames are one position apart; null: whatever the clip has."""
    reset: bool = True
    """Heights and widths begin at 0, not where time does."""

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.inv_freq):
            raise Violations([f"axes: got {len(self.axes)} numbers, expected {len(self.inv_freq)} as in inv_freq"])


@dataclass(frozen=True)
class GuidanceSpec:
    """Guidance away from what a negative prompt gives: v = v_n + scale (v - v_n)."""

    scale: float = field(default=1.0, metadata=bounds(0, 1e3))
    """1 is none, and costs no second forward."""
    interval: tuple[float, ...] = field(default=(), metadata=bounds(0, 1e6))
    """Lowest and highest timestep that are guided; empty is all."""
    negative: str = ""
    """Negative prompt where the caller gives none."""

    def __post_init__(self) -> None:
        if self.interval and (len(self.interval) != 2 or self.interval[0] > self.interval[1]):
            raise Violations([f"interval: got {list(self.interval)}, expected the lowest and the highest timestep"])

    def guided(self, timestep: float) -> bool:
        """The step takes a second forward."""
        return self.scale != 1 and (not self.interval or self.interval[0] <= timestep <= self.interval[1])


@dataclass(frozen=True)
class TowersSpec:
    """The network of two towers."""

    chat: ChatSpec
    places: PlacesSpec
    guidance: GuidanceSpec = field(default_factory=GuidanceSpec)
    patch: int = field(default=2, metadata=bounds(1, 64))
    """Latents of a row's height and width; a frame that is no multiple is filled with zeros."""
    time_scale: float = field(default=0.001, metadata=bounds(1e-9, 1e3))
    """Factor on a timestep before its sinusoid."""
    own_key: bool = False
    """Rows attend another key of the prompt than the prompt itself does."""
