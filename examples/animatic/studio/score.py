"""Attribute accuracy over clips, with intervals, and whether a clip keeps its colours. Knows no models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .judge import ATTRIBUTES, Judge, truth
from .measure import tracks
from .scene import Scene

__all__ = ["Score", "interval", "kept", "scored"]


@dataclass(frozen=True)
class Score:
    """Right answers and questions, by attribute."""

    right: dict[str, int]
    asked: dict[str, int]
    kept: float
    """Share of clips in which every costume that is in the first frame is in the last one, and none is new."""

    @property
    def overall(self) -> float:
        """Over all questions; attributes weigh as often as they are asked."""
        return sum(self.right.values()) / max(1, sum(self.asked.values()))

    def table(self) -> str:
        rows = [f"{name:8} {_row(self.right[name], self.asked[name])}" for name in ATTRIBUTES]
        total = _row(sum(self.right.values()), sum(self.asked.values()))
        return "\n".join([*rows, f"{'all':8} {total}", f"{'kept':8} {self.kept:.3f}"])

    def facts(self) -> dict[str, Any]:
        return {"right": self.right, "asked": self.asked, "overall": self.overall, "kept": self.kept}


def _row(right: int, asked: int) -> str:
    low, high = interval(right, asked)
    return f"{right / max(asked, 1):.3f}  [{low:.3f}, {high:.3f}]  of {asked}"


def interval(right: int, asked: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval."""
    if asked == 0:
        return 0.0, 1.0
    p, n = right / asked, asked
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


def scored(scenes: Sequence[Scene], clips: Iterable[NDArray[np.uint8]], judge: Judge) -> Score:
    """What clips show against what their scenes say. Only attributes that a scene has are asked for."""
    right, asked, steady = dict.fromkeys(ATTRIBUTES, 0), dict.fromkeys(ATTRIBUTES, 0), []
    for scene, frames in zip(scenes, clips, strict=True):
        told, said = truth(scene), judge.says(frames)
        for name in ATTRIBUTES:
            if told[name] is not None:
                asked[name] += 1
                right[name] += said[name] == told[name]
        steady.append(kept(frames, said["time"]))
    return Score(right, asked, float(np.mean(steady)))


def kept(frames: NDArray[np.uint8], time: str) -> bool:
    """Whether the costumes of the clip's middle are those of its beginning and its end, as far as they are in frame."""
    seen = tracks(frames, time)
    area = np.array([seen[name].area for name in ("red", "yellow", "green", "blue", "white")])
    ends, middle = area[:, [0, -1]].max(1), area[:, 3:6].max(1)
    floor = 0.04 * max(area.max(), 1)
    there = (middle > 4 * floor) | (ends > 4 * floor)
    return bool((np.minimum(middle, ends)[there] > floor).all())
