"""A JSON schema as the language of texts that validate against it: part of them, where it allows more than is said.

Objects hold the properties that are declared, in that order; required ones always; where none are, any. What a schema
asserts is kept to exactly; a keyword that is not supported is an error which names it, so nothing is asserted in vain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

from ...engines.errors import RequestError
from .json_pattern import CHARACTER, integers, json_pattern
from .language import Chain, Either, Language, Literal, Pattern, Repeat, optional
from .template import TYPES

__all__ = ["Members", "json_schema", "members"]

Members: TypeAlias = "dict[str, tuple[Language, bool]]"
"""Members of an object by name: the texts of their values, and whether each has to be there."""

NOTES = {
    "$schema", "$id", "$comment", "$defs", "definitions", "$anchor", "title", "description", "default", "examples",
    "deprecated", "readOnly", "writeOnly",
}  # fmt: skip
"""Keywords that assert nothing by themselves."""

KEYWORDS = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": set(),
    "boolean": set(),
    "null": set(),
}
"""Types to the keywords that are kept to for them. Keywords of other types assert nothing of a value."""

NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
MOST = 10**15 - 1
"""Integers up to here are written, unless a schema asks for larger ones."""

DEEPEST = 1
"""Lists and objects in a value of which the schema says nothing, one in the other."""

STRING = Chain((Literal('"'), Pattern(f"{CHARACTER}{{0,}}"), Literal('"')))
NAME = Chain((STRING, Literal(": ")))
"""Any string, and one as a member's name."""

FORMATS = {
    "date": TYPES["date"],
    "time": r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z",
    "date-time": TYPES["date"] + r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
}


def json_schema(schema: object) -> Language:
    """JSON texts that are valid under `schema`. Raises RequestError: an unsupported keyword, or nothing is valid."""
    return _Reader(schema).language(schema, "#", ())


def members(schema: object) -> Members:
    """Members that an object under `schema` has; none where it is a schema of something else, or declares none.

    Raises RequestError as `json_schema` does.
    """
    return _Reader(schema).declared(schema, "#", ())


