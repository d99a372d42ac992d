"""Everything about a checkpoint that films and shapes its graphs, as frozen data. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .shapes import DecoderShape, PackedShape

__all__ = ["FilmNetwork", "TinyShape", "TowersNetwork", "TowersShape", "Umt5Shape", "WanShape", "WanVaeShape"]


@dataclass(frozen=True)
class WanShape:
    """The sizes of a causal Wan network."""

    layers: int
    heads: int
    head_dim: int
    intermediate: int
    """Width of the feed-forward layer."""
    channels: int
    """Latent channels, in and out."""
    freq_dim: int
    """Width of a timestep's sinusoid."""
    text_dim: int
    """Width of the text encoder's rows."""
    patch_h: int = 2
    patch_w: int = 2
    eps: float = 1e-6
    cross_norm: bool = True
    """The input of cross-attention is normalised."""

    @property
    def hidden(self) -> int:
        """Width of a row."""
        return self.heads * self.head_dim

    @property
    def patch_values(self) -> int:
        """Latent numbers of one row."""
        return self.channels * self.patch_h * self.patch_w


@dataclass(frozen=True)
class Umt5Shape:
    """The sizes of a UMT5 encoder."""

    layers: int
    hidden: int
    heads: int
    head_dim: int
    intermediate: int
    vocab: int
    buckets: int = 32
    """Classes of relative distances."""
    max_distance: int = 128
    """Distances from here on share one class."""
    eps: float = 1e-6


@dataclass(frozen=True)
class WanVaeShape:
    """The sizes of Wan's causal autoencoder, 2.1 or 2.2 (`residual`)."""

    channels: int
    """Latent channels."""
    encoder_dim: int
    decoder_dim: int
    multipliers: tuple[int, ...]
    """Widths of the stages, finest first, as multiples of the dims."""
    blocks: int
    """Residual blocks of a stage; the decoder has one more."""
    temporal: tuple[bool, ...]
    """Downsampling steps that halve the frames as well."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    residual: bool = False
    patch: int = 1
    """Pixels of a side that are one position with more channels."""

    @property
    def spatial(self) -> int:
        """Pixels of a latent's side."""
        return int(2 ** len(self.temporal)) * self.patch

    @property
    def frames(self) -> int:
        """Pixel frames of every latent frame but the first, which has one."""
        return int(2 ** sum(self.temporal))


@dataclass(frozen=True)
class TinyShape:
    """The sizes of an AutoencoderTiny that takes `group` frames at once, as colours of one picture."""

    channels: int
    """Latent channels."""
    group: int
    """Frames of a latent frame; of the first group the last frame counts."""
    encoder_widths: tuple[int, ...]
    decoder_widths: tuple[int, ...]
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    upscale: int = 2

    @property
    def spatial(self) -> int:
        """Pixels of a latent's side."""
        return int(self.upscale ** (len(self.decoder_blocks) - 1))

    @property
    def frames(self) -> int:
        """Pixel frames of every latent frame but the first, which has one."""
        return self.group


@dataclass(frozen=True)
class FilmNetwork:
    """Everything that shapes the graphs of one checkpoint that films."""

    wan: WanShape
    text: Umt5Shape
    pixels: WanVaeShape | TinyShape
    draft: WanVaeShape | TinyShape | None = None
    """The autoencoder whose decoder makes drafts."""


@dataclass(frozen=True)
class TowersShape:
    """The sizes of a network of two towers: one reads text, the other denoises rows that attend what the first read."""

    reader: DecoderShape
    """The tower that reads; the other has layers of the same sizes, and keys and queries that are always normalised."""
    channels: int
    """Latent channels."""
    patch: int = 2
    """Latents of a row's height and width."""
    freq_dim: int = 256
    """Width of a timestep's sinusoid."""

    @property
    def generator(self) -> DecoderShape:
        """A layer of the tower that denoises."""
        return replace(self.reader, qk_norm=True, condition_key=False)

    @property
    def patch_values(self) -> int:
        """Latent numbers of one row."""
        return self.channels * self.patch**2


@dataclass(frozen=True)
class TowersNetwork:
    """Everything that shapes the graphs of one checkpoint of two towers."""

    towers: TowersShape
    pixels: WanVaeShape | TinyShape
    tower: PackedShape | None = None
    """The vision tower of a checkpoint that reads pictures."""

    @property
    def decoder(self) -> DecoderShape:
        """The tower that reads, as the graphs of words know it."""
        return self.towers.reader
