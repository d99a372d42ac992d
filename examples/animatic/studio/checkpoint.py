"""The checkpoint as a whole: a diffusers directory that WanPipeline's parts load from, and a2d-export will.

transformer/ vae/ text_encoder/ tokenizer/ scheduler/ model_index.json. Knows the layout; no training.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from .autoencoder import Kind
from .camera import FPS, FRAMES, HEIGHT, WIDTH
from .language import LENGTH

__all__ = ["SHIFT", "STEPS", "Checkpoint", "load", "part", "write"]

SHIFT = 3.0
STEPS = (1000, 750, 500, 250)
CONTRACT = {
    "family": "causal_wan", "block_frames": 1, "steps": list(STEPS), "rule": "euler", "commit_timestep": 0.0,
    "text_length": LENGTH, "frames": FRAMES, "fps": FPS, "height": HEIGHT, "width": WIDTH, "first_group": "last_frame",
}  # fmt: skip
"""What the stock files do not say. Of the first latent frame's four frames the last one counts."""


@dataclass(frozen=True)
class Checkpoint:
    """All parts, ready to run."""

    net: Any
    vae: Any
    encoder: Any
    words: Any

    @property
    def kind(self) -> Kind:
        """How the autoencoder takes frames, read from its own configuration."""
        config = self.vae.config
        return Kind(config.in_channels // 3, config.encoder_block_out_channels[0], config.latent_channels)


def load(model: Path) -> Checkpoint:
    """Raises ValueError for a folder that lacks a part, and names all that it lacks."""
    missing = [name for name in ("transformer", "vae", "text_encoder", "tokenizer") if not (model / name).is_dir()]
    if missing:
        raise ValueError(f"{model} lacks {', '.join(missing)}, expected a whole checkpoint; see train.py assemble")
    return Checkpoint(
        part(WanTransformer3DModel, model / "transformer"),
        part(AutoencoderTiny, model / "vae"),
        UMT5EncoderModel.from_pretrained(model / "text_encoder").float().eval(),
        PreTrainedTokenizerFast.from_pretrained(model / "tokenizer"),
    )


def part(kind: Any, folder: Path) -> Any:
    """A model of diffusers in float32. Its own loader asks for another package wherever a part stays in float32."""
    made = kind.from_config(kind.load_config(folder))
    made.load_state_dict(load_file(folder / "diffusion_pytorch_model.safetensors"))
    return made.float().eval()


def write(parts: Checkpoint, model: Path, dtype: torch.dtype = torch.float16) -> int:
    """All parts in `dtype`, and what ties them together. Returns the bytes on disk."""
    for each, name in ((parts.net, "transformer"), (parts.vae, "vae"), (parts.encoder, "text_encoder")):
        each.to(dtype).save_pretrained(model / name)
        each.float()
    parts.words.save_pretrained(model / "tokenizer")
    FlowMatchEulerDiscreteScheduler(shift=SHIFT).save_pretrained(model / "scheduler")
    index = {
        "_class_name": "WanPipeline", "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"], "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"], "vae": ["diffusers", "AutoencoderTiny"], "a2d": CONTRACT,
    }  # fmt: skip
    (model / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
