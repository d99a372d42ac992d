"""Text to token ids and back, and conversations to text by the checkpoint's own chat template.

Templates are data from a stranger: they run in Jinja's immutable sandbox, as transformers runs them. Knows nothing of
images beyond the fact that a message may hold some.
"""

from __future__ import annotations

import copy
import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
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


MARK = "\ufdd0"
"""A noncharacter of Unicode, which stands in no text: behind the first character of a control token that is words."""


class Text:
    """A tokenizer.json."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_buffer(path.read_bytes())  # a path need not be UTF-8
            self._tokenizer.no_truncation()  # a limit left over from training would cut prompts without a word
            self._tokenizer.no_padding()
            numbered = self._tokenizer.get_added_tokens_decoder()
        except OSError as error:
            raise BundleError(f"{path.name} cannot be read: {error.strerror}. Export the checkpoint again.") from error
        except Exception as error:  # tokenizers raises plain Exception
            raise BundleError(f"{path.name} is not a tokenizer: {error}. Export the checkpoint again.") from error

        controls = sorted((token.content for token in numbered.values() if token.special), key=len, reverse=True)
        self._ids = {token.content: number for number, token in numbered.items()}
        self._controls = re.compile("|".join(map(re.escape, controls)) or "(?!)")

    def as_words(self, text: str) -> str:
        """`text`, marked so that `encode` takes the control tokens that somebody wrote into it for words."""
        return self._controls.sub(lambda found: f"{found[0][0]}{MARK}{found[0][1:]}", text.replace(MARK, ""))

    def encode(self, text: str, special: bool = False) -> NDArray[np.int64]:
        """Token ids; `special` lets the tokenizer add its own first and last tokens. Raises RequestError."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RequestError(f"the prompt is not valid Unicode: {error}. Pass text that is UTF-8.") from error
        ids = self._with_words(text) if MARK in text else self._tokenizer.encode(text, add_special_tokens=special).ids
        return np.array(ids, np.int64)

    @cached_property
    def _words(self) -> Tokenizer:
        """The tokenizer without control tokens: they are encoded as the words that they are spelled with."""
        words = copy.deepcopy(self._tokenizer)
        words.encode_special_tokens = True
        return words

    def _with_words(self, text: str) -> list[int]:
        """Ids of a marked text: its control tokens by themselves, and what stands between them as words alone."""
        ids, at = [], 0
        for found in [*self._controls.finditer(text), None]:
            between = text[at : found.start() if found else None].replace(MARK, "")
            ids += self._words.encode(between, add_special_tokens=False).ids if between else []
            if found is not None:
                ids.append(self._ids[found[0]])
                at = found.end()
        return ids

    def decode(self, tokens: NDArray[np.int64] | Sequence[int]) -> str:
        """The text of `tokens`, special tokens left out; broken characters come out as U+FFFD."""
        text: str = self._tokenizer.decode([int(token) for token in tokens], skip_special_tokens=True)
        return text

    def token_bytes(self) -> list[bytes]:
        """The bytes that each token stands for in a text, by its id; none for control tokens.

        Raises RequestError for a tokenizer whose tokens stand for no bytes of their own.
        """
        pieces = self._tokenizer.get_vocab(with_added_tokens=False)
        spelled = _spelling(json.loads(self._tokenizer.to_str()).get("decoder") or {})
        made = [b""] * self._tokenizer.get_vocab_size()
        made += [b""] * (max(pieces.values(), default=0) + 1 - len(made))
        for piece, number in pieces.items():
            made[number] = spelled(piece)
        for number, token in self._tokenizer.get_added_tokens_decoder().items():
            made += [b""] * (number + 1 - len(made))
            made[number] = b"" if token.special else token.content.encode()
        return made


def _spelling(decoder: Mapping[str, Any]) -> Callable[[str], bytes]:
    """A token's bytes from how it is written in the vocabulary, by the tokenizer's decoder."""
    steps = decoder.get("decoders", [decoder])
    kinds = [step.get("type") for step in steps]
    if "ByteLevel" in kinds:
        byte_of = {character: byte for byte, character in enumerate(_byte_characters())}
        return lambda piece: bytes(byte_of[character] for character in piece if character in byte_of)
    spaces = [step for step in steps if step.get("type") == "Metaspace"]
    spaces += [step for step in steps if step.get("type") == "Replace" and step.get("content") == " "]
    if not spaces and "Fuse" not in kinds:
        named = ", ".join(str(kind) for kind in kinds)
        raise RequestError(f"this tokenizer's tokens stand for no bytes of their own (its decoder is {named})")
    return _from_sentencepiece


def _from_sentencepiece(piece: str) -> bytes:
    if re.fullmatch("<0x[0-9A-F]{2}>", piece):
        return bytes([int(piece[3:5], 16)])
    return piece.replace("\u2581", " ").encode()


def _byte_characters() -> list[str]:
    """The character that GPT-2's byte-level vocabularies write for each byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (chr(0x100 + place) for place in range(256))
    return [chr(byte) if byte in shown else next(others) for byte in range(256)]


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

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any] | None = None,
        continue_final: bool = False,
    ) -> str:
        """The conversation up to where the assistant speaks next.

        `options` are variables that the template may ask for; `continue_final` leaves the last message open, so that it
        is gone on with.
        Raises RequestError with the template's words, or where the last message cannot be gone on with.
        """
        if taken := sorted({"messages", "add_generation_prompt"} & {*(options or ())}):
            raise RequestError(
                f"template_options: {', '.join(taken)} of the chat template is a2d's to fill; leave it out"
            )
        given = {**NOTHING, **self._special, **(options or {}), "messages": messages}
        try:
            text = self._template.render({**given, "add_generation_prompt": not continue_final})
        except Exception as error:  # beside Jinja's own: whatever its expressions raise, as ZeroDivisionError
            raise RequestError(f"the chat template refuses these messages: {error}") from error
        return _open(text, messages) if continue_final else text


def _open(text: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """`text` up to the end of the last message's words, as transformers' `continue_final_message` cuts it."""
    content = messages[-1].get("content") if messages else None
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
        content = texts[-1] if texts else None
    if not isinstance(content, str) or not content.strip():
        raise RequestError("the last message has no words to go on with; give it some, or ask for a new turn")
    at = text.rfind(content.strip())
    if at < 0:
        raise RequestError(
            "the chat template changes the last message, so it cannot be gone on with; give it as a prompt"
        )
    kept = content.lstrip()
    return text[: at + len(kept)] if text.startswith(kept, at) else text[: at + len(content.strip())]


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
