"""A prompt to the tokens that a reading tower gets: sentences about the clip, the chat template, and a suffix.

The sentences are those that the network was trained with, letter for letter. Knows no network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .clip import Clip
from .towers_spec import ChatSpec

if TYPE_CHECKING:
    from ..inputs.tokenizer import ChatTemplate, Text

__all__ = ["Said", "is_json", "said"]


@dataclass(frozen=True)
class Said:
    """A prompt as it is read."""

    text: str
    """The conversation."""
    tokens: NDArray[np.int64]
    """`[L]`, with those behind the conversation."""


def said(
    prompt: str,
    clip: Clip,
    fps: float,
    spec: ChatSpec,
    template: ChatTemplate,
    text: Text,
    sentences: bool = True,
    negative: bool = False,
) -> Said:
    """The prompt of a clip. `sentences` tell of its length and size; `negative` says that they are not so.

    Raises RequestError for text that is not valid Unicode.
    """
    told = _told(prompt, clip, fps, negative) if sentences else prompt
    system = spec.still_system if clip.frames == 1 else spec.clip_system
    messages = [] if system is None else [{"role": "system", "content": system}]
    # Control tokens that somebody wrote are words: the template alone writes them.
    rendered = template.render([*messages, {"role": "user", "content": text.as_words(told)}])
    tokens = np.concatenate([text.encode(rendered), np.array(spec.suffix, np.int64)])
    return Said(rendered, tokens)


def is_json(prompt: str) -> bool:
    """The prompt is a JSON object, which says length and size itself."""
    try:
        return isinstance(json.loads(prompt), dict)
    except (ValueError, RecursionError):
        return False


def _told(prompt: str, clip: Clip, fps: float, negative: bool) -> str:
    """The prompt with what is told of a clip's length, frames a second and size."""
    kind, verb = ("image" if clip.frames == 1 else "video"), ("is not" if negative else "is")
    if clip.frames > 1:
        length = f"The video {verb} {clip.frames / fps:.1f} seconds long and {verb} of {fps:.0f} FPS."
        prompt = _joined(prompt, length)
    return _joined(prompt, f"This {kind} {verb} of {clip.height}x{clip.width} resolution.")


def _joined(prompt: str, sentence: str) -> str:
    """The sentence behind the prompt, whose final dots make room for one."""
    plain = prompt.rstrip(".")
    return f"{plain}. {sentence}" if plain else sentence
