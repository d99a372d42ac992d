"""Counts of a server in the text form that Prometheus reads. Knows names and numbers, not what is counted."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["Metrics"]

COUNTERS = {
    "a2d_http_requests_total": "requests by route and status",
    "a2d_answers_total": "answers by model and the reason for which they ended",
    "a2d_tokens_total": "generated tokens by model",
    "a2d_prompt_tokens_total": "prompt tokens by model",
    "a2d_forwards_total": "forwards of the backbone by model",
}
"""Counter to its meaning."""

HISTOGRAMS = {
    "a2d_answer_seconds": "from a request to its answer's end",
    "a2d_first_block_seconds": "from a request to the end of its first block",
}
"""Histogram to its meaning."""

BORDERS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of a histogram's buckets, in seconds."""

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters, histograms and gauges. May be used from any thread."""

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        """`gauges`: name to meaning, and a function that reads it."""
        self._gauges = dict(gauges)
        self._counts: dict[str, dict[Labels, float]] = {name: {} for name in COUNTERS}
        self._times: dict[str, list[float]] = {name: [0.0] * (len(BORDERS) + 1) for name in HISTOGRAMS}
        self._sums = dict.fromkeys(HISTOGRAMS, 0.0)
        self._lock = threading.Lock()

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            self._counts[name][key] = self._counts[name].get(key, 0) + amount

    def observe(self, name: str, seconds: float) -> None:
        """Add one time to a histogram."""
        bucket = next((i for i, border in enumerate(BORDERS) if seconds <= border), len(BORDERS))
        with self._lock:
            self._times[name][bucket] += 1
            self._sums[name] += seconds

    def text(self) -> str:
        """All of them, in Prometheus' text format 0.0.4."""
        lines: list[str] = []
        with self._lock:
            for name, meaning in COUNTERS.items():
                lines += _head(name, meaning, "counter")
                lines += [f"{name}{_labels(key)} {value:g}" for key, value in sorted(self._counts[name].items())]
            for name, meaning in HISTOGRAMS.items():
                lines += [*_head(name, meaning, "histogram"), *_histogram(name, self._times[name], self._sums[name])]
        gauges = self._gauges | {"process_resident_memory_bytes": ("resident memory in bytes", resident)}
        for name, (meaning, read) in gauges.items():
            lines += [*_head(name, meaning, "gauge"), f"{name} {read():.10g}"]
        return "\n".join(lines) + "\n"


def resident() -> float:
    """Resident memory of this process in bytes; 0 where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return 0.0
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _head(name: str, meaning: str, kind: str) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]


def _labels(key: Labels) -> str:
    quoted = (f'{name}="{_escaped(value)}"' for name, value in key)
    return f"{{{','.join(quoted)}}}" if key else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _histogram(name: str, buckets: list[float], total: float) -> list[str]:
    lines, below = [], 0.0
    for border, count in zip((*BORDERS, float("inf")), buckets, strict=True):
        below += count
        lines.append(f'{name}_bucket{{le="{"+Inf" if border == float("inf") else f"{border:g}"}"}} {below:g}')
    return [*lines, f"{name}_sum {total:.6g}", f"{name}_count {below:g}"]
