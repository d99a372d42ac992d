"""AutoencoderTiny as graphs of one latent frame after another, each by itself: there are no states.

`group` frames at once are the colours of one picture of 3 * group channels. The first latent frame holds the first
frame `group` times; when it is decoded, only the last of its frames is shown. With a group of 1 every frame is a
picture. Modules and parameters have the names of diffusers' AutoencoderTiny, whose latents are not normalised.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from .film_shapes import TinyShape

__all__ = ["TinyEncoder", "TinyFirst", "TinyNext"]

BEND = 3.0
"""Bound of a latent's magnitude: latents go through 3 tanh(x / 3) before they are decoded."""


class Block(nn.Module):
    """A residual block: three convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])

    def forward(self, x: Tensor) -> Tensor:
        """Map `x [F, C, h, w]`: see the class."""
        return functional.relu(self.conv(x) + x)


class Enlarge(nn.Module):
    """Nearest upsampling: every position `times` times, across and down."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """Map `x [F, C, h, w]`: see the class."""
        n = self.times
        return x[:, :, :, None, :, None].expand(-1, -1, -1, n, -1, n).flatten(4, 5).flatten(2, 3)


class TinyDecoder(nn.Module):
    """The decoder: latents to pixels."""

    def __init__(self, shape: TinyShape) -> None:
        super().__init__()
        self.shape, self.decoder = shape, nn.Module()
        self.decoder.layers = nn.Sequential(*self._layers())

    def _layers(self) -> Iterator[nn.Module]:
        s, last = self.shape, len(self.shape.decoder_blocks) - 1
        yield nn.Conv2d(s.channels, s.decoder_widths[0], 3, padding=1)
        yield nn.ReLU()
        for i, (width, count) in enumerate(zip(s.decoder_widths, s.decoder_blocks, strict=True)):
            yield from (Block(width) for _ in range(count))
            if i < last:
                yield Enlarge(s.upscale)
            yield nn.Conv2d(width, 3 * s.group if i == last else width, 3, padding=1, bias=i == last)

    def shown(self, latents: Tensor) -> Tensor:
        """Map `latents [1, C, F, h, w]` float32 to pixels `[1, F * group, H, W, 3]` float32, 0 to 1."""
        bent = torch.tanh(latents.squeeze(0).transpose(0, 1) / BEND) * BEND
        layers = self.decoder.layers
        x = layers(bent.to(layers[0].weight.dtype)).float()
        frames = x.clamp(0, 1).unflatten(1, (self.shape.group, 3)).flatten(0, 1)
        return frames.permute(0, 2, 3, 1).unsqueeze(0)


class TinyFirst(TinyDecoder):
    """The decoder of the first latent frame."""

    def forward(self, latents: Tensor) -> tuple[Tensor]:
        """Map `latents [1, C, 1, h, w]` to pixels `[1, 1, H, W, 3]`."""
        return (self.shown(latents)[:, -1:],)


class TinyNext(TinyDecoder):
    """The decoder of later latent frames."""

    def forward(self, latents: Tensor) -> tuple[Tensor]:
        """Map `latents [1, C, F, h, w]` to pixels `[1, F * group, H, W, 3]`."""
        return (self.shown(latents),)


class TinyEncoder(nn.Module):
    """The encoder: one picture to its latents."""

    def __init__(self, shape: TinyShape) -> None:
        super().__init__()
        self.shape, self.encoder = shape, nn.Module()
        self.encoder.layers = nn.Sequential(*self._layers())

    def _layers(self) -> Iterator[nn.Module]:
        s = self.shape
        for i, (width, count) in enumerate(zip(s.encoder_widths, s.encoder_blocks, strict=True)):
            if i == 0:
                yield nn.Conv2d(3 * s.group, width, 3, padding=1)
            else:
                yield nn.Conv2d(width, width, 3, padding=1, stride=2, bias=False)
            yield from (Block(width) for _ in range(count))
        yield nn.Conv2d(s.encoder_widths[-1], s.channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map `image [1, H, W, 3]` float32, 0 to 1, to latents `[1, C, 1, h, w]` float32."""
        x, layers = image.permute(0, 3, 1, 2).repeat(1, self.shape.group, 1, 1), self.encoder.layers
        made = layers(x.to(layers[0].weight.dtype))
        return made.float().unsqueeze(2)
