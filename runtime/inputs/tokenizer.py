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
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ...engines.errors import BundleError, RequestError

__all__ = ["ChatTemplate", "Text"]


NOTHING = {"add_generation_prompt": True, "tools": None, "documents": None}
"""Values that templates find beside messages and special tokens: transformers defines them, templates rely on them."""


class Text:
    """A tokenizer.json."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
            self._tokenizer.no_truncation()  # a limit left over from training would cut prompts without a word
            self._tokenizer.no_padding()
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
        extensions = [loopcontrols, _Generation]
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
        environment.filters["tojson"] = _to_json
        environment.globals |= {"dict": _make_dict, "namespace": _Namespace, "raise_exception": _refuse}
        environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        self._special = dict(special_tokens)
        try:
            self._template = environment.from_string(source)
        except Exception as error:  # beside Jinja's own: RecursionError, SyntaxError, MemoryError, ...
            raise BundleError(f"the chat template is not valid Jinja: {error}. Export the checkpoint again.") from error

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The conversation up to where the assistant speaks next. Raises RequestError with the template's words."""
        try:
            return self._template.render({**NOTHING, **self._special, "messages": messages})
        except Exception as error:  # beside Jinja's own: whatever its expressions raise, as ZeroDivisionError
            raise RequestError(f"the chat template refuses these messages: {error}") from error


class _Namespace(Namespace):
    """Jinja's namespace without the names that Python itself looks up on an object."""

    def __init__(self, /, *values: Any, **named: Any) -> None:
        super().__init__({_public(name): value for name, value in dict(*values, **named).items()})

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(_public(name), value)


def _public(name: str) -> str:
    if name.startswith("_"):
        raise jinja2.TemplateError(f"a namespace may not hold {name!r}")
    return name


def _make_dict(*values: Any, **named: Any) -> dict[Any, Any]:
    """The function that templates call `dict`: not the type, whose attributes lead further than its values."""
    return dict(*values, **named)


class _Generation(Extension):
    """`{% generation %}` marks for training what the assistant says; here it is just its content."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own form)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements up to `{% endgeneration %}`."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
