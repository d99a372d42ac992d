"""The contract between one checkpoint that films and the loop that decodes it, as frozen data of the manifest.

Schedules are explicit numbers: neither a formula nor a scheduler's name is needed to decode. Knows no tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..schema import Violations, bounds
from .curves import Sampler
from .presets import Preset
from .towers_spec import TowersSpec

__all__ = [
    "CLEANINGS",
    "COMMITS",
    "FilmContract",
    "LatentSpec",
    "NetworkSpec",
    "Schedule",
    "StepList",
    "TextSpec",
]

COMMITS = {
    "separate": "a finished block is run once more by itself, at the commit's timestep",
    "merged": "a finished block is run with the next block's first step, in one forward under a mask",
}
"""Ways to keep the keys and values of a finished block; both give the same ones."""

CLEANINGS = {
    "none": "the prompt as it is",
    "wan": "HTML entities are resolved twice, white space is collapsed, both ends are stripped",
}
"""Ways to clean a prompt before it is encoded."""

SIDE, MANY = 1 << 16, 1 << 20
"""Bounds of a size in pixels, and of a count of frames."""


@dataclass(frozen=True)
class StepList:
    """The steps of one block, S of them, as one linear rule: x' = keep x + sum over k of velocity[k] v_k + noise e.

    v_k are the network's velocities of this block so far, e is fresh noise. The last step's x' is the block.
    """

    timesteps: tuple[float, ...] = field(metadata=bounds(0, 1e6))
    """`[S]`: fractions are kept."""
    sigmas: tuple[float, ...] = field(metadata=bounds(0, 1e6))
    """`[S + 1]`: share of noise at each step; the last is 0."""
    keep: tuple[float, ...] = field(metadata=bounds(-1e6, 1e6))
    velocity: tuple[tuple[float, ...], ...] = field(metadata=bounds(-1e6, 1e6))
    """`[S]` rows; row s has the coefficients of the velocities 0 to s."""
    noise: tuple[float, ...] = field(metadata=bounds(-1e6, 1e6))

    def __post_init__(self) -> None:
        steps = len(self.timesteps)
        lengths = {"sigmas": (len(self.sigmas), steps + 1), "keep": (len(self.keep), steps)}
        lengths |= {"velocity": (len(self.velocity), steps), "noise": (len(self.noise), steps)}
        lines = [f"{name}: got {got} numbers, expected {want}" for name, (got, want) in lengths.items() if got != want]
        lines += [] if 1 <= steps <= 1000 else [f"timesteps: got {steps}, expected 1 to 1000"]
        lines += [
            f"velocity[{s}]: got {len(row)} numbers, expected {s + 1}"
            for s, row in enumerate(self.velocity)
            if len(row) != s + 1
        ]
        if self.sigmas and self.sigmas[-1] != 0:
            lines.append(f"sigmas: the last is {self.sigmas[-1]}, expected 0: a block ends without noise")
        if lines:
            raise Violations(lines)

    def __len__(self) -> int:
        return len(self.timesteps)


@dataclass(frozen=True)
class Schedule:
    """Step lists of a clip's blocks."""

    first: StepList
    """Steps of the first block that is denoised; a picture is none."""
    rest: StepList
    others: dict[str, StepList] = field(default_factory=dict)
    """Other step lists by name, normally their count; each serves all blocks."""
    sampler: Sampler | None = None
    """Curve by which a list of any other length is made; null where the network was trained for these lists alone."""


@dataclass(frozen=True)
class LatentSpec:
    """Sizes of the latents; their mean and deviation are inside the pixel graphs."""

    channels: int = field(metadata=bounds(1, 4096))
    spatial: int = field(default=8, metadata=bounds(1, 256))
    """Pixels of a latent's side."""
    temporal: int = field(default=4, metadata=bounds(1, 64))
    """Pixel frames of every latent frame but the first, which has one."""
    patch_h: int = field(default=2, metadata=bounds(1, 64))
    patch_w: int = field(default=2, metadata=bounds(1, 64))
    """Latents of a row's height and width."""


@dataclass(frozen=True)
class NetworkSpec:
    """Sizes of the network that the runtime needs to own its cache, and to tell it times and places."""

    layers: int = field(metadata=bounds(1, 4096))
    heads: int = field(metadata=bounds(1, 4096))
    head_dim: int = field(metadata=bounds(2, 8192))
    rope_axes: tuple[int, ...] = field(metadata=bounds(0, 8192))
    """Channels of a head that turn with time, height and width."""
    rope_theta: float = field(default=10000.0, metadata=bounds(1, 1e12))
    freq_dim: int = field(default=256, metadata=bounds(2, 1 << 16))
    """Width of a timestep's sinusoid."""

    def __post_init__(self) -> None:
        axes = self.rope_axes
        if len(axes) != 3 or sum(axes) != self.head_dim or any(axis % 2 for axis in axes):
            raise ValueError(
                f"rope_axes: got {list(axes)}, expected three even numbers that add up to head_dim {self.head_dim}"
            )
        if self.freq_dim % 2:
            raise ValueError(f"freq_dim: got {self.freq_dim}, expected an even number")


