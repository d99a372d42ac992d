"""The tokenizer and the text encoder: a byte-level BPE of a few hundred pieces, a small UMT5.

The encoder is trained first and alone, to say from a prompt what the shot's attributes are; afterwards it stays as it
is, as the text encoders of released checkpoints do. Knows prompts and attributes; nothing of pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from .corpus import TRAINING, prompt_of, scene_of
from .scene import ACTIONS, CAMERAS, COLOURS, PLACES, SIDES, SIZES, THINGS, TIMES, Scene
from .work import worked

__all__ = ["LENGTH", "WIDTH", "classes", "learned", "rows", "tokenizer"]

LENGTH, WIDTH, VOCABULARY = 48, 128, 512
"""Rows of a prompt, those behind its end included; their width."""
HEADINGS = ("none", "left", "right")


def tokenizer(samples: int = 6000) -> PreTrainedTokenizerFast:
    """Learned from training's prompts; words that it has never met fall apart into bytes."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<pad>", "</s>", "<unk>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    bpe.train_from_iterator((prompt_of(scene_of(TRAINING, index)) for index in range(samples)), trainer)
    bpe.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=LENGTH
    )


def fresh(words: PreTrainedTokenizerFast) -> UMT5EncoderModel:
    torch.manual_seed(0)
    return UMT5EncoderModel(UMT5Config(
        vocab_size=len(words), d_model=WIDTH, d_kv=32, d_ff=256, num_layers=2, num_heads=4, dropout_rate=0.0,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    ))  # fmt: skip


def rows(encoder: Any, words: Any, prompts: Sequence[str]) -> Tensor:
    """[N, LENGTH, WIDTH]: encoded under the prompt's mask, zero behind its end, as causal Wan wants them."""
    told = words(list(prompts), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    told = told.to(next(encoder.parameters()).device)
    mask = told["attention_mask"]
    return encoder(input_ids=told["input_ids"], attention_mask=mask).last_hidden_state * mask[..., None]


def classes(scene: Scene) -> list[int]:
    """Every attribute as a number, those of each figure at the end."""
    colours = [COLOURS.index(colour) + 1 for colour in scene.figures] + [0] * (3 - len(scene.figures))
    return [
        TIMES.index(scene.time), PLACES.index(scene.place), SIZES.index(scene.size), CAMERAS.index(scene.camera),
        ACTIONS.index(scene.action), HEADINGS.index(scene.heading), SIDES.index(scene.side), THINGS.index(scene.thing),
        *colours,
    ]  # fmt: skip


COUNTS = (len(TIMES), len(PLACES), len(SIZES), len(CAMERAS), len(ACTIONS), 3, 3, len(THINGS), 6, 6, 6)


class Reader(nn.Module):
    """One query per attribute looks over the rows, and says which class it is."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(COUNTS), WIDTH) * WIDTH**-0.5)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, count) for count in COUNTS)

    def forward(self, x: Tensor) -> list[Tensor]:
        seen = (self.queries @ x.transpose(1, 2)).masked_fill((x == 0).all(-1)[:, None], -1e9).softmax(-1) @ x
        return [head(seen[:, index]) for index, head in enumerate(self.heads)]


def learned(minutes: float, batch: int = 128, rate: float = 2e-3) -> tuple[Any, Any, float]:
    """Tokenizer, encoder and, over fresh prompts that say everything, the share of attributes that are read right."""
    words = tokenizer()
    encoder, reader = fresh(words), Reader()
    optimizer = torch.optim.AdamW([*encoder.parameters(), *reader.parameters()], lr=rate, weight_decay=0.01)
    begun, stream = worked("cpu"), _batches(batch)
    while (done := (worked("cpu") - begun) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (1 - done) / 0.4)
        prompts, truth = next(stream)
        said = reader(rows(encoder, words, prompts))
        loss = torch.stack([functional.cross_entropy(s, truth[:, i]) for i, s in enumerate(said)]).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return words, encoder.eval(), _accuracy(encoder, reader, words)


def _batches(batch: int) -> Iterator[tuple[list[str], Tensor]]:
    """Scenes of a stream of their own; half of the prompts say everything."""
    index = 0
    while True:
        scenes = [scene_of("words", index + offset) for offset in range(batch)]
        prompts = [prompt_of(scene, 0, whole=number % 2 == 0) for number, scene in enumerate(scenes)]
        yield prompts, torch.tensor([classes(scene) for scene in scenes])
        index += batch


@torch.no_grad()
def _accuracy(encoder: Any, reader: Reader, words: Any) -> float:
    scenes = [scene_of("words-held", index) for index in range(500)]
    said = reader(rows(encoder, words, [prompt_of(scene, 0, whole=True) for scene in scenes]))
    truth = torch.tensor([classes(scene) for scene in scenes])
    return float(torch.stack([s.argmax(-1) == truth[:, i] for i, s in enumerate(said)]).float().mean())


def write(words: Any, encoder: Any, model: Path) -> None:
    words.save_pretrained(model / "tokenizer")
    encoder.save_pretrained(model / "text_encoder")
