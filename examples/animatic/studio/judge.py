"""Attributes from measured numbers: small networks fitted on rendered clips, whose truth is known.

A judge is good for what it says of renders that it was not fitted on, and no better; `evaluate.py --clips` prints it.
Knows numbers and classes; nothing of models or prompts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from .camera import WIDTH
from .measure import features, layout
from .palettes import COSTUMES
from .scene import ACTIONS, CAMERAS, COLOURS, PLACES, SIDES, SIZES, THINGS, TIMES, Scene

__all__ = ["ATTRIBUTES", "Judge", "fitted", "truth"]

HEADINGS = ("none", "left", "right")
CLASSES: dict[str, tuple[Any, ...]] = {
    "time": TIMES, "place": PLACES, "size": SIZES, "camera": CAMERAS, "action": ACTIONS, "heading": HEADINGS,
    "thing": THINGS, **dict.fromkeys(COLOURS, (False, True)),
}  # fmt: skip
ATTRIBUTES = ("time", "place", "size", "camera", "action", "heading", "count", "colours", "side", "order", "thing")
"""What is scored: `colours` is the whole set, `order` who stands left of whom, `side` where a lone figure stands."""
HIDDEN, EPOCHS = 64, 150
ASIDE = 24.0
"""Pixels from the centre at which a figure is on a side."""


def _side(x: NDArray[Any]) -> str:
    """Of a lone figure, in the middle of the clip, where neither pans nor pushes have moved it across."""
    seen = x[3:6][~np.isnan(x[3:6])]
    away = seen.mean() - WIDTH / 2 if len(seen) else 0.0
    return SIDES[1 + (away > ASIDE) - (away < -ASIDE)]


def truth(scene: Scene) -> dict[str, Any]:
    """What a clip of the scene should be said to show; None where there is nothing to say."""
    return {
        "time": scene.time,
        "place": scene.place,
        "size": scene.size,
        "camera": scene.camera,
        "action": scene.action,
        "heading": scene.heading,
        "count": len(scene.figures),
        "colours": frozenset(scene.figures),
        "thing": scene.thing,
        "side": scene.side if len(scene.figures) == 1 and scene.action in {"stand", "sit", "wave"} else None,
        "order": scene.figures if len(scene.figures) > 1 else None,
    }


def _classes(scene: Scene) -> dict[str, Any]:
    """The truth of every fitted head."""
    said = truth(scene)
    return {name: said[name] for name in CLASSES if name in said} | {c: c in scene.figures for c in COLOURS}


class Judge:
    """Heads over standardised numbers. The hour comes first: costumes are looked for in its light."""

    def __init__(self, heads: dict[str, tuple[nn.Module, NDArray[Any], NDArray[Any]]]) -> None:
        self._heads = heads

    def says(self, clip: NDArray[np.uint8]) -> dict[str, Any]:
        """Every attribute of a clip [17, H, W, 3]."""
        time = self._said("time", layout(clip))
        row, tracks = features(clip, time)
        said = {name: self._said(name, row) for name in CLASSES if name != "time"}
        there = [colour for colour in COLOURS if said.pop(colour)]
        said["count"] = len(there)  # no two figures wear one colour
        said["side"] = _side(tracks[there[0]].x) if len(there) == 1 else "centre"
        places = {c: np.nanmedian(tracks[c].x[:5]) if not np.isnan(tracks[c].x[:5]).all() else np.inf for c in COSTUMES}
        return said | {"time": time, "colours": frozenset(there), "order": tuple(sorted(there, key=places.__getitem__))}

    @torch.no_grad()
    def _said(self, name: str, row: NDArray[Any]) -> Any:
        head, mean, scale = self._heads[name]
        x = torch.from_numpy(np.clip((row - mean) / scale, -6, 6)).float()
        return CLASSES[name][int(head(x).argmax())]

    def save(self, path: Path) -> None:
        kept = {
            n: {"head": h.state_dict(), "mean": torch.tensor(m), "scale": torch.tensor(s)}
            for n, (h, m, s) in self._heads.items()
        }
        torch.save(kept, path)

    @staticmethod
    def load(path: Path) -> Judge:
        heads = {}
        for name, kept in torch.load(path, weights_only=True).items():
            head = _head(len(kept["mean"]), len(CLASSES[name]))
            head.load_state_dict(kept["head"])
            heads[name] = (head, kept["mean"].numpy(), kept["scale"].numpy())
        return Judge(heads)


@dataclass(frozen=True)
class Measured:
    scene: Scene
    layout: NDArray[Any]
    row: NDArray[Any]


def measured(clips: Iterable[tuple[Scene, NDArray[np.uint8]]]) -> list[Measured]:
    return [Measured(scene, layout(clip), features(clip, scene.time)[0]) for scene, clip in clips]


def fitted(samples: list[Measured]) -> Judge:
    """A judge from rendered scenes."""
    torch.manual_seed(0)
    heads = {}
    for name, classes in CLASSES.items():
        x = np.stack([s.layout if name == "time" else s.row for s in samples])
        y = torch.tensor([classes.index(_classes(s.scene)[name]) for s in samples])
        mean, scale = x.mean(0), x.std(0) + 1e-3
        z = torch.from_numpy(np.clip((x - mean) / scale, -6, 6)).float()
        heads[name] = (_fit(z, y, len(classes)), mean, scale)
    return Judge(heads)


def _head(numbers: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(numbers, HIDDEN), nn.GELU(), nn.Dropout(0.3), nn.Linear(HIDDEN, classes)).eval()


def _fit(z: torch.Tensor, y: torch.Tensor, classes: int) -> nn.Module:
    """Numbers are shaken a little: what is judged later is drawn by a network, not by the renderer."""
    head = _head(z.shape[1], classes).train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.05)
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - epoch / EPOCHS)
        for rows in torch.randperm(len(z)).split(256):
            loss = functional.cross_entropy(
                head(z[rows] + 0.1 * torch.randn_like(z[rows])), y[rows], label_smoothing=0.02
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return head.eval()
