"""A training run on disk: tensors in files of at most 12 MB, and a small index that is replaced last.

So a run survives being killed at any moment, and its files pass wherever 16 MB do. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["INDEX", "load", "save"]

INDEX = "state.json"
SHARD = 12_000_000


def save(folder: Path, tensors: Iterable[tuple[str, Tensor]], facts: dict[str, Any], tag: str) -> None:
    """Write the state; `tag` tells its files from those of the state before, which stays whole until this one is."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, shard in enumerate(_shards(tensors)):
        files.append(f"{tag}-{number}.safetensors")
        save_file(shard, folder / files[-1])
    part = folder / f"{INDEX}.part"
    part.write_text(json.dumps(facts | {"files": files}, indent=1) + "\n", encoding="utf-8")
    part.replace(folder / INDEX)
    for old in folder.glob("*.safetensors"):
        if old.name not in files:
            old.unlink()


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts. Raises ValueError for a folder without a state, or with half of one."""
    if not (folder / INDEX).is_file():
        raise ValueError(f"{folder} holds no {INDEX}, expected the state of a run; begin one without --resume")
    facts = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    files = facts.pop("files")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}, which {INDEX} names; copy the whole folder")
    tensors: dict[str, Tensor] = {}
    for name in files:
        tensors.update(load_file(folder / name))
    return tensors, facts


def _shards(tensors: Iterable[tuple[str, Tensor]]) -> Iterable[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        kept = tensor.detach().cpu().clone().contiguous()
        if shard and size + kept.nbytes > SHARD:
            yield shard
            shard, size = {}, 0
        shard[name] = kept
        size += kept.nbytes
    if shard:
        yield shard
