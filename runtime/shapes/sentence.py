"""Sentences that a model writes, and objects made of them: a schema answered by a model that was taught no JSON.

A bundle says which sentences its model writes, as templates. Where a schema asks for an object of their values, the
model writes a sentence each of whose values is held to the template and to the schema, and the object is made of it.
A value ends before the first character of the text behind it, so a sentence is read in one way alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ...engines.errors import RequestError
from .automaton import Vocabulary, compiled
from .json_schema import members
from .language import Chain, Common, Either, Language, Literal, Pattern
from .template import Value, parts_of

__all__ = ["Rendering", "Sentence", "check_values", "object_of", "sentences_of"]

PLAIN = r'"\\\x00-\x1F\x7F'
"""Characters that no value holds, since JSON writes them otherwise."""

LETTERS = Vocabulary([bytes([byte]) for byte in range(256)], lambda text: list(text.encode()), 0, frozenset())  # type: ignore[arg-type,return-value]
"""Tokens of one byte each, by which it is found out whether there is any text."""


@dataclass(frozen=True)
class Sentence:
    """A template of answers."""

    parts: tuple[Literal | Value, ...]

    @property
    def regexes(self) -> dict[str, tuple[str, str]]:
        """Regular expressions of the values by name: the template's own, and that of texts that end where values do."""
        behind = [*self.parts[1:], Literal("")]
        return {
            part.name: (part.regex, f"[^{PLAIN}{_in_class(after)}]*")
            for part, after in zip(self.parts, behind, strict=True)
            if isinstance(part, Value)
        }

    def values(self, text: str) -> dict[str, str] | None:
        """Values of a whole sentence by name; None for another one."""
        found, at = {}, 0
        for part, after in zip(self.parts, [*self.parts[1:], None], strict=True):
            if isinstance(part, Literal):
                end = at + len(part.text) if text.startswith(part.text, at) else -1
            else:
                end = len(text) if after is None else text.find(after.text[0], at)  # type: ignore[union-attr]
                found[part.name] = text[at:end]
            if end < 0:
                return None
            at = end
        return found if at == len(text) else None


@dataclass(frozen=True)
class Member:
    """A member of an object, made of the text of a value."""

    required: bool
    constants: Mapping[str, str] = field(default_factory=dict)
    """Texts to their JSON."""
    numbers: tuple[str, ...] = ()
    """Regular expressions of texts that are written in JSON as they are."""
    strings: tuple[str, ...] = ()
    """Regular expressions of texts that stand between quotes."""

    @property
    def regex(self) -> str:
        """The texts of which there is JSON."""
        return "|".join(f"({one})" for one in (*map(re.escape, self.constants), *self.numbers, *self.strings))

    def json(self, text: str) -> str:
        """The JSON of one of them."""
        if text in self.constants:
            return self.constants[text]
        if any(re.fullmatch(one, text) for one in self.numbers):
            return text
        return json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True)
class Rendering:
    """The JSON of a model's sentences. Plain data: it may be made in one process and used in another."""

    sentences: tuple[Sentence, ...]
    members: Mapping[str, Member]
    """Members of the object, in its order."""
    unknown: str | None
    """Text of a value that is not known."""

    def json(self, text: str) -> str:
        """The object that a sentence says; empty where it is not whole."""
        values = next((found for one in self.sentences if (found := one.values(text)) is not None), None)
        if values is None:
            return ""
        said = {name: values.get(name, self.unknown) for name in self.members}
        shown = [
            f"{json.dumps(name, ensure_ascii=False)}: {member.json(value)}"
            for name, member in self.members.items()
            if (value := said[name]) is not None and not self._is_missing(member, value)
        ]
        return f"{{{', '.join(shown)}}}"

    def _is_missing(self, member: Member, text: str) -> bool:
        return text == self.unknown and not member.required and text not in member.constants


def sentences_of(templates: Sequence[str]) -> tuple[Sentence, ...]:
    """The sentences of templates. Raises RequestError for those that cannot be read in one way alone."""
    made = tuple(Sentence(parts_of(text)) for text in templates)
    lines = [line for text, one in zip(templates, made, strict=True) for line in _faults(text, one)]
    heads = [one.parts[0].text for one in made if isinstance(one.parts[0], Literal)]
    same = [a for i, a in enumerate(heads) for j, b in enumerate(heads) if i != j and b.startswith(a)]
    lines += [f"sentences: more than one begins with {head!r}, expected beginnings that differ" for head in same[:1]]
    if lines:
        raise RequestError("\n".join(lines))
    return made


def check_values(sentences: Sequence[Sentence]) -> None:
    """Raise RequestError for a value that no text is, as one of a broken regular expression. Needs outlines-core."""
    for one in sentences:
        for name, (own, _) in one.regexes.items():
            try:
                compiled(Pattern(own), LETTERS)
            except RequestError as error:
                raise RequestError(f"sentences: the value {name} is {own!r}, which no text can be: {error}") from error


