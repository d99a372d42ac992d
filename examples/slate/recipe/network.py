"""The reader as training sees it: a Qwen2.5-VL of transformers, read from and written to checkpoint directories.

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
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from . import language, tower
from .fields import MISSING, NO_SLATE, VALUES
from .grid import CHARS, KINDS, PLACES, Grid
from .words import MASK, QUESTION, STOP

__all__ = ["AUTOREGRESSIVE", "DIFFUSION", "Reader", "frame_grid", "load", "write"]

COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")

SENTENCES = [" ".join(f"{name} {{{name}:{MISSING}|{value}}}" for name, value in VALUES.items()), NO_SLATE]
"""Answers as templates, of which objects are made where somebody asks for JSON."""

DIFFUSION: dict[str, Any] = {
    "mask_token_id": MASK,
    "stop_token_ids": [STOP],
    "block_size": 8,
    "prompt_alignment": "left",
    "context_mask": "causal_prompt",
    "positions": "mrope",
    "schedule": "base-remainder",
    "threshold": 0.9,
    "prompt": QUESTION,
    "sentences": SENTENCES,
    "unknown": MISSING,
}
"""What a2d-export reads: the second stage's decode contract, the question, and the sentences that answer it.

`write` adds the one size of a frame.
"""

AUTOREGRESSIVE: dict[str, Any] = DIFFUSION | {
    "block_size": 1,
    "context_mask": "token_causal",
    "shift": "right_prev_row",
    "threshold": None,
}
"""The decode contract of the first stage: blocks of one token, predicted by the row before."""

TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{ message.content }}{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif part.type == 'video' %}{{ '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{%- elif 'text' in part %}{{ part.text }}{%- endif %}{%- endfor %}{%- endif %}{{ '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)

GUIDED: language.Watch = (2, 2)
"""Two heads of the third layer are told where to look."""

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class Reader(nn.Module):
    """A Qwen2.5-VL, and three heads that say what each slot of a token shows; they are used in training only."""

    def __init__(self, network: Qwen2_5_VLForConditionalGeneration, grid: Grid) -> None:
        super().__init__()
        vision, text = network.config.vision_config, network.config.text_config
        if text.num_key_value_heads != text.num_attention_heads:
            raise ValueError(
                f"got {text.num_key_value_heads} heads of keys for {text.num_attention_heads} of queries, expected as "
                "many: this forward is written for that; start from another checkpoint"
            )
        self.network, self.grid = network, grid
        self.chars = nn.Linear(vision.out_hidden_size, grid.slots * CHARS)
        self.kinds = nn.Linear(vision.out_hidden_size, grid.slots * len(KINDS))
        self.places = nn.Linear(vision.out_hidden_size, grid.slots * PLACES)
        self.register_buffer("order", _windowed(grid), persistent=False)
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(STD), persistent=False)
        self._run_vision: tower.Layer = tower.layer
        self._run_text: language.Layer = language.layer

    def compiled(self) -> Reader:
        """The same reader, its layers fused by torch.compile, which needs a C++ compiler on a CPU."""
        self._run_vision = torch.compile(tower.layer, dynamic=False)
        self._run_text = torch.compile(language.layer, dynamic=False)
        return self

    def features(self, pixels: Tensor) -> Tensor:
        """Image features `[N, tokens, H]` of frames `[N, height, width, 3]` uint8, row by row."""
        vision, merge = self.network.model.visual, self.grid.merge
        patches = self._patches(pixels)[:, self.order]
        columns = self.grid.columns * merge
        places = torch.stack([self.order // columns, self.order % columns])
        first = self.order[:: merge**2]  # the top left patch of each token
        tokens = first // columns // merge * self.grid.columns + first % columns // merge
        return tower.encode(vision, patches, places, self._run_vision)[:, tokens.argsort()]

    def turn(self, positions: Tensor) -> language.Turn:
        """What `hidden` takes for mrope positions `[3, L]`."""
        return language.turn(self.network.model.language_model, positions)

    def hidden(
        self, features: Tensor, rows: Tensor, image: slice, turn: language.Turn, mask: Tensor, first: int
    ) -> tuple[Tensor, Tensor]:
        """Last hidden states from row `first` on, and guided scores `[N, heads, L - first, tokens]`.

        `rows` is `[N, L]`, of which the `image` rows take the features; `mask` as in `language.decode`.
        """
        model = self.network.model.language_model
        embedded = model.embed_tokens(rows).to(features.dtype)
        embedded = torch.cat([embedded[:, : image.start], features, embedded[:, image.stop :]], 1)
        hidden, scores = language.decode(model, embedded, turn, mask, first, GUIDED, self._run_text)
        return hidden, scores[..., image]

    def logits(self, hidden: Tensor) -> Tensor:
        """Of the next token, or of the row itself: that is what a stage trains."""
        return self.network.lm_head(hidden).float()

    def _patches(self, pixels: Tensor) -> Tensor:
        """Normalised pixels `[N, patches, C * side^2]`, row by row."""
        side = self.grid.patch
        x = (pixels.float() / 255 - self.mean) / self.std
        x = x.unflatten(1, (-1, side)).unflatten(3, (-1, side)).permute(0, 1, 3, 5, 2, 4)
        return x.flatten(3).flatten(1, 2)


def _windowed(grid: Grid) -> Tensor:
    """Numbers of the patches, window by window and in each token by token, as transformers orders them."""
    rows, columns, within = grid.height // grid.window, grid.width // grid.window, grid.window // grid.side
    numbers = torch.arange(grid.rows * grid.columns * grid.merge**2)
    shape = (rows, within, grid.merge, columns, within, grid.merge)
    return numbers.view(shape).permute(0, 3, 1, 4, 2, 5).reshape(-1)


def load(checkpoint: Path, fresh: bool = False) -> Reader:
    """A reader with a checkpoint's weights, or only of its shape. Raises ValueError if it is another kind of model."""
    config = Qwen2_5_VLConfig.from_pretrained(checkpoint)
    if config.model_type != "qwen2_5_vl":
        raise ValueError(f"{checkpoint} is a {config.model_type!r}, expected 'qwen2_5_vl'; give a slate checkpoint")
    grid = frame_grid(checkpoint, config)
    if fresh:
        return Reader(Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=torch.float32), grid)
    return Reader(Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32), grid)


def frame_grid(checkpoint: Path, config: Qwen2_5_VLConfig | None = None) -> Grid:
    """The frame that a checkpoint reads. Raises ValueError if its contract names none."""
    config = config or Qwen2_5_VLConfig.from_pretrained(checkpoint)
    contract = json.loads((checkpoint / "generation_config.json").read_text(encoding="utf-8")).get("a2d", {})
    if "letterbox" not in contract:
        raise ValueError(
            f"{checkpoint}/generation_config.json names no a2d.letterbox, expected one; add height and width"
        )
    return Grid.of(config.vision_config, contract["letterbox"])


def write(reader: Reader, source: Path, target: Path, contract: Mapping[str, Any]) -> None:
    """A checkpoint directory in fp16 that transformers and a2d-export read; `source` gives tokenizer and configs."""
    target.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (source / name).resolve() != (target / name).resolve():
            shutil.copyfile(source / name, target / name)
    generation = json.loads((source / "generation_config.json").read_text(encoding="utf-8"))
    generation["a2d"] = dict(contract) | {"letterbox": {"height": reader.grid.height, "width": reader.grid.width}}
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
