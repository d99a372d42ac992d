"""A template, as `scene {scene:[0-9]+[A-Z]*} take {take:int}`, or a list of choices, as a language.

In braces stand a value's name and, behind a colon, its type or a regular expression; doubled braces are braces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...engines.errors import RequestError
from .language import Chain, Either, Language, Literal, Pattern

__all__ = ["TYPES", "Value", "choices", "parts_of", "template"]

TYPES = {
    "int": r"-?(0|[1-9][0-9]{0,14})",
    "number": r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?",
    "word": r"[^\s\x00-\x1F]+",
    "line": r"[^\x00-\x1F]+",
    "date": (
        r"([12][0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
        r"|([12][0-9](0[48]|[2468][048]|[13579][26])|(12|16|20|24|28)00)-02-29)"
    ),
    "bool": r"yes|no",
}
"""Types of values to their regular expressions; a value without a type is a line."""


@dataclass(frozen=True)
class Value:
    """A part of a template that is filled in."""

    name: str
    regex: str


def choices(texts: Sequence[str]) -> Language:
    """One of `texts`. Raises RequestError where there is none, or an empty one."""
    several = isinstance(texts, Sequence) and not isinstance(texts, str)
    if not several or not texts or not all(isinstance(text, str) and text for text in texts):
        raise RequestError(f"choices: got {texts!r}, expected a list of one text or more, none of them empty")
    return Either(tuple(Literal(text) for text in dict.fromkeys(texts)))


def template(text: str) -> Language:
    """The texts that a template stands for. Raises RequestError that says where it is wrong."""
    return Chain(tuple(Pattern(part.regex) if isinstance(part, Value) else part for part in parts_of(text)))


def parts_of(text: str) -> tuple[Literal | Value, ...]:
    """The parts of a template, one after the other. Raises RequestError that says where it is wrong."""
    if not isinstance(text, str):
        raise RequestError(f"template: got {type(text).__name__}, expected a text, as 'take {{take:int}}'")
    parts = tuple(_parts(text))
    if not parts:
        raise RequestError("template: got an empty one, expected text and values, as 'take {take:int}'")
    return parts


def _parts(text: str) -> Iterator[Literal | Value]:
    at, plain = 0, ""
    while at < len(text):
        if text[at : at + 2] in ("{{", "}}"):
            plain, at = plain + text[at], at + 2
        elif text[at] == "{":
            if plain:
                yield Literal(plain)
            end = _closing(text, at)
            yield _value(text[at + 1 : end], text)
            at, plain = end + 1, ""
        elif text[at] == "}":
            raise RequestError(
                f"template: a brace closes at {at} that none has opened: {text!r}; write }}}} for a brace"
            )
        else:
            plain, at = plain + text[at], at + 1
    if plain:
        yield Literal(plain)


def _closing(text: str, start: int) -> int:
    """The brace that closes the one at `start`. Those of a regular expression are counted, escaped ones are not."""
    depth, at = 0, start
    while at < len(text):
        if text[at] == "\\":
            at += 1
        else:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                return at
        at += 1
    raise RequestError(f"template: the value that opens at {start} has no end: {text[start:]!r}; close it with a brace")


def _value(inside: str, text: str) -> Value:
    name, _, kind = inside.partition(":")
    name = name.strip()
    if not name:
        raise RequestError(
            f"template: a value without a name in {text!r}, expected {{name}}, {{name:type}} or {{name:regex}}"
        )
    kind = kind.strip() or "line"
    if kind in TYPES:
        return Value(name, TYPES[kind])
    if kind.isalpha():
        known = "\n".join(f"  {one:<8} {regex}" for one, regex in TYPES.items())
        raise RequestError(
            f"template: value {name!r} has type {kind!r}, expected a regular expression or one of\n{known}"
        )
    return Value(name, kind)
