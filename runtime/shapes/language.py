"""A set of texts as a tree: literal text, regular expressions, and what is made of them.

Data only. Fixed text is apart from patterns, so that it can be laid as rows that are known before anything is run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Chain", "Common", "Either", "Language", "Literal", "Pattern", "Repeat", "optional"]


@dataclass(frozen=True)
class Literal:
    """One text."""

    text: str


@dataclass(frozen=True)
class Pattern:
    """All texts that a regular expression matches whole."""

    regex: str
    """In the syntax of Rust's `regex`."""


@dataclass(frozen=True)
class Common:
    """All texts that each of several regular expressions matches whole."""

    regexes: tuple[str, ...]


@dataclass(frozen=True)
class Chain:
    """A text of each part, one after the other."""

    parts: tuple[Language, ...]


@dataclass(frozen=True)
class Either:
    """A text of one of the parts."""

    parts: tuple[Language, ...]


@dataclass(frozen=True)
class Repeat:
    """`least` to `most` texts of one part, one after the other."""

    part: Language
    least: int
    most: int | None
    """None where there is no limit."""


Language: TypeAlias = "Literal | Pattern | Common | Chain | Either | Repeat"


def optional(part: Language) -> Language:
    """A text of `part`, or nothing."""
    return Repeat(part, 0, 1)
