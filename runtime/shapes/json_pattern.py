"""Regular expressions of JSON schemas as those of the JSON text of a string: what a value may be, as it is written.

A schema's pattern may match anywhere in the value, and the value's quotes, backslashes and control characters are
written otherwise in JSON. Nothing is written that would have to be escaped, but what a pattern names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ...engines.errors import RequestError

__all__ = ["CHARACTER", "integers", "json_pattern"]

_parser: Any = re._parser  # type: ignore[attr-defined] # Python's own reading of a regular expression
_codes: Any = re._constants  # type: ignore[attr-defined]

UNWRITTEN = r'"\\\x00-\x1F\x7F'
"""Characters of a class that do not stand in JSON as they are."""

CHARACTER = rf'([^{UNWRITTEN}]|\\["\\/bfnrt])'
"""One character of a string, as JSON writes it."""

CATEGORIES = {"CATEGORY_DIGIT": "0-9", "CATEGORY_WORD": "0-9A-Za-z_", "CATEGORY_SPACE": " "}


def json_pattern(pattern: str) -> str:
    """The inside of JSON strings whose values `pattern` matches somewhere. Raises RequestError."""
    try:
        tree = list(_parser.parse(pattern))
    except (re.error, OverflowError) as error:
        raise RequestError(f"pattern: {pattern!r} is not a regular expression: {error}") from error
    opens = bool(tree) and tree[0] == (_codes.AT, _codes.AT_BEGINNING)
    closes = bool(tree) and tree[-1] == (_codes.AT, _codes.AT_END) and len(tree) > opens
    inner = _sequence(tree[opens : len(tree) - closes], pattern)
    return f"{'' if opens else f'{CHARACTER}*'}({inner}){'' if closes else f'{CHARACTER}*'}"


def _sequence(items: Iterable[Any], pattern: str) -> str:
    return "".join(_item(str(code), value, pattern) for code, value in items)


def _item(code: str, value: Any, pattern: str) -> str:
    if code == "LITERAL":
        return _literal(value, pattern)
    if code in ("ANY", "NOT_LITERAL"):
        return f"[^{UNWRITTEN}{'' if code == 'ANY' else _in_class(value)}]"
    if code == "IN":
        return _class(value, pattern)
    if code == "BRANCH":
        return f"({'|'.join(_sequence(branch, pattern) for branch in value[1])})"
    if code == "SUBPATTERN" and not value[1] and not value[2]:
        return f"({_sequence(value[3], pattern)})"
    if code in ("MAX_REPEAT", "MIN_REPEAT"):
        least, most, inner = value
        upper = "" if most == _codes.MAXREPEAT else most
        return f"({_sequence(inner, pattern)}){{{least},{upper}}}"
    raise RequestError(f"pattern: {pattern!r} has {code.lower()}, which is not supported; leave it out")


def _literal(code: int, pattern: str) -> str:
    character = chr(code)
    if code < 0x20 or code == 0x7F:
        raise RequestError(f"pattern: {pattern!r} has the control character {character!r}, which is not supported")
    return {'"': r"\\\"", "\\": r"\\\\"}.get(character) or re.escape(character)


def _class(items: Iterable[Any], pattern: str) -> str:
    parts, negated = [], False
    for code, value in items:
        name = str(code)
        if name == "NEGATE":
            negated = True
        elif name == "LITERAL":
            parts.append(_in_class(value))
        elif name == "RANGE":
            parts.append(f"{_in_class(value[0])}-{_in_class(value[1])}")
        elif str(value) in CATEGORIES:
            parts.append(CATEGORIES[str(value)])
        else:
            raise RequestError(f"pattern: {pattern!r} has {str(value).lower()}, which is not supported; spell it out")
    if negated:
        return f"[^{UNWRITTEN}{''.join(parts)}]"
    return f"[{''.join(parts)}&&[^{UNWRITTEN}]]"


def _in_class(code: int) -> str:
    return f"\\x{{{code:X}}}"


def integers(least: int, most: int) -> str:
    """A regular expression of the integers from `least` to `most`, as JSON writes them."""
    if least < 0 and most < 0:
        return f"-({integers(-most, -least)})"
    if least < 0:
        return f"-({integers(1, -least)})|{integers(0, most)}"
    ranges = [
        (max(least, 0 if digits == 1 else 10 ** (digits - 1)), min(most, 10**digits - 1)) for digits in range(1, 19)
    ]
    some = [(low, high) for low, high in ranges if low <= high]
    whole = [len(str(low)) for low, high in some if low == 10 ** (len(str(low)) - 1) and high == 10 * low - 1]
    parts = [f"[1-9][0-9]{{{whole[0] - 1},{whole[-1] - 1}}}"] if whole else []  # those of so many digits, all of them
    parts += [_digits(str(low), str(high)) for low, high in some if len(str(low)) not in whole]
    return "|".join(parts)


def _digits(low: str, high: str) -> str:
    """Numbers from `low` to `high`, which have as many digits."""
    if low == high:
        return low
    first, last, rest = int(low[0]), int(high[0]), len(low) - 1
    if not rest:
        return f"[{first}-{last}]"
    if first == last:
        return f"{first}({_digits(low[1:], high[1:])})"
    parts = []
    if int(low[1:]):
        parts.append(f"{first}({_digits(low[1:], '9' * rest)})")
        first += 1
    if high[1:] != "9" * rest:
        parts.append(f"{last}({_digits('0' * rest, high[1:])})")
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}][0-9]{{{rest}}}")
    return "|".join(parts)
