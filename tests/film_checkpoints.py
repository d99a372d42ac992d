"""Tiny checkpoints that film, made with diffusers' and transformers' own classes, and forwards of these classes."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, AutoencoderTiny, FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import UMT5Config, UMT5EncoderModel

from a2d.export.checkpoint.wan_names import PARTS

TOKENIZER = Path(__file__).parent / "data" / "golden-frames" / "v1" / "checkpoint" / "tokenizer"
VOCAB = 168
OWN = {
    "family": "causal_wan", "block_frames": 1, "steps": [1000, 750, 500, 250], "text_length": 48, "frames": 17,
    "fps": 8, "height": 112, "width": 192, "first_group": "last_frame",
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Settings of each part's class."""

    wan: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]
    own: dict[str, Any] = field(default_factory=dict)
    """The object `a2d` of model_index.json."""


RECIPES = {
    "plain": Recipe(
        {"attention_head_dim": 24, "ffn_dim": 100, "cross_attn_norm": False, "eps": 1e-5, "text_dim": 48},
        {"base_dim": 4, "z_dim": 16, "dim_mult": [1, 2, 4], "num_res_blocks": 2, "temperal_downsample": [True, True]},
        {"d_model": 48, "num_heads": 3, "d_kv": 8, "d_ff": 40, "relative_attention_num_buckets": 16,
         "relative_attention_max_distance": 40},
    ),
    "residual": Recipe(
        {"num_attention_heads": 1, "attention_head_dim": 16, "ffn_dim": 64, "in_channels": 8, "out_channels": 8},
        {"base_dim": 4, "decoder_base_dim": 8, "z_dim": 8, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1,
         "is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16,
         "latents_mean": [0.1] * 8, "latents_std": [0.7] * 8},
        {},
    ),
    "tiny": Recipe(
        {"in_channels": 12, "out_channels": 12, "ffn_dim": 64},
        {"in_channels": 12, "out_channels": 12, "latent_channels": 12, "encoder_block_out_channels": (8,) * 4,
         "decoder_block_out_channels": (8,) * 4, "num_encoder_blocks": (1, 2, 1, 1),
         "num_decoder_blocks": (1, 1, 2, 1)},
        {},
        OWN,
    ),
}  # fmt: skip
"""Networks that differ in what released ones do: norms, widths, autoencoders of Wan 2.1, Wan 2.2 and diffusers."""


def tiny_decoded(vae: AutoencoderTiny, latents: Tensor) -> Tensor:
    """`[1, C, T, h, w]` to pixels `[N, H, W, 3]` in 0 to 1: a picture a latent, whose colours are four frames."""
    pictures = vae.decoder(latents[0].transpose(0, 1)).clamp(-1, 1) / 2 + 0.5
    return pictures.unflatten(1, (4, 3)).flatten(0, 1)[3:].permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Parts:
    """A checkpoint's parts as the libraries' own classes."""

    wan: Any
    vae: Any
    text: Any
    draft: Any = None
    """An autoencoder whose decoder makes drafts."""

    def decoded(self, latents: Tensor) -> Tensor:
        """`[1, C, T, h, w]` normalised to pixels `[N, H, W, 3]` in 0 to 1, the whole clip at once."""
        if isinstance(self.vae, AutoencoderTiny):
            return tiny_decoded(self.vae, latents)
        mean, std = self._moments()
        return (self.vae.decode(latents * std + mean).sample / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 3, 0)

    def encoded(self, image: Tensor) -> Tensor:
        """`[1, H, W, 3]` in 0 to 1 to normalised latents `[1, C, 1, h, w]`."""
        picture = (image * 2 - 1).permute(0, 3, 1, 2)
        if isinstance(self.vae, AutoencoderTiny):
            return self.vae.encoder(picture.repeat(1, 4, 1, 1)).unsqueeze(2)
        mean, std = self._moments()
        return (self.vae.encode(picture.unsqueeze(2)).latent_dist.mode() - mean) / std

    def _moments(self) -> tuple[Tensor, Tensor]:
        config = self.vae.config
        return tuple(torch.tensor(v).view(1, -1, 1, 1, 1) for v in (config.latents_mean, config.latents_std))


def checkpoint(path: Path, recipe: Recipe, dtype: torch.dtype = torch.float32, shard: str = "1GB") -> Parts:
    """Write a diffusers directory with random weights of `dtype`, and give its parts in float32 as they were stored."""
    wan = {"num_attention_heads": 2, "attention_head_dim": 32, "num_layers": 2, "freq_dim": 32, "text_dim": 32}
    text = {"d_model": 32, "num_layers": 2, "num_heads": 2, "d_kv": 16, "d_ff": 40, "vocab_size": VOCAB} | recipe.text
    tiny = "latent_channels" in recipe.vae
    parts = Parts(
        _random(WanTransformer3DModel(**(wan | {"in_channels": 16, "out_channels": 16} | recipe.wan)), 1),
        _random((AutoencoderTiny if tiny else AutoencoderKLWan)(**recipe.vae), 2),
        _random(UMT5EncoderModel(UMT5Config(feed_forward_proj="gated-gelu", **text)), 3),
    )
    for name, part in (("transformer", parts.wan), ("vae", parts.vae), ("text_encoder", parts.text)):
        part.to(dtype).save_pretrained(path / name, max_shard_size=shard)
        part.float()
    FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True).save_pretrained(path / "scheduler")
    shutil.copytree(TOKENIZER, path / "tokenizer")
    index = {"_class_name": "WanPipeline"} | ({"a2d": recipe.own} if recipe.own else {})
    (path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return parts


def draft_vae(path: Path, channels: int = 16, scales: int = 3) -> AutoencoderTiny:
    """Write a small autoencoder of four frames a latent, and give it."""
    recipe = {"in_channels": 12, "out_channels": 12, "latent_channels": channels}
    for side in ("encoder", "decoder"):
        recipe |= {f"{side}_block_out_channels": (8,) * scales, f"num_{side}_blocks": (1,) * scales}
    made = _random(AutoencoderTiny(**recipe), 4)
    made.save_pretrained(path)
    return made


def original(copy: Path, prefix: str = "model.", file: str = "transformer/diffusion_pytorch_model.safetensors") -> Path:
    """The network's weights under their authors' names, in a file of that name; gives the file."""
    stored = load_file(copy / "transformer" / "diffusion_pytorch_model.safetensors")
    theirs = {name: f"{prefix}{authors_name(name)}" for name in stored}
    (copy / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    save_file({theirs[name]: tensor for name, tensor in stored.items()}, copy / file)
    return copy / file


def authors_name(name: str) -> str:
    """The reverse of `renamed`, from the table that it reads."""
    number = re.match(r"blocks\.(\d+)\.", name)
    plain = f"blocks.{{}}.{name[number.end() :]}" if number else name
    ours = next(ours for ours, theirs in PARTS.items() if plain in (theirs, f"{theirs}.weight", f"{theirs}.bias"))
    made = ours + plain.removeprefix(PARTS[ours])
    return made.format(number[1]) if number else made


def _random(module: nn.Module, seed: int) -> nn.Module:
    """Weights under which every part of the network counts."""
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        scale = 0.5 / weight[0].numel() ** 0.5 if weight.dim() > 1 else 0.1
        weight.data = torch.randn(weight.shape, generator=generator) * scale
    return module.eval()
