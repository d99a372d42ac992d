"""The slow, obvious reader: transformers' own model and image processor, one full forward a step, no cache.

What the slate reader's readings are held against. It is written from the decode contract of the checkpoint (`left`,
`causal_prompt`, no shift, mrope positions), not from a2d's loop, so that the two can disagree.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tokenizers import Tokenizer
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

QUESTION = "<|im_start|>user\n<|vision_start|>{}<|vision_end|>read the slate<|im_end|>\n<|im_start|>assistant\n"


class PlainReader:
    """A checkpoint of the slate reader, decoded plainly."""

    def __init__(self, checkpoint: Path) -> None:
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.processor = Qwen2VLImageProcessorPil.from_pretrained(checkpoint)
        self.tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        self.contract = json.loads((checkpoint / "generation_config.json").read_text(encoding="utf-8"))["a2d"]

    @torch.no_grad()
    def read(self, frame: Path, steps: int, threshold: float | None, max_tokens: int = 40) -> str:
        """What a frame says, by the static rule (`threshold` None) or the dynamic one."""
        B, mask = self.contract["block_size"], self.contract["mask_token_id"]
        (stop,) = self.contract["stop_token_ids"]
        seen = self.processor(self._boxed(Image.open(frame).convert("RGB")), return_tensors="pt")
        grid = seen["image_grid_thw"]
        pads = "<|image_pad|>" * (int(grid.prod()) // self.processor.merge_size**2)
        rows = self.tokenizer.encode(QUESTION.format(pads), add_special_tokens=False).ids
        prompt = len(rows)
        while len(rows) < prompt + max_tokens and stop not in rows[prompt:]:
            start = len(rows)
            rows = rows + [mask] * B
            masked = np.ones(B, bool)
            for step in range(steps):
                p = self._probabilities(rows, prompt, B, seen["pixel_values"], grid)[start:]
                best, confidence = p.argmax(-1), np.where(masked, p.max(-1), -1.0)
                count = B // steps + (step < B % steps) if threshold is None else 1
                accepted = np.zeros(B, bool)
                accepted[np.argsort(-confidence, kind="stable")[: min(count, masked.sum())]] = True
                if threshold is not None:
                    accepted |= masked & (confidence > threshold)
                rows[start:] = np.where(accepted, best, rows[start:]).tolist()
                masked &= ~accepted
                if not masked.any():
                    break
        answer = rows[prompt:]
        return self.tokenizer.decode(answer[: answer.index(stop)] if stop in answer else answer)

    def _boxed(self, frame: Image.Image) -> Image.Image:
        """The whole frame in the model's size, between black bars."""
        size = self.contract["letterbox"]["width"], self.contract["letterbox"]["height"]
        return ImageOps.pad(frame, size, Image.Resampling.BICUBIC, color=(0, 0, 0))

    def _probabilities(
        self, rows: list[int], prompt: int, B: int, pixels: torch.Tensor, grid: torch.Tensor
    ) -> np.ndarray:
        """Of every token at every row `[rows, V]`; the prompt is causal, the answer block-causal."""
        n = len(rows)
        block = np.where(np.arange(n) < prompt, -1, (np.arange(n) - prompt) // B)
        sees = (block[None] < block[:, None]) | ((block[None] == block[:, None]) & (block[:, None] >= 0))
        sees |= (block[:, None] == -1) & np.tri(n, dtype=bool)
        added = torch.from_numpy(np.where(sees, 0.0, -1e9).astype(np.float32))[None, None]
        ids = torch.tensor([rows])
        image = (ids == self.model.config.image_token_id).long()
        positions, _ = self.model.model.get_rope_index(ids, mm_token_type_ids=image, image_grid_thw=grid)
        logits = self.model(
            input_ids=ids,
            pixel_values=pixels,
            image_grid_thw=grid,
            mm_token_type_ids=image,
            position_ids=positions,
            attention_mask={"full_attention": added},
        ).logits
        return logits[0].softmax(-1).numpy()
