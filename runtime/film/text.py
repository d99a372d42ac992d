"""A prompt to the keys and values that every row of every frame attends.

The encoder is run once a prompt, on the prompt's own tokens. The rows behind them, up to the length that the network
was trained with, are zeros and alike, so they are one key whose score is raised by the logarithm of their number:
exactly what attending each of them gives. Knows no frames.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...engines.protocol import Buffer, Engine
from .contract import TextSpec

if TYPE_CHECKING:
    from ..inputs.tokenizer import Text

__all__ = ["CLEANED", "Attended", "Prompt", "attended", "cleaned", "encoded", "tokenized"]

CLEANED: Mapping[str, Callable[[str], str]] = {
    "none": lambda text: text,
    "wan": lambda text: re.sub(r"\s+", " ", html.unescape(html.unescape(text))).strip(),
}
"""Functions of the names in `contract.CLEANINGS`."""


@dataclass(frozen=True)
class Prompt:
    """The tokens of a prompt."""

    text: str
    """Cleaned."""
    tokens: NDArray[np.int64]
    """`[L]`, with the token that ends a prompt."""
    cut: int
    """Tokens that did not fit."""


@dataclass(frozen=True)
class Attended:
    """Keys and values of a prompt for the cross-attention of every layer, where the network's engine reads them."""

    feeds: Mapping[str, Buffer]
    """`cross_key_i`, `cross_value_i` `[1, A, L, D]`."""
    bias: NDArray[np.float32]
    """`[1, 1, 1, L]`, added to scores."""


def cleaned(prompt: str, spec: TextSpec) -> str:
    """The prompt as the encoder was trained to read it."""
    return CLEANED[spec.clean](prompt)


def tokenized(prompt: str, spec: TextSpec, text: Text) -> Prompt:
    """Clean and encode a prompt; one that is longer than the network attends is cut before the last token.

    Raises RequestError for text that is not valid Unicode.
    """
    clean = cleaned(prompt, spec)
    ids = text.encode(clean, special=True).tolist()
    if spec.eos_id is not None and (not ids or ids[-1] != spec.eos_id):
        ids.append(spec.eos_id)
    cut = max(0, len(ids) - spec.length)
    if cut:
        ids = [*ids[: spec.length - 1], ids[-1]] if spec.eos_id is not None else ids[: spec.length]
    return Prompt(clean, np.array(ids, np.int64), cut)


def encoded(prompt: Prompt, encoder: Engine) -> NDArray[np.float32]:
    """Rows `[L, dim]` of the text encoder."""
    made = encoder.run({"tokens": prompt.tokens[None]}, ["text_rows"])["text_rows"]
    rows: NDArray[np.float32] = np.asarray(made, np.float32)[0]
    return rows


def attended(rows: NDArray[np.float32], spec: TextSpec, cross: Engine) -> Attended:
    """Keys and values of the rows, and of one zero row for all that are missing to the network's length."""
    missing = spec.length - len(rows)
    bias = np.zeros((1, 1, 1, len(rows) + (missing > 0)), np.float32)
    if missing:
        rows = np.concatenate([rows, np.zeros((1, rows.shape[1]), np.float32)])
        bias[..., -1] = math.log(missing)
    made = cross.run({"text_rows": rows[None]}, keep=list(cross.outputs))
    return Attended(made, bias)  # type: ignore[arg-type]