class _Reader:
    def __init__(self, root: object) -> None:
        self._root = root

    def language(self, schema: object, at: str, seen: tuple[str, ...]) -> Language:
        """Texts valid under the schema that stands at `at`; `seen` are the references that led there."""
        if schema is True:
            schema = {}
        if schema is False:
            raise RequestError(f"{at}: the schema is false: no answer can be valid")
        if not isinstance(schema, Mapping):
            raise RequestError(f"{at}: got {json.dumps(schema)}, expected a schema: an object, true or false")
        said = {name: value for name, value in schema.items() if name not in NOTES}
        if "$ref" in said:
            return self._referred(said, at, seen)
        if "enum" in said or "const" in said:
            return _one_of(said, at)
        if "anyOf" in said:
            _only(said, {"anyOf"}, at)
            return self._any_of(said["anyOf"], f"{at}/anyOf", seen)
        kinds = _kinds(said, at)
        unknown = sorted(set(said) - {"type"}.union(*KEYWORDS.values()))
        unknown += sorted(NUMBERS & set(said)) if "number" in kinds else []
        if unknown:
            raise RequestError(f"{at}: {', '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not supported here")
        return Either(tuple(self._typed(kind, said, at, seen) for kind in kinds))

    def declared(self, schema: object, at: str, seen: tuple[str, ...]) -> Members:
        """See `members`."""
        if not isinstance(schema, Mapping):
            return {}
        said = {name: value for name, value in schema.items() if name not in NOTES}
        if "$ref" in said:
            return self.declared(self._target(said, at, seen), str(said["$ref"]), (*seen, said["$ref"]))
        if {"enum", "const", "anyOf"} & set(said) or _kinds(said, at) != ["object"]:
            return {}
        return self._members(said, at, seen)

    def _referred(self, said: Mapping[str, Any], at: str, seen: tuple[str, ...]) -> Language:
        target, name = self._target(said, at, seen), said["$ref"]
        return self.language(target, name, (*seen, name))

    def _target(self, said: Mapping[str, Any], at: str, seen: tuple[str, ...]) -> Any:
        """The schema that a reference leads to."""
        _only(said, {"$ref"}, at)
        name = said["$ref"]
        if name in seen:
            raise RequestError(f"{at}: $ref {name!r} leads back to itself; recursive schemas are not supported")
        if not isinstance(name, str) or not (name == "#" or name.startswith("#/")):
            raise RequestError(f"{at}: $ref {name!r} is not supported, expected one within the schema: '#/$defs/...'")
        target: Any = self._root
        for part in unquote(name).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or key not in target:
                raise RequestError(f"{at}: $ref {name!r} leads nowhere")
            target = target[key]
        return target

    def _any_of(self, schemas: object, at: str, seen: tuple[str, ...]) -> Language:
        if not isinstance(schemas, list) or not schemas:
            raise RequestError(f"{at}: got {json.dumps(schemas)}, expected a list of schemas")
        some = [(number, one) for number, one in enumerate(schemas) if one is not False]
        if not some:
            raise RequestError(f"{at}: every schema is false: no answer can be valid")
        return Either(tuple(self.language(one, f"{at}/{number}", seen) for number, one in some))

    def _typed(self, kind: str, said: Mapping[str, Any], at: str, seen: tuple[str, ...]) -> Language:
        if kind == "object":
            return self._object(said, at, seen)
        if kind == "array":
            return self._array(said, at, seen)
        if kind == "string":
            return Chain((Literal('"'), Pattern(_string(said, at)), Literal('"')))
        if kind == "integer":
            return Pattern(_integer(said, at))
        if kind == "number":
            return Pattern(TYPES["number"])
        return Literal("null") if kind == "null" else Either((Literal("true"), Literal("false")))

    def _object(self, said: Mapping[str, Any], at: str, seen: tuple[str, ...]) -> Language:
        others = said.get("additionalProperties", True)
        if not said.get("properties") and not said.get("required") and others is not False:
            return self._map(others, at, seen)
        found: list[tuple[Language, bool]] = []
        for name, (value, required) in self._members(said, at, seen).items():
            key = Literal(f"{json.dumps(name, ensure_ascii=False)}: ")
            found.append((Chain((key, value)), required))
        return Chain((Literal("{"), _joined(found), Literal("}")))

    def _members(self, said: Mapping[str, Any], at: str, seen: tuple[str, ...]) -> Members:
        """Members that are declared, or required alone."""
        declared, required = said.get("properties", {}), said.get("required", [])
        others = said.get("additionalProperties", True)
        if not isinstance(declared, Mapping) or not isinstance(required, list):
            raise RequestError(f"{at}: expected properties to be an object, and required a list of names")
        missing = {name: others for name in required if name not in declared}
        if missing and others is False:
            raise RequestError(f"{at}: {', '.join(missing)}: required, and no additional property may be there")
        return {
            name: (self.language(one, f"{at}/properties/{name}", seen), name in required)
            for name, one in {**declared, **missing}.items()
            if one is not False or name in required
        }

    def _map(self, others: object, at: str, seen: tuple[str, ...]) -> Language:
        """An object with any names, whose values are valid under `others`."""
        value = _anything(DEEPEST) if others is True else self.language(others, f"{at}/additionalProperties", seen)
        return _listed("{", Chain((NAME, value)), "}")

    def _array(self, said: Mapping[str, Any], at: str, seen: tuple[str, ...]) -> Language:
        least, most = _count(said, "minItems", 0, at), _count(said, "maxItems", None, at)
        assert least is not None
        if most == 0 or (said.get("items") is False and not least):
            return Literal("[]")
        if most is not None and most < least:
            raise RequestError(f"{at}: minItems {least} and maxItems {most}: no answer can be valid")
        item = self.language(said.get("items", {}), f"{at}/items", seen)
        later = Repeat(Chain((Literal(", "), item)), max(least - 1, 0), None if most is None else most - 1)
        some = Chain((item, later))
        return Chain((Literal("["), some if least else optional(some), Literal("]")))


def _listed(opening: str, item: Language, closing: str) -> Language:
    """Any number of items between brackets."""
    some = Chain((item, Repeat(Chain((Literal(", "), item)), 0, None)))
    return Chain((Literal(opening), optional(some), Literal(closing)))


def _anything(deep: int) -> Language:
    """Any value; lists and objects in it, one in the other, as often as `deep` says."""
    scalar = Either((STRING, Pattern(TYPES["number"]), Literal("true"), Literal("false"), Literal("null")))
    if not deep:
        return scalar
    value = _anything(deep - 1)
    return Either((scalar, _listed("[", value, "]"), _listed("{", Chain((NAME, value)), "}")))


def _joined(members: list[tuple[Language, bool]]) -> Language:
    """Members of an object with commas between them, of which those that are not required may be missing."""
    comma = Literal(", ")
    first = next((number for number, (_, required) in enumerate(members) if required), None)
    if first is not None:
        before = tuple(optional(Chain((member, comma))) for member, _ in members[:first])
        return Chain((*before, members[first][0], *_later(members[first + 1 :])))
    starts = (Chain((member, *_later(members[number + 1 :]))) for number, (member, _) in enumerate(members))
    return Either((Chain(()), *starts))


