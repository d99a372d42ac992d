"""Text to token ids and back, and conversations to text by the checkpoint's own chat template.

Templates are data from a stranger: they run in Jinja's immutable sandbox, as transformers runs them. Knows nothing of
images beyond the fact that a message may hold some.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..engines.errors import BundleError, RequestError

__all__ = ["ChatTemplate", "Text"]


class Text:
    """A tokenizer.json."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises plain Exception
            raise BundleError(f"{path.name} is not a tokenizer: {error}. Export the checkpoint again.") from error

    def encode(self, text: str, special: bool = False) -> NDArray[np.int64]:
        """Token ids; `special` lets the tokenizer add its own first and last tokens. Raises RequestError."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RequestError(f"the prompt is not valid Unicode: {error}. Pass text that is UTF-8.") from error
        return np.array(self._tokenizer.encode(text, add_special_tokens=special).ids, np.int64)

    def decode(self, tokens: NDArray[np.int64] | Sequence[int]) -> str:
        """The text of `tokens`, special tokens left out; broken characters come out as U+FFFD."""
        text: str = self._tokenizer.decode([int(token) for token in tokens], skip_special_tokens=True)
        return text


class ChatTemplate:
    """A conversation as text, by a Jinja template."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        self._special = dict(special_tokens)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise BundleError(f"the chat template is not valid Jinja: {error}. Export the checkpoint again.") from error

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The conversation up to where the assistant speaks next. Raises RequestError with the template's words."""
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **self._special)
        except (jinja2.TemplateError, TypeError, OverflowError) as error:
            raise RequestError(f"the chat template refuses these messages: {error}") from error


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
