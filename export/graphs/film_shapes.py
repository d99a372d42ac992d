"""The sizes that shape the graphs of a checkpoint that films, as frozen data. Knows no torch."""

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
    """Latent channels of input and output."""
    freq_dim: int
    """Width of a timestep's sinusoid."""
    text_dim: int
    """Width of the text encoder's rows."""
    patch_h: int = 2
    patch_w: int = 2
    eps: float = 1e-6
    cross_norm: bool = True
    """True if the input of cross-attention is normalised."""

    @property
    def hidden(self) -> int:
        """Width of a row."""
        return self.heads * self.head_dim

    @property
    def patch_values(self) -> int:
        """Latent numbers in one row."""
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
    """First distance of those that share the last class."""
    eps: float = 1e-6


@dataclass(frozen=True)
class WanVaeShape:
    """The sizes of Wan's causal autoencoder, 2.1 or 2.2 (`residual`)."""

    channels: int
    """Latent channels."""
    encoder_dim: int
    decoder_dim: int
    multipliers: tuple[int, ...]
    """Widths of the stages as multiples of `encoder_dim` and `decoder_dim`, finest first."""
    blocks: int
    """Residual blocks of a stage; the decoder has one more."""
    temporal: tuple[bool, ...]
    """For each downsampling step, true if it halves the frames as well."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    residual: bool = False
    patch: int = 1
    """Side, in pixels, of the patch that is laid out as channels of one position."""

    @property
    def spatial(self) -> int:
        """Side of a latent, in pixels."""
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
    """Pixel frames of a latent frame; of the first latent frame's only the last is shown."""
    encoder_widths: tuple[int, ...]
    decoder_widths: tuple[int, ...]
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    upscale: int = 2

    @property
    def spatial(self) -> int:
        """Side of a latent, in pixels."""
        return int(self.upscale ** (len(self.decoder_blocks) - 1))

    @property
    def frames(self) -> int:
        """Pixel frames of every latent frame but the first, which has one."""
        return self.group


@dataclass(frozen=True)
class FilmNetwork:
    """All sizes of a checkpoint that films: network, text encoder and autoencoders."""

    wan: WanShape
    text: Umt5Shape
    pixels: WanVaeShape | TinyShape
    draft: WanVaeShape | TinyShape | None = None
    """The autoencoder whose decoder makes drafts; None without one."""


@dataclass(frozen=True)
class TowersShape:
    """The sizes of a network of two towers: one reads text, the other denoises rows that attend what the first read."""

    reader: DecoderShape
    """The tower that reads. The other one has layers of these sizes, and always normalises keys and queries."""
    channels: int
    """Latent channels."""
    patch: int = 2
    """Side of the square of latents that is one row."""
    freq_dim: int = 256
    """Width of a timestep's sinusoid."""

    @property
    def generator(self) -> DecoderShape:
        """Shape of a layer of the tower that denoises."""
        return replace(self.reader, qk_norm=True, condition_key=False)

    @property
    def patch_values(self) -> int:
        """Latent numbers in one row."""
        return self.channels * self.patch**2


@dataclass(frozen=True)
class TowersNetwork:
    """All sizes of a checkpoint of two towers: towers, autoencoder and vision tower."""

    towers: TowersShape
    pixels: WanVaeShape | TinyShape
    tower: PackedShape | None = None
    """The vision tower of a checkpoint that reads pictures; None without one."""

    @property
    def decoder(self) -> DecoderShape:
        """The tower that reads, in the form that the text graphs take."""
        return self.towers.reader
