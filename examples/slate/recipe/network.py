"""The reader as training sees it: transformers' modules with their weights, run over batches of equal frames.

transformers runs its vision tower image by image and window by window. All frames here have one size, so the same
modules run over `[batch, patches]`; a test holds the results against transformers' own forward. The language model is
transformers' own, given the rows' mask and positions.

Knows rows and pixels; nothing of slates, losses or schedules.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from .frame import CHARS, COLUMNS, KINDS, ROWS
from .words import MASK, STOP

__all__ = ["AUTOREGRESSIVE", "DIFFUSION", "Reader", "load", "write"]

COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")

DIFFUSION: dict[str, Any] = {
    "mask_token_id": MASK,
    "stop_token_ids": [STOP],
    "block_size": 8,
    "prompt_alignment": "left",
    "context_mask": "causal_prompt",
    "positions": "mrope",
    "schedule": "base-remainder",
    "steps": 4,
}
"""The decode contract of the second stage."""

AUTOREGRESSIVE: dict[str, Any] = DIFFUSION | {
    "block_size": 1,
    "context_mask": "token_causal",
    "shift": "right_prev_row",
    "steps": 1,
}
"""The decode contract of the first stage: blocks of one token, predicted by the row before."""

TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{ message.content }}{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif 'text' in part %}{{ part.text }}{%- endif %}{%- endfor %}{%- endif %}{{ '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class Reader(nn.Module):
    """A Qwen2.5-VL with two heads beside it, which say what each patch shows and are used in training only."""

    def __init__(self, network: Qwen2_5_VLForConditionalGeneration) -> None:
        super().__init__()
        vision = network.config.vision_config
        if vision.spatial_merge_size != 1 or vision.window_size // vision.patch_size != ROWS:
            raise ValueError(
                f"got merge size {vision.spatial_merge_size} and windows of {vision.window_size // vision.patch_size} "
                f"patches, expected 1 and {ROWS}: this forward is written for that; start from another checkpoint"
            )
        network.set_attn_implementation(_ATTENTION)
        self.network = network
        self.chars = nn.Linear(vision.out_hidden_size, CHARS)
        self.kinds = nn.Linear(vision.out_hidden_size, len(KINDS))
        order = torch.arange(ROWS * COLUMNS).view(ROWS, COLUMNS // ROWS, ROWS).transpose(0, 1).reshape(-1)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(STD), persistent=False)

    def features(self, pixels: Tensor) -> Tensor:
        """Image features `[N, patches, H]` of frames `[N, height, width, 3]` uint8."""
        tower, count = self.network.model.visual, len(pixels)
        kernel = tower.patch_embed.proj.weight.sum(2)  # both frames of a patch are the same one
        x = functional.linear(self._patches(pixels, kernel.shape[-1]), kernel.flatten(1))[:, self.order]
        grid = torch.stack([self.order // COLUMNS, self.order % COLUMNS])
        rope = self._rope(tower, x, grid)
        for index, block in enumerate(tower.blocks):
            windows = 1 if index in tower.fullatt_block_indexes else COLUMNS // ROWS
            x = x + self._attend(block.attn, block.norm1(x), rope, windows)
            x = x + block.mlp(block.norm2(x))
        return tower.merger(x).view(count, ROWS * COLUMNS, -1)[:, self.order.argsort()]

    def hidden(self, features: Tensor, rows: Tensor, image: slice, positions: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states of `rows` [N, L], whose `image` rows take the features."""
        language = self.network.model.language_model
        embedded = language.embed_tokens(rows).to(features.dtype)
        embedded = torch.cat([embedded[:, : image.start], features, embedded[:, image.stop :]], 1)
        return language(
            inputs_embeds=embedded,
            attention_mask={"full_attention": mask},
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Of the next token, or of the row itself: that is what a stage trains."""
        return self.network.lm_head(hidden).float()

    def _patches(self, pixels: Tensor, side: int) -> Tensor:
        """Normalised pixels `[N, patches, C * side^2]`, row by row."""
        x = (pixels.float() / 255 - self.mean) / self.std
        x = x.view(len(x), ROWS, side, COLUMNS, side, 3).permute(0, 1, 3, 5, 2, 4)
        return x.reshape(len(x), ROWS * COLUMNS, -1)

    @staticmethod
    def _rope(tower: nn.Module, x: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = tower.rotary_pos_emb(x, grid.T)
        return cos.to(x.dtype), sin.to(x.dtype)

    @staticmethod
    def _attend(attention: nn.Module, x: Tensor, rope: tuple[Tensor, Tensor], windows: int) -> Tensor:
        count, rows, width = x.shape
        heads = attention.num_heads
        q, k, v = attention.qkv(x).view(count, rows, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k = _turned(q, *rope), _turned(k, *rope)
        split = (count, heads, windows, rows // windows, width // heads)
        seen = _precise(q.reshape(split), k.reshape(split), v.reshape(split), None)
        return attention.proj(seen.reshape(count, heads, rows, -1).transpose(1, 2).reshape(count, rows, width))


def load(checkpoint: Path, fresh: bool = False) -> Reader:
    """A reader with a checkpoint's weights, or only of its shape. Raises ValueError if it is another kind of model."""
    config = Qwen2_5_VLConfig.from_pretrained(checkpoint)
    if config.model_type != "qwen2_5_vl":
        raise ValueError(f"{checkpoint} is a {config.model_type!r}, expected 'qwen2_5_vl'; give a slate checkpoint")
    if fresh:
        return Reader(Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=torch.float32))
    return Reader(Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32))


def write(reader: Reader, source: Path, target: Path, contract: Mapping[str, Any]) -> None:
    """A checkpoint directory in fp16 that transformers and a2d-export read; `source` gives tokenizer and configs."""
    target.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (source / name).resolve() != (target / name).resolve():
            shutil.copyfile(source / name, target / name)
    generation = json.loads((source / "generation_config.json").read_text(encoding="utf-8"))
    generation["a2d"] = dict(contract)
    (target / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
    (target / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    part = target / "model.safetensors.part"
    save_file(_published(reader.network.state_dict()), part, metadata={"format": "pt"})
    part.replace(target / "model.safetensors")


def _published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of released Qwen2.5-VL checkpoints; the head is the embedding."""
    renamed = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): weight
        for name, weight in state.items()
        if name != "lm_head.weight"
    }
    return {name: weight.detach().to("cpu", torch.float16).contiguous() for name, weight in renamed.items()}


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def _precise(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention; on a CPU in float32, where its backward is faster than in bfloat16."""
    if q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        seen = functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)
    return seen.to(v.dtype)


def _interface(_: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **__: Any) -> tuple[Tensor, None]:
    """`_precise` in the form that transformers calls; it hands over much that no option here needs."""
    return _precise(q, k, v, mask).transpose(1, 2), None


_ATTENTION = "slate"
AttentionInterface.register(_ATTENTION, _interface)
