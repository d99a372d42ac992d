"""Declared fields: frozen dataclasses from untrusted JSON and back, and what is said about a field in one place.

Reading is strict: every violation is listed, nothing is guessed. The types of a dataclass are its schema: bool, int,
float, str, `X | None`, `tuple[X, ...]`, `dict[str, X]` and other dataclasses; a whole number is accepted for a float,
never the reverse. Bounds come from `field(metadata=bounds(low, high))`. A setting also declares its meaning, its
choices and its flag, from which flags, messages, schema versions and the tables in docs/ are made. This module knows
nothing of bundles, and no setting by name.
"""

from __future__ import annotations

import json
import math
import types
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from reprlib import Repr
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ..engines.errors import ContractError

__all__ = [
    "Choices",
    "Setting",
    "Violations",
    "bounds",
    "check",
    "check_choice",
    "described",
    "from_json",
    "parse",
    "setting",
    "setting_of",
    "to_json",
]

T = TypeVar("T")

SHOWN, WIDEST = 20, 500
"""Violations that a message prints and characters of each; a stranger's file may hold millions."""


class Violations(ValueError):
    """Everything that is wrong with a record, one line each."""

    def __init__(self, lines: list[str]) -> None:
        more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        super().__init__("\n".join(f"  {line[:WIDEST]}" for line in [*lines[:SHOWN], *more]))
        self.lines = lines


def bounds(low: float, high: float) -> dict[str, tuple[float, float]]:
    """Metadata for a field whose number, or numbers in a tuple, lie in `low..high`, both included."""
    return {"bounds": (low, high)}


def parse(text: str) -> Any:
    """JSON without its loopholes: no duplicate keys, no NaN or Infinity. Raises `Violations`."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise Violations(["it is nested too deeply"]) from error
    except ValueError as error:
        raise error if isinstance(error, Violations) else Violations([f"it is not JSON: {error}"]) from error


def from_json(kind: type[T], data: Any) -> T:
    """Build the dataclass `kind` from parsed JSON. Raises `Violations` that lists all that is wrong."""
    lines: list[str] = []
    made = _record(kind, data, "", lines)
    if lines:
        raise Violations(lines)
    return made  # type: ignore[no-any-return]


def check(record: Any) -> None:
    """Raise `Violations` unless a dataclass made by hand is one that `from_json` would make."""
    from_json(type(record), to_json(record))


def to_json(record: Any) -> Any:
    """A dataclass as plain JSON; `from_json` is its inverse."""
    if is_dataclass(record):
        return {f.name: to_json(getattr(record, f.name)) for f in fields(record)}
    if isinstance(record, Mapping):
        return {key: to_json(value) for key, value in record.items()}
    return [to_json(item) for item in record] if isinstance(record, tuple | list) else record


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise Violations([f"key {_short(key)} stands {n} times" for key, n in counts.items() if n > 1])
    return seen


def _no_constant(name: str) -> Any:
    raise Violations([f"{name} is not a number of JSON"])


@dataclass(frozen=True)
class _Place:
    """A place in a record, with its field's bounds."""

    path: str
    limits: tuple[float, float] | None
    lines: list[str]

    def wrong(self, got: Any, expected: str) -> None:
        self.lines.append(f"{self.path or 'the whole'}: got {_short(got)}, expected {expected}")

    def at(self, step: str) -> _Place:
        return _Place(f"{self.path}{step}", self.limits, self.lines)


_REPR = Repr()
_REPR.maxstring = _REPR.maxother = 60
_REPR.maxlevel = 2


def _short(value: Any) -> str:
    """The value on a line of a terminal: cut, and with escape codes made visible."""
    return _REPR.repr(value)


@cache
def _schema(kind: Any) -> dict[str, tuple[Field[Any], Any]]:
    """The fields of a dataclass by name, with their types."""
    hints = get_type_hints(kind)
    return {f.name: (f, hints[f.name]) for f in fields(kind)}


def _record(kind: Any, data: Any, path: str, lines: list[str]) -> Any:
    if not isinstance(data, dict):
        _Place(path, None, lines).wrong(data, f"an object ({kind.__name__})")
        return None
    known = _schema(kind)
    dot = f"{path}." if path else ""
    lines += [f"{path or 'the whole'}: unknown key {_short(key)}" for key in data if key not in known]
    before = len(lines)
    made = {name: _field(f, hint, data, dot, lines) for name, (f, hint) in known.items()}
    if len(lines) > before:
        return None
    try:
        return kind(**{name: value for name, value in made.items() if value is not MISSING})
    except Violations as error:
        lines += [f"{dot}{line}" for line in error.lines]
    except ValueError as error:
        lines.append(f"{path or 'the whole'}: {error}")
    return None


