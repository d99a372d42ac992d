"""Clips to latents and back: the candidates, all stock diffusers classes, under one pair of functions.

`packed` hands four frames at once to an AutoencoderTiny, as twelve channels: the first latent frame is the first frame
four times over, every later one the next four frames (the 1 + 4k rule). Knows no prompts and no transformer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKLWan, AutoencoderTiny
from torch import Tensor, nn

__all__ = ["KINDS", "Kind", "decoded", "encoded", "groups", "made", "ungrouped"]

PACK = 4


@dataclass(frozen=True)
class Kind:
    """One way to compress: `frames` of a clip are one latent frame; `wan` is the causal 3-D autoencoder."""

    frames: int
    width: int
    channels: int
    wan: bool = False


KINDS = {
    "frame-32": Kind(1, 32, 4),
    "packed-32": Kind(PACK, 32, 12),
    "packed-64": Kind(PACK, 64, 12),
    "wan-8": Kind(PACK, 8, 16, wan=True),
}


def made(kind: Kind) -> nn.Module:
    """A fresh autoencoder; eight pixels across and down are one of the latent."""
    if kind.wan:
        return AutoencoderKLWan(base_dim=kind.width, z_dim=kind.channels, dim_mult=[1, 2, 2, 2], num_res_blocks=1)
    return AutoencoderTiny(
        in_channels=3 * kind.frames,
        out_channels=3 * kind.frames,
        latent_channels=kind.channels,
        encoder_block_out_channels=(kind.width,) * 4,
        decoder_block_out_channels=(kind.width,) * 4,
        num_encoder_blocks=(1, 2, 3, 3),
        num_decoder_blocks=(3, 3, 2, 1),
    )


def groups(frames: Tensor) -> Tensor:
    """[N, 1 + 4k, 3, H, W] to [N, 1 + k, 12, H, W]. Raises ValueError for another number of frames."""
    if frames.shape[1] % PACK != 1:
        raise ValueError(f"got {frames.shape[1]} frames, expected 1 + 4k; cut or lengthen the clip")
    padded = torch.cat([frames[:, :1].expand(-1, PACK - 1, -1, -1, -1), frames], dim=1)
    return padded.unflatten(1, (-1, PACK)).flatten(2, 3)


def ungrouped(packed: Tensor) -> Tensor:
    """The reverse: of the first group only the last frame counts."""
    return packed.unflatten(2, (PACK, 3)).flatten(1, 2)[:, PACK - 1 :]


def encoded(vae: Any, kind: Kind, frames: Tensor) -> Tensor:
    """[N, F, 3, H, W] in -1 to 1, to latents [N, T, C, h, w]."""
    if kind.wan:
        return vae.encode(frames.transpose(1, 2)).latent_dist.mode().transpose(1, 2)
    x = groups(frames) if kind.frames == PACK else frames
    return vae.encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def decoded(vae: Any, kind: Kind, latents: Tensor) -> Tensor:
    """The reverse of `encoded`."""
    if kind.wan:
        return vae.decode(latents.transpose(1, 2)).sample.transpose(1, 2)
    x = vae.decoder(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])
    return ungrouped(x) if kind.frames == PACK else x
