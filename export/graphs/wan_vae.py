"""Wan's causal autoencoder as graphs of one latent frame after another: `pixels_first`, `pixels_next`, `encode_first`.

A causal convolution sees two frames of its past. They are inputs and outputs (`past_state_i`, `new_state_i`), so that
a clip is decoded as it comes. The first latent frame is one pixel frame and skips the upsampling convolutions in time,
which leaves zeros in their states; later frames read these as any others. So two graphs do for the three behaviours of
the original (diffusers' AutoencoderKLWan). Modules and parameters have its names.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from .film_shapes import WanVaeShape

__all__ = ["Encoder", "FirstPixels", "NextPixels"]

PAST = 2
"""Earlier frames that a causal convolution sees."""


class Stream:
    """The states of one run: those of the run before are read in order, and new ones written in the same order."""

    def __init__(self, past: tuple[Tensor, ...] | None) -> None:
        self.first = past is None
        self._past = iter(past or ())
        self.new: list[Tensor] = []

    def behind(self, x: Tensor) -> Tensor:
        """Put its past, zeros in the first run, before `x [1, C, F, h, w]`; note the new state."""
        past = next(self._past, None)
        window = functional.pad(x, (0, 0, 0, 0, PAST, 0)) if past is None else torch.cat([past, x], 2)
        self.new.append(window[:, :, -PAST:])
        return window

    def skip(self, x: Tensor) -> None:
        """Note a state of zeros for a convolution in time that is skipped."""
        self.new.append(functional.pad(torch.zeros_like(x), (0, 0, 0, 0, 1, 0))[:, :, -PAST:])


class Convolution(nn.Conv3d):
    """A convolution that is causal in time."""

    def __init__(self, width_in: int, width_out: int, kernel: tuple[int, int, int]) -> None:
        super().__init__(width_in, width_out, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))

    def streamed(self, x: Tensor, stream: Stream) -> Tensor:
        """Convolve `x [1, C, F, h, w]` behind its past; kernels of one frame need none."""
        return self(stream.behind(x) if self.kernel_size[0] > 1 else x)


class Norm(nn.Module):
    """A norm by the root mean square over the channels, axis 1, with `axes` axes behind it."""

    def __init__(self, width: int, axes: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width, *(1,) * axes))
        self.scale = width**0.5

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x [1, C, ...]`, in float32."""
        wide = x.float()
        length = wide.pow(2).sum(1, keepdim=True).sqrt().clamp(min=1e-12)
        return (wide / length).to(x.dtype) * self.scale * self.gamma


class Residual(nn.Module):
    """A residual block: two convolutions beside a shortcut."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = Norm(width_in, 3), Convolution(width_in, width_out, (3, 3, 3))
        self.norm2, self.conv2 = Norm(width_out, 3), Convolution(width_out, width_out, (3, 3, 3))
        self.conv_shortcut = Convolution(width_in, width_out, (1, 1, 1)) if width_in != width_out else None

    def streamed(self, x: Tensor, stream: Stream) -> Tensor:
        """Map `x [1, C, F, h, w]`: see the class."""
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(x)
        x = self.conv1.streamed(functional.silu(self.norm1(x)), stream)
        return self.conv2.streamed(functional.silu(self.norm2(x)), stream) + shortcut


def _pictures(x: Tensor) -> Tensor:
    """Lay `[1, C, F, h, w]` out as `[F, C, h, w]`."""
    return x.squeeze(0).transpose(0, 1)


def _clip(pictures: Tensor) -> Tensor:
    """Lay `[F, C, h, w]` out as `[1, C, F, h, w]`."""
    return pictures.transpose(0, 1).unsqueeze(0)


class Attention(nn.Module):
    """Attention of one head over the positions of each frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.to_qkv, self.proj = Norm(width, 2), nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def streamed(self, x: Tensor, _: Stream) -> Tensor:
        """Map `x [1, C, F, h, w]`: see the class."""
        pictures = _pictures(x)
        q, k, v = self.to_qkv(self.norm(pictures)).flatten(2).transpose(1, 2).chunk(3, -1)
        scores = (q @ k.transpose(1, 2)).float() * q.shape[-1] ** -0.5
        attended = (torch.softmax(scores, -1).to(v.dtype) @ v).transpose(1, 2).reshape(pictures.shape)
        return x + _clip(self.proj(attended))


