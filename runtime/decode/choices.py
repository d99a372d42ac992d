"""Choices of a decode, declared once: tables of name, meaning and function, and what is said about one setting.

Flags, messages, schema versions and the tables in docs/ are made from these declarations. Knows no setting by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, Generic, TypeVar

from ...engines.errors import ContractError

__all__ = ["Choices", "Setting", "check_choice", "described", "setting", "setting_of"]

F = TypeVar("F")


class Choices(Mapping[str, F], Generic[F]):
    """A table of algorithms: indexed by name it gives the function; `meanings` gives the sentences for people."""

    def __init__(self, *rows: tuple[str, str, F]) -> None:
        self._functions = {name: function for name, _, function in rows}
        self.meanings = {name: meaning for name, meaning, _ in rows}

    def __getitem__(self, name: str) -> F:
        return self._functions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


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