def _field(f: Field[Any], hint: Any, data: dict[str, Any], dot: str, lines: list[str]) -> Any:
    if f.name in data:
        return _value(hint, data[f.name], _Place(f"{dot}{f.name}", f.metadata.get("bounds"), lines))
    if f.default is MISSING and f.default_factory is MISSING:
        lines.append(f"{dot}{f.name}: missing")
    return MISSING


def _value(hint: Any, value: Any, place: _Place) -> Any:
    if isinstance(hint, types.UnionType):
        inner = next(arg for arg in get_args(hint) if arg is not type(None))
        return None if value is None else _value(inner, value, place)
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint)[0], value, place)
    if get_origin(hint) is dict:
        return _dict(get_args(hint)[1], value, place)
    if is_dataclass(hint):
        return _record(hint, value, place.path, place.lines)
    return _SCALARS[hint](value, place)


def _tuple(hint: Any, value: Any, place: _Place) -> Any:
    if not isinstance(value, list):
        return place.wrong(value, "a list")
    return tuple(_value(hint, item, place.at(f"[{i}]")) for i, item in enumerate(value))


def _dict(hint: Any, value: Any, place: _Place) -> Any:
    if not isinstance(value, dict):
        return place.wrong(value, "an object")
    return {_text(key, place): _value(hint, item, place.at(f"[{_short(key)}]")) for key, item in value.items()}


def _number(value: Any, place: _Place, whole: bool) -> Any:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not _finite(value):
        return place.wrong(value, "a whole number" if whole else "a number")
    low, high = place.limits or (-math.inf, math.inf)
    if not low <= value <= high:
        return place.wrong(value, f"{low} to {high}")
    return value if whole else float(value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _text(value: Any, place: _Place) -> Any:
    if not isinstance(value, str):
        return place.wrong(value, "a text")
    # JSON can spell half a character (a lone surrogate), which no file, terminal or tokenizer takes.
    half = not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)
    return place.wrong(value, "valid Unicode") if half else value


def _flag(value: Any, place: _Place) -> Any:
    return value if isinstance(value, bool) else place.wrong(value, "true or false")


_SCALARS: dict[Any, Callable[[Any, _Place], Any]] = {
    bool: _flag,
    str: _text,
    int: lambda value, place: _number(value, place, whole=True),
    float: lambda value, place: _number(value, place, whole=False),
}


F = TypeVar("F")


class Choices(dict[str, F]):
    """A table of algorithms: indexed by name it gives the function; `meanings` gives the sentences for people."""

    def __init__(self, *rows: tuple[str, str, F]) -> None:
        super().__init__((name, function) for name, _, function in rows)
        self.meanings = {name: meaning for name, meaning, _ in rows}


@dataclass(frozen=True)
class Setting:
    """Everything that is said about one field of a contract or of Options, besides its type and its bounds."""

    help: str
    """Meaning, in words that fit `--help` and a row of a table."""
    choices: Mapping[str, str] | None = None
    """Names that the field may hold, with their meanings; None for numbers, token ids and switches."""
    flag: str | None = None
    """Name of the command line's flag, without dashes; None is the field's own name."""
    tokens: bool = False
    """The field holds token ids, which a command line may give as texts where there is a vocabulary."""
    since: int = 1
    """Schema of the manifest that brought the field."""
    inherited: bool = False
    """The contract has a field of this name that takes the place of None."""
    denoises: bool = False
    """Speculative decoding, which drafts a block in one step, has no use for it."""


def setting(help_text: str, bounds: tuple[float, float] | None = None, **more: Any) -> dict[str, Any]:
    """Metadata of a dataclass field: a Setting, and the bounds that `runtime.schema` checks."""
    limits = {} if bounds is None else {"bounds": bounds}
    return {"setting": Setting(help_text, **more), **limits}


def described(kind: type[Any]) -> None:
    """Add the fields to the docstring of a dataclass that declares them, for `help`."""
    rows = [f"    {one.name}: {setting_of(one).help}{_names(one)}" for one in fields(kind)]
    kind.__doc__ = "\n".join([kind.__doc__ or kind.__name__, "", *rows])


def _names(one: Field[Any]) -> str:
    table = setting_of(one).choices
    said = "" if table is None else f" ({', '.join(table)})"
    return said if one.default in (None, ()) or one.default is False else f"{said}; default {one.default!r}"


def setting_of(field: Field[Any]) -> Setting:
    """The Setting of a declared field."""
    made: Setting = field.metadata["setting"]
    return made


def check_choice(what: str, got: str, table: Mapping[str, str]) -> str:
    """`got` if the table has it. Raises ContractError that prints the table."""
    if got not in table:
        rows = "\n".join(f"  {name:<16} {meaning}" for name, meaning in table.items())
        raise ContractError(f"{what}: got {got!r}, expected one of\n{rows}")
    return got
