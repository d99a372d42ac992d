"""The autoencoders of a checkpoint that films: sizes by their config.json, and the tensors of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ....engines.errors import CheckpointError
from ...checkpoint.sources import Source
from ...graphs.film_shapes import TinyShape, WanVaeShape
from ...graphs.pixels import AUTOENCODERS, DRAFT_PREFIX, PREFIX
from .family import require, size_of

__all__ = ["DRAFT", "UNUSED_OF_DRAFTS", "draft_sources", "pixel_shape", "pixel_sources"]

DRAFT = "draft_vae"
"""Part whose decoder makes drafts."""

UNUSED_OF_DRAFTS = r"draft_vae/(encoder|quant_conv)\..*"
"""Tensors of its encoder, which nobody runs."""


def pixel_shape(config: Mapping[str, Any], part: str = "vae") -> WanVaeShape | TinyShape:
    """The sizes in a part's config.json. Raises CheckpointError for what is not supported."""
    kind = str(config.get("_class_name"))
    if kind not in PIXELS:
        raise CheckpointError(f"{part}/config.json: _class_name = {kind!r}, expected one of {', '.join(PIXELS)}.")
    return PIXELS[kind](config, part)


def _wan_vae(config: Mapping[str, Any], part: str) -> WanVaeShape:
    channels = size_of(config, part, "z_dim", 16)
    base = size_of(config, part, "base_dim", 96)
    mean, std = (tuple(float(v) for v in config.get(key) or ()) for key in ("latents_mean", "latents_std"))
    if len(mean) != channels or len(std) != channels:
        raise CheckpointError(
            f"{part}/config.json: latents_mean and latents_std have {len(mean)} and {len(std)} numbers, expected one "
            f"for each of {channels} channels."
        )
    temporal = tuple(bool(v) for v in config.get("temperal_downsample", (False, True, True)))
    multipliers = tuple(int(v) for v in config.get("dim_mult", (1, 2, 4, 4)))
    if len(temporal) != len(multipliers) - 1:
        raise CheckpointError(
            f"{part}/config.json: temperal_downsample has {len(temporal)} steps, expected {len(multipliers) - 1}, one "
            "fewer than dim_mult."
        )
    patch = config.get("patch_size") or 1
    wanted: dict[str, tuple[object, ...]] = {"out_channels": (3 * patch**2,), "in_channels": (3 * patch**2,)}
    require(part, config, wanted | {"attn_scales": ([], None)})  # diffusers cannot encode with any either
    return WanVaeShape(
        channels=channels,
        encoder_dim=base,
        decoder_dim=config.get("decoder_base_dim") or base,
        multipliers=multipliers,
        blocks=size_of(config, part, "num_res_blocks", 2),
        temporal=temporal,
        mean=mean,
        std=std,
        residual=bool(config.get("is_residual", False)),
        patch=patch,
    )


def _tiny(config: Mapping[str, Any], part: str) -> TinyShape:
    colours = size_of(config, part, "in_channels", 3)
    require(
        part,
        config,
        {
            "act_fn": ("relu",),
            "upsample_fn": ("nearest",),
            "upsampling_scaling_factor": (2,),
            "out_channels": (colours,),
        },
    )
    if colours % 3:
        raise CheckpointError(f"{part}/config.json: in_channels = {colours}, expected three for each frame of a group.")
    encoder, decoder = (tuple(config[f"num_{name}_blocks"]) for name in ("encoder", "decoder"))
    return TinyShape(
        channels=size_of(config, part, "latent_channels", 4),
        group=colours // 3,
        encoder_widths=tuple(config["encoder_block_out_channels"]),
        decoder_widths=tuple(config["decoder_block_out_channels"]),
        encoder_blocks=encoder,
        decoder_blocks=decoder,
    )


PIXELS: dict[str, Callable[[Mapping[str, Any], str], WanVaeShape | TinyShape]] = {
    "AutoencoderKLWan": _wan_vae,
    "AutoencoderTiny": _tiny,
}
"""Autoencoders by diffusers' class."""


def pixel_sources(shape: WanVaeShape | TinyShape) -> dict[str, Source]:
    """Parameters of the autoencoder have the checkpoint's own names."""
    row = AUTOENCODERS[type(shape)]
    return _sources([row.first, row.encoder], shape, PREFIX, "vae")


def draft_sources(shape: WanVaeShape | TinyShape) -> dict[str, Source]:
    """The same of the decoder that makes drafts."""
    return _sources([AUTOENCODERS[type(shape)].first], shape, DRAFT_PREFIX, DRAFT)


def _sources(makers: Sequence[Callable[[Any], nn.Module]], shape: Any, prefix: str, part: str) -> dict[str, Source]:
    with torch.device("meta"):
        modules = [make(shape) for make in makers]
    named = {name: tuple(weight.shape) for module in modules for name, weight in module.named_parameters()}
    return {f"{prefix}{name}": Source((f"{part}/{name}",), (shape,)) for name, shape in named.items()}
