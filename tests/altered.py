"""Checkpoints altered on disk: another key of a JSON file, or weights in shards with an index."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from a2d.export.checkpoint.weight_files import INDEX, WEIGHTS


def change(path: Path, name: str, **fields: object) -> None:
    file = path / name
    data = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(data | fields))


def shards(path: Path, parts: int = 2) -> dict[str, str]:
    tensors = load_file(path / WEIGHTS)
    (path / WEIGHTS).unlink()
    table = {name: f"model-{i % parts}.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(table.values()):
        save_file({n: t for n, t in tensors.items() if table[n] == file}, path / file)
    (path / INDEX).write_text(json.dumps({"weight_map": table}))
    return table