def _later(members: list[tuple[Language, bool]]) -> Iterator[Language]:
    for member, required in members:
        behind = Chain((Literal(", "), member))
        yield behind if required else optional(behind)


def _kinds(said: Mapping[str, Any], at: str) -> list[str]:
    """Types that a value may have; where the schema does not say, those that its keywords are about, or any scalar."""
    given = said.get("type")
    if given is None:
        about = [kind for kind, keywords in KEYWORDS.items() if keywords & set(said)]
        return about[:1] or ["string", "number", "boolean", "null"]
    kinds = [given] if isinstance(given, str) else given
    if not isinstance(kinds, list) or not kinds or not all(kind in KEYWORDS for kind in kinds):
        raise RequestError(f"{at}/type: got {json.dumps(given)}, expected one or several of {', '.join(KEYWORDS)}")
    return list(dict.fromkeys(kinds))


def _only(said: Mapping[str, Any], names: set[str], at: str) -> None:
    beside = sorted(set(said) - names)
    if beside:
        raise RequestError(f"{at}: {', '.join(beside)} beside {', '.join(sorted(names))} is not supported")


TYPED = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and float(v).is_integer(),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
}


def _one_of(said: Mapping[str, Any], at: str) -> Language:
    _only(said, {"enum", "const", "type"}, at)
    values = said["enum"] if "enum" in said else [said["const"]]
    if not isinstance(values, list):
        raise RequestError(f"{at}/enum: got {json.dumps(values)}, expected a list")
    kinds = _kinds(said, at) if "type" in said else list(TYPED)
    texts = [json.dumps(value, ensure_ascii=False) for value in values if any(TYPED[kind](value) for kind in kinds)]
    if "enum" in said and "const" in said:
        texts = [text for text in texts if text == json.dumps(said["const"], ensure_ascii=False)]
    if not texts:
        raise RequestError(f"{at}: none of {json.dumps(values)} has type {' or '.join(kinds)}: no answer can be valid")
    return Either(tuple(Literal(text) for text in dict.fromkeys(texts)))


def _count(said: Mapping[str, Any], name: str, default: int | None, at: str) -> int | None:
    value = said.get(name, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise RequestError(f"{at}/{name}: got {json.dumps(value)}, expected a whole number")
    return value


def _string(said: Mapping[str, Any], at: str) -> str:
    least, most = _count(said, "minLength", 0, at), _count(said, "maxLength", None, at)
    shaped = [name for name in ("pattern", "format") if name in said]
    sized = [name for name in ("minLength", "maxLength") if name in said]
    if len(shaped) + bool(sized) > 1:
        raise RequestError(f"{at}: {', '.join([*shaped, *sized])} together are not supported")
    if "pattern" in said:
        return json_pattern(str(said["pattern"]))
    if "format" in said:
        if said["format"] not in FORMATS:
            raise RequestError(
                f"{at}: format {said['format']!r} is not supported, expected one of {', '.join(FORMATS)}"
            )
        return FORMATS[said["format"]]
    assert least is not None
    if most is not None and most < least:
        raise RequestError(f"{at}: minLength {least} and maxLength {most}: no answer can be valid")
    return f"{CHARACTER}{{{least},{'' if most is None else most}}}"


def _integer(said: Mapping[str, Any], at: str) -> str:
    for name in NUMBERS & set(said):
        if not isinstance(said[name], (int, float)) or isinstance(said[name], bool):
            raise RequestError(f"{at}/{name}: got {json.dumps(said[name])}, expected a number")
    if not NUMBERS & set(said):
        return TYPES["int"]
    low = [-(-said["minimum"] // 1)] if "minimum" in said else []
    low += [said["exclusiveMinimum"] // 1 + 1] if "exclusiveMinimum" in said else []
    high = [said["maximum"] // 1] if "maximum" in said else []
    high += [-(-said["exclusiveMaximum"] // 1) - 1] if "exclusiveMaximum" in said else []
    least = int(max(low)) if low else min(-MOST, int(min(high, default=0)))
    most = int(min(high)) if high else max(MOST, int(max(low, default=0)))
    if most < least:
        raise RequestError(f"{at}: no integer lies between its bounds: no answer can be valid")
    if max(abs(least), abs(most)) >= 10**18:
        raise RequestError(f"{at}: bounds beyond 18 digits are not supported")
    return integers(least, most)
