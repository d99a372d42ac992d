"""Times as people write them: `200 ms`, `1.5s`. Knows no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...engines.errors import RequestError

__all__ = ["seconds_of"]

UNITS: Mapping[str, float] = {"ms": 1e-3, "s": 1.0}

LONGEST = 86_400.0
"""Seconds of a budget at most: a day."""

_FORM = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s)\s*")


def seconds_of(budget: str) -> float:
    """Seconds of a budget. Raises RequestError for anything but a number and its unit."""
    found = _FORM.fullmatch(budget) if isinstance(budget, str) else None
    seconds = 0.0 if found is None else float(found[1]) * UNITS[found[2]]
    if not 0 < seconds <= LONGEST:
        raise RequestError(
            f"budget: got {budget!r}, expected a time with its unit, as '200 ms' or '1.5 s', up to a day"
        )
    return seconds