class Middle(nn.Module):
    """The coarsest stage: attention between two residual blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([Residual(width, width), Residual(width, width)])
        self.attentions = nn.ModuleList([Attention(width)])

    def streamed(self, x: Tensor, stream: Stream) -> Tensor:
        """Map `x [1, C, F, h, w]`: see the class."""
        x = self.attentions[0].streamed(self.resnets[0].streamed(x, stream), stream)
        made: Tensor = self.resnets[1].streamed(x, stream)
        return made


class Upsample(nn.Module):
    """An upsampling to twice the side, and with `time` to twice the frames, the first latent frame excepted."""

    def __init__(self, width: int, width_out: int, time: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleList([nn.Identity(), nn.Conv2d(width, width_out, 3, padding=1)])
        self.time_conv = Convolution(width, 2 * width, (3, 1, 1)) if time else None

    def streamed(self, x: Tensor, stream: Stream) -> Tensor:
        """Map `x [1, C, F, h, w]`: see the class."""
        if self.time_conv is not None and stream.first:
            stream.skip(x)
        elif self.time_conv is not None:
            halves = self.time_conv.streamed(x, stream).unflatten(1, (2, -1))  # [1, 2, C, F, h, w]
            x = halves.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)
        pictures = _pictures(x)
        twice = pictures[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).flatten(4, 5).flatten(2, 3)
        return _clip(self.resample[1](twice))


class Downsample(nn.Module):
    """A downsampling to half the side. Frames are not halved: only the first latent frame is encoded."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resample = nn.ModuleList([nn.Identity(), nn.Conv2d(width, width, 3, stride=2)])

    def streamed(self, x: Tensor, _: Stream) -> Tensor:
        """Map `x [1, C, 1, h, w]`: see the class."""
        return _clip(self.resample[1](functional.pad(_pictures(x), (0, 1, 0, 1))))


