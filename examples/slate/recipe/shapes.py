"""Shapes of readers by name, and checkpoint directories that have them. Knows no training.

A new shape takes over every weight of the checkpoint before it that fits: letters look the same to a patch of the same
size, whatever the frame. Where patches are merged that were none before, the merger begins as their mean.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .network import COPIED, DIFFUSION, load, write

__all__ = ["SHAPES", "Shape", "begin"]


@dataclass(frozen=True)
class Shape:
    """What a reader sees and how large it is."""

    width: int
    height: int
    patch: int
    window: int
    merge: int = 2
    vision: int = 192
    """Width of the tower; of its MLP, 8/3 of that."""
    depth: int = 4
    full: tuple[int, ...] = (3,)
    """Layers that attend over the whole frame."""
    text: int = 192
    layers: int = 4


SHAPES = {
    "small": Shape(224, 112, 14, 112, merge=1),
    "coarse": Shape(448, 224, 14, 112),
    "even": Shape(480, 240, 12, 120),
    "fine": Shape(480, 240, 10, 80),
    "narrow": Shape(480, 240, 10, 80, vision=128),
}


def begin(name: str, source: Path, target: Path) -> None:
    """A directory like `source`, a checkpoint, but of another shape; weights that do not fit are random.

    Raises KeyError for an unknown shape.
    """
    if name not in SHAPES:
        raise KeyError(f"no shape {name!r}; there are {', '.join(SHAPES)}")
    shape = SHAPES[name]
    target.mkdir(parents=True, exist_ok=True)
    for file in (*COPIED, "generation_config.json"):
        shutil.copyfile(source / file, target / file)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["vision_config"] |= _vision(shape)
    layers = {"num_hidden_layers": shape.layers, "layer_types": ["full_attention"] * shape.layers}
    config["text_config"] |= {"hidden_size": shape.text, "intermediate_size": _inner(shape.text), **layers}
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    _changed(target / "preprocessor_config.json", _pixels(shape))
    _changed(target / "generation_config.json", {"a2d": DIFFUSION | {"letterbox": _frame(shape)}})
    reader = load(target, fresh=True)
    own, before = reader.network.state_dict(), load(source).network.state_dict()
    reader.network.load_state_dict({name: _taken(name, weight, before.get(name)) for name, weight in own.items()})
    write(reader, target, target, DIFFUSION)


def _taken(name: str, weight: Tensor, before: Tensor | None) -> Tensor:
    """What a weight begins with."""
    if before is None or before.shape == weight.shape:
        return weight if before is None else before
    copies = weight.shape[-1] // before.shape[-1]
    if "merger.mlp" not in name or not copies:
        return weight
    if name.endswith("mlp.0.weight"):
        return torch.block_diag(*[before] * copies) + 0.05 * weight
    return before.repeat(copies) if name.endswith("mlp.0.bias") else before.repeat(1, copies) / copies


def _vision(shape: Shape) -> dict[str, object]:
    return {
        "patch_size": shape.patch,
        "spatial_merge_size": shape.merge,
        "window_size": shape.window,
        "hidden_size": shape.vision,
        "intermediate_size": _inner(shape.vision),
        "num_heads": shape.vision // 32,
        "depth": shape.depth,
        "fullatt_block_indexes": list(shape.full),
        "out_hidden_size": shape.text,
    }


def _pixels(shape: Shape) -> dict[str, int]:
    count = shape.width * shape.height
    return {"patch_size": shape.patch, "merge_size": shape.merge, "min_pixels": count, "max_pixels": count}


def _frame(shape: Shape) -> dict[str, int]:
    return {"height": shape.height, "width": shape.width}


def _inner(width: int) -> int:
    """Of the MLP: 8/3 of the width, in whole 32s."""
    return round(width * 8 / 3 / 32) * 32


def _changed(path: Path, changes: dict[str, object] | dict[str, int]) -> None:
    facts = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
