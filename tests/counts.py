"""Number of examples that a property is tried with: some in the suite, more by `make test-properties`."""

from __future__ import annotations

import os

__all__ = ["examples"]

TIMES = int(os.environ.get("A2D_EXAMPLES", "1"))
"""Factor for all properties."""


def examples(count: int) -> int:
    """So many examples in the suite."""
    return count * TIMES