def _spread(x: Tensor, width: int, time: int, first: bool) -> Tensor:
    """The shortcut of Wan 2.2's upsampling: channels repeated, and laid out as positions and frames."""
    x = x.repeat_interleave(width * time * 4 // x.shape[1], 1)
    x = x.unflatten(1, (width, time, 2, 2)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    x = x.flatten(6, 7).flatten(4, 5).flatten(2, 3)
    return x[:, :, time - 1 :] if first else x


def _averaged(x: Tensor, width: int, time: int, space: int) -> Tensor:
    """The shortcut of Wan 2.2's downsampling of one frame: positions laid out as channels, and averaged in groups."""
    x = functional.pad(x, (0, 0, 0, 0, time - 1, 0))
    x = x.unflatten(4, (-1, space)).unflatten(3, (-1, space)).unflatten(2, (-1, time))
    x = x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)
    return x.unflatten(1, (width, -1)).mean(2)


class UpStage(nn.Module):
    """A stage of the decoder: residual blocks and an upsampling."""

    def __init__(self, shape: WanVaeShape, width_in: int, width_out: int, up: bool, time: bool) -> None:
        super().__init__()
        self.width, self.time = width_out, 2 if time else 1
        widths = [width_in, *(width_out,) * (shape.blocks + 1)]
        self.resnets = nn.ModuleList(Residual(a, b) for a, b in itertools.pairwise(widths))
        self.shortcut = up and shape.residual
        if up and shape.residual:
            self.upsampler = Upsample(width_out, width_out, time)
        elif up:
            self.upsamplers = nn.ModuleList([Upsample(width_out, width_out // 2, time)])
        self.up = up

    def streamed(self, x: Tensor, stream: Stream) -> Tensor:
        """Map `x [1, C, F, h, w]`: see the class."""
        begin = x
        for block in self.resnets:
            x = block.streamed(x, stream)
        if self.up:
            step = self.upsampler if self.shortcut else self.upsamplers[0]
            x = step.streamed(x, stream)
        return x + _spread(begin, self.width, self.time, stream.first) if self.shortcut else x


class DownStage(nn.Module):
    """A stage of Wan 2.2's encoder: residual blocks and a downsampling, beside a shortcut."""

    def __init__(self, shape: WanVaeShape, width_in: int, width_out: int, down: bool, time: bool) -> None:
        super().__init__()
        self.width, self.time, self.space = width_out, 2 if time else 1, 2 if down else 1
        widths = [width_in, *(width_out,) * shape.blocks]
        self.resnets = nn.ModuleList(Residual(a, b) for a, b in itertools.pairwise(widths))
        self.downsampler = Downsample(width_out) if down else None

    def streamed(self, x: Tensor, stream: Stream) -> Tensor:
        """Map `x [1, C, 1, h, w]`: see the class."""
        begin = x
        for block in self.resnets:
            x = block.streamed(x, stream)
        x = x if self.downsampler is None else self.downsampler.streamed(x, stream)
        return x + _averaged(begin, self.width, self.time, self.space)


class Decoder(nn.Module):
    """The decoder: normalised latents to pixels."""

    def __init__(self, shape: WanVaeShape) -> None:
        super().__init__()
        self.shape, c = shape, shape.channels
        widths = [shape.decoder_dim * m for m in (shape.multipliers[-1], *shape.multipliers[::-1])]
        self.post_quant_conv, self.decoder = Convolution(c, c, (1, 1, 1)), nn.Module()
        part = self.decoder
        part.conv_in, part.mid_block = Convolution(c, widths[0], (3, 3, 3)), Middle(widths[0])
        part.up_blocks = nn.ModuleList(self._stages(widths))
        part.norm_out = Norm(widths[-1], 3)
        part.conv_out = Convolution(widths[-1], 3 * shape.patch**2, (3, 3, 3))

    def _stages(self, widths: list[int]) -> Iterator[UpStage]:
        times, last = (*self.shape.temporal[::-1], False), len(widths) - 2
        for i, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
            halved = width_in // 2 if i and not self.shape.residual else width_in
            yield UpStage(self.shape, halved, width_out, i < last, times[i])

    def streamed(self, latents: Tensor, stream: Stream) -> Tensor:
        """Map `latents [1, C, F, h, w]` float32 to pixels `[1, N, H, W, 3]` float32, 0 to 1."""
        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (self.shape.mean, self.shape.std))
        x = self.post_quant_conv((latents * std + mean).to(self.post_quant_conv.weight.dtype))
        part = self.decoder
        x = part.mid_block.streamed(part.conv_in.streamed(x, stream), stream)
        for stage in part.up_blocks:
            x = stage.streamed(x, stream)
        x = part.conv_out.streamed(functional.silu(part.norm_out(x)), stream)
        return _shown(_whole(x, self.shape.patch))


def _whole(x: Tensor, patch: int) -> Tensor:
    """Lay channels `(3, patch_w, patch_h)` out as positions."""
    if patch == 1:
        return x
    return x.unflatten(1, (3, patch, patch)).permute(0, 1, 4, 5, 3, 6, 2).flatten(5, 6).flatten(3, 4)


def _shown(x: Tensor) -> Tensor:
    """Map `[1, 3, N, H, W]`, -1 to 1, to `[1, N, H, W, 3]` float32, 0 to 1."""
    return (x.float().clamp(-1, 1) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 4, 1)


class FirstPixels(Decoder):
    """The decoder of the first latent frame."""

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Map latents and states to pixels and new states."""
        stream = Stream(None)
        pixels = self.streamed(latents, stream)
        return pixels, *stream.new


class NextPixels(Decoder):
    """The decoder of later latent frames."""

    def forward(self, latents: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Map latents and states to pixels and new states."""
        stream = Stream(past)
        pixels = self.streamed(latents, stream)
        return pixels, *stream.new


class Encoder(nn.Module):
    """The encoder: one picture to its normalised latents, the mode of the posterior."""

    def __init__(self, shape: WanVaeShape) -> None:
        super().__init__()
        self.shape, c = shape, shape.channels
        widths = [shape.encoder_dim * m for m in (1, *shape.multipliers)]
        self.encoder, self.quant_conv = nn.Module(), Convolution(2 * c, 2 * c, (1, 1, 1))
        part = self.encoder
        part.conv_in = Convolution(3 * shape.patch**2, widths[0], (3, 3, 3))
        part.down_blocks = nn.ModuleList(self._residual(widths) if shape.residual else self._plain(widths))
        part.mid_block, part.norm_out = Middle(widths[-1]), Norm(widths[-1], 3)
        part.conv_out = Convolution(widths[-1], 2 * c, (3, 3, 3))

    def _residual(self, widths: list[int]) -> Iterator[nn.Module]:
        times, last = (*self.shape.temporal, False), len(widths) - 2
        for i, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
            yield DownStage(self.shape, width_in, width_out, i < last, times[i])

    def _plain(self, widths: list[int]) -> Iterator[nn.Module]:
        for i, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
            for k in range(self.shape.blocks):
                yield Residual(width_out if k else width_in, width_out)
            if i < len(widths) - 2:
                yield Downsample(width_out)

    def forward(self, image: Tensor) -> Tensor:
        """Map `image [1, H, W, 3]` float32, 0 to 1, to latents `[1, C, 1, h, w]` float32."""
        x, p, stream, part = (
            image.permute(0, 3, 1, 2).unsqueeze(2) * 2 - 1,
            self.shape.patch,
            Stream(None),
            self.encoder,
        )
        if p > 1:
            x = x.unflatten(4, (-1, p)).unflatten(3, (-1, p)).permute(0, 1, 6, 4, 2, 3, 5).flatten(1, 3)
        x = part.conv_in.streamed(x.to(self.quant_conv.weight.dtype), stream)
        for block in part.down_blocks:
            x = block.streamed(x, stream)
        x = part.mid_block.streamed(x, stream)
        x = part.conv_out.streamed(functional.silu(part.norm_out(x)), stream)
        mode = self.quant_conv(x)[:, : self.shape.channels].float()
        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (self.shape.mean, self.shape.std))
        return (mode - mean) / std
