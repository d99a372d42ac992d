"""The tokenizer and the chat templates of a bundle, read when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...engines.errors import BundleError
from .files import Bundle

if TYPE_CHECKING:
    from ..film.towers_spec import ChatSpec
    from ..inputs.tokenizer import ChatTemplate, Text

__all__ = ["prompt_template_of", "template_of", "text_of"]


def text_of(bundle: Bundle) -> Text | None:
    """The tokenizer; None where the bundle has none. Raises BundleError."""
    m = bundle.manifest
    name = m.words.text.tokenizer if m.words is not None else m.film.text.tokenizer if m.film is not None else None
    if name is None:
        return None
    from ..inputs.tokenizer import Text  # noqa: PLC0415 - a bundle without text does not pay for tokenizers and Jinja

    return Text(bundle.file(name))


def template_of(bundle: Bundle) -> ChatTemplate | None:
    """The template of conversations; None where the bundle has none. Raises BundleError."""
    text: Any = bundle.manifest.text
    return None if text.chat_template is None else _read_template(bundle, text.chat_template, text.special_tokens)


def prompt_template_of(bundle: Bundle, chat: ChatSpec) -> ChatTemplate:
    """The template of prompts of films. Raises BundleError."""
    return _read_template(bundle, chat.template, chat.special_tokens)


def _read_template(bundle: Bundle, name: str, special_tokens: Mapping[str, str]) -> ChatTemplate:
    try:
        source = bundle.file(name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{name} is not UTF-8: {error}. Export the checkpoint again.") from error
    from ..inputs.tokenizer import ChatTemplate  # noqa: PLC0415 - as above

    return ChatTemplate(source, special_tokens)
