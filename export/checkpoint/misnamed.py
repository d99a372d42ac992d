"""Tensor names that differ from the wanted ones by their beginning alone, in one line instead of two for each."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["misnamed"]

TRIED = 8
"""Names of which one at least is taken to be there, with another beginning."""


def misnamed(missing: Sequence[str], extra: Sequence[str]) -> tuple[list[str], frozenset[str]]:
    """A line for people, and the names that it explains; nothing where no one beginning explains most of them."""
    for too_much, wanted, found in ((True, missing, extra), (False, extra, missing)):
        prefix = _prefix(wanted, found)
        there = set(found)
        pairs = {name: f"{prefix}{name}" for name in wanted if f"{prefix}{name}" in there} if prefix else {}
        if len(pairs) > max(1, len(missing) // 2):
            first = next(iter(pairs.values() if too_much else pairs))
            said = "begin with {!r}, which does not belong there" if too_much else "lack their prefix {!r}"
            what = f"names    {len(pairs)} {said.format(prefix)}, as {first}"
            line = f"{what}: save the model without its wrapper, or whole with its head"
            return [line], frozenset((*pairs, *pairs.values()))
    return [], frozenset()


def _prefix(names: Sequence[str], longer: Sequence[str]) -> str | None:
    """The beginning that one of the first of `names` has in `longer`."""
    found = (other.removesuffix(name) for name in names[:TRIED] for other in longer if other.endswith(f".{name}"))
    return next(found, None)
