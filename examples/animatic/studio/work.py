"""The clock by which training is measured: on a CPU the process's own time, so that a busy machine trains as far."""

from __future__ import annotations

import time

__all__ = ["worked"]


def worked(device: str) -> float:
    """Seconds since some moment."""
    return time.process_time() if device == "cpu" else time.monotonic()