def object_of(schema: object, sentences: Sequence[Sentence], unknown: str | None) -> tuple[Language, Rendering] | None:
    """The sentences that say an object under `schema`, and how it is made of them.

    None where the schema asks for something else: no object, a value that no sentence has, a list in it. Raises
    RequestError as `json_schema` does, and where no text of a value is valid.
    """
    asked = members(schema)
    names = {name for one in sentences for name in one.regexes}
    told = {name: _member(*asked[name], unknown) for name in asked if name in names}
    if not told or any(required and name not in names for name, (_, required) in asked.items()):
        return None
    held = {name: member for name, member in told.items() if member is not None}
    if len(held) < len(told):
        return None
    _check(held, sentences)
    whole = tuple(one for one in sentences if _lacks_nothing(one, held, unknown))
    parts = tuple(_held(one, held, unknown) for one in whole)
    return (Either(parts), Rendering(whole, held, unknown)) if parts else None


def _faults(text: str, sentence: Sentence) -> Iterator[str]:
    if not isinstance(sentence.parts[0], Literal):
        yield f"sentences: {text!r} begins with a value, expected some text before it"
    for one, after in zip(sentence.parts, sentence.parts[1:], strict=False):
        if isinstance(one, Value) and isinstance(after, Value):
            yield f"sentences: in {text!r} {after.name!r} stands right behind {one.name!r}, expected text between them"
    if len(sentence.regexes) < sum(isinstance(part, Value) for part in sentence.parts):
        yield f"sentences: {text!r} has two values of one name, expected a name for each"


def _member(language: Language, required: bool, unknown: str | None) -> Member | None:
    """A member whose JSON is in `language`; None where that is no plain value."""
    constants: dict[str, str] = {}
    numbers: list[str] = []
    strings: list[str] = []
    for one in _alternatives(language):
        match one:
            case Literal(text):
                value = json.loads(text)
                if isinstance(value, list | dict):
                    return None
                plain = unknown if value is None else value if isinstance(value, str) else text
                constants |= {} if plain is None else {plain: text}
            case Pattern(regex):
                numbers.append(regex)
            case Chain((Literal('"'), Pattern(regex), Literal('"'))):
                strings.append(regex)
            case _:
                return None
    return Member(required, constants, tuple(numbers), tuple(strings))


def _alternatives(language: Language) -> Iterator[Language]:
    for part in language.parts if isinstance(language, Either) else ():
        yield from _alternatives(part)
    if not isinstance(language, Either):
        yield language


def _regex(member: Member, unknown: str | None) -> str:
    """Texts that a value may have: those of which there is JSON, and that of no value where none has to be there."""
    missing = unknown is not None and not member.required and unknown not in member.constants
    return "|".join(one for one in (member.regex, re.escape(unknown or "") if missing else "") if one)


def _held(sentence: Sentence, held: Mapping[str, Member], unknown: str | None) -> Language:
    """The sentence, whose values are held to the schema."""
    parts: list[Language] = []
    for part in sentence.parts:
        if isinstance(part, Literal):
            parts.append(part)
            continue
        more = (_regex(held[part.name], unknown),) if part.name in held else ()
        parts.append(Common((*sentence.regexes[part.name], *more)))
    return Chain(tuple(parts))


def _lacks_nothing(sentence: Sentence, held: Mapping[str, Member], unknown: str | None) -> bool:
    """Every member that the sentence says nothing of may be unknown."""
    lacking = [member for name, member in held.items() if name not in sentence.regexes]
    return all(
        not one.required or (unknown is not None and _is_any(Common((re.escape(unknown), one.regex))))
        for one in lacking
    )


def _check(held: Mapping[str, Member], sentences: Sequence[Sentence]) -> None:
    """Raise RequestError for members of which no text is valid."""
    lines = []
    for name, member in held.items():
        written = [one.regexes[name] for one in sentences if name in one.regexes]
        if not any(_is_any(Common((*regexes, member.regex))) for regexes in written):
            own = " or ".join(dict.fromkeys(repr(own) for own, _ in written))
            lines.append(
                f"#/properties/{name}: this model writes {own} for it, and no such text is valid under its schema; "
                "ask for a value that it writes, or for a string"
            )
    if lines:
        raise RequestError("\n".join(lines))


@lru_cache(1024)
def _is_any(language: Language) -> bool:
    """There is a text in it."""
    try:
        compiled(language, LETTERS)
    except RequestError as error:
        if "outlines-core" in str(error):
            raise
        return False
    return True


def _in_class(after: Literal | Value) -> str:
    """The first character of the text behind a value, as a class of a regular expression has it."""
    first = after.text[:1] if isinstance(after, Literal) else ""
    return f"\\x{{{ord(first):X}}}" if first else ""