@dataclass(frozen=True)
class TextSpec:
    """The way of a prompt to the rows that the network attends.

    All `length` rows are attended. Those behind the prompt are alike, so they are one key whose score is raised by the
    logarithm of their number.
    """

    tokenizer: str
    dim: int = field(metadata=bounds(1, 1 << 20))
    """Width of the text encoder's rows."""
    length: int = field(default=512, metadata=bounds(1, 1 << 16))
    eos_id: int | None = field(default=None, metadata=bounds(0, 2**31))
    """Token that ends every prompt, if there is one."""
    clean: str = "none"

    def __post_init__(self) -> None:
        if self.clean not in CLEANINGS:
            raise ValueError(f"clean: got {self.clean!r}, expected one of {', '.join(CLEANINGS)}")


@dataclass(frozen=True)
class FilmContract:
    """The contract between one checkpoint and the loop that films with it; a caller may override the defaults."""

    latent: LatentSpec
    network: NetworkSpec
    text: TextSpec
    schedule: Schedule
    block_frames: int = field(metadata=bounds(1, MANY))
    """Latent frames of a block; a clip's last block may be shorter."""
    frames: int = field(metadata=bounds(1, MANY))
    height: int = field(metadata=bounds(1, SIDE))
    width: int = field(metadata=bounds(1, SIDE))
    """Pixel frames, height and width that the checkpoint was made for: defaults, and any legal ones may be asked."""
    fps: float = field(metadata=bounds(1e-3, 1e4))
    first_frames: int | None = field(default=None, metadata=bounds(1, MANY))
    """Latent frames of the first block where it differs."""
    window: int | None = field(default=None, metadata=bounds(1, MANY))
    """Latent frames that a block sees, itself and the sink included; null sees all."""
    sink: int = field(default=0, metadata=bounds(0, MANY))
    """First latent frames of a clip that a window never loses."""
    commit_timestep: float = field(default=0.0, metadata=bounds(0, 1e6))
    commit: str = "separate"
    presets: dict[str, Preset] = field(default_factory=dict)
    """Choices that go together, by name."""
    licence: str | None = None
    """Licence of the weights, as their card has it."""
    towers: TowersSpec | None = None
    """Set where one tower reads the prompt and the other denoises the whole clip as one block."""

    def __post_init__(self) -> None:
        lines = [] if self.commit in COMMITS else [f"commit: got {self.commit!r}, expected one of {', '.join(COMMITS)}"]
        longest = max(self.block_frames, self.first_frames or 0)
        if self.window is not None and self.window < self.sink + longest:
            lines.append(
                f"window: got {self.window}, expected at least {self.sink + longest}: the sink's {self.sink} and a "
                f"block of {longest}"
            )
        lines += self._bad_sizes("", self.height, self.width)
        for name, preset in self.presets.items():
            lines += self._bad_preset(f"presets[{name!r}].", preset)
        if (self.frames - 1) % self.latent.temporal:
            lines.append(f"frames: got {self.frames}, expected 1 + {self.latent.temporal} k")
        if lines:
            raise Violations(lines)

    @property
    def reader(self) -> str:
        """Name of the graph that reads a prompt, which is not needed once it has been read."""
        return "text" if self.towers is None else "backbone"

    @property
    def denoiser(self) -> str:
        """Name of the graph that every step runs."""
        return "frames" if self.towers is None else "velocity"

    def _bad_preset(self, where: str, preset: Preset) -> list[str]:
        lines = self._bad_sizes(where, preset.height or self.height, preset.width or self.width)
        if preset.steps is not None and preset.steps not in self.schedule.others:
            lines.append(f"{where}steps: got {preset.steps!r}, expected a name in schedule.others")
        if preset.frames is not None and (preset.frames - 1) % self.latent.temporal:
            lines.append(f"{where}frames: got {preset.frames}, expected 1 + {self.latent.temporal} k")
        guided = [n for n in ("guidance", "guidance_interval", "negative") if getattr(preset, n) is not None]
        if guided and self.towers is None:
            lines.append(f"{where}{', '.join(guided)}: set, and this network was trained with its guidance inside")
        return lines

    def _bad_sizes(self, where: str, height: int, width: int) -> list[str]:
        down, across = self.size_multiple
        if height % down == 0 and width % across == 0:
            return []
        return [f"{where}height, {where}width: got {height}x{width}, expected multiples of {down} and {across}"]

    @property
    def size_multiple(self) -> tuple[int, int]:
        """Numbers of pixels that a height and a width are multiples of."""
        return self.latent.spatial * self.latent.patch_h, self.latent.spatial * self.latent.patch_w

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a clip of `frames` pixel frames; `frames` is 1 + temporal k."""
        return 1 + (frames - 1) // self.latent.temporal

    def pixel_frames(self, latents: int) -> int:
        """Pixel frames of the first `latents` latent frames of a clip."""
        return 1 + (latents - 1) * self.latent.temporal if latents else 0
