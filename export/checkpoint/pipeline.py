"""A diffusers directory: model_index.json, and a folder for each part of the pipeline with its config and weights.

Tensors are named `PART/NAME`. Reads JSON and safetensors only. Does not know what a family makes of any of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...engines.errors import CheckpointError
from .json_files import read_json, read_text
from .safetensors_file import Entry, TensorFile
from .weight_files import WEIGHTS, weight_files

__all__ = ["INDEX_FILE", "Pipeline", "is_pipeline"]

INDEX_FILE = "model_index.json"

PARTS = {"transformer": "diffusion_pytorch_model.safetensors", "vae": "diffusion_pytorch_model.safetensors"}
PARTS |= {"text_encoder": WEIGHTS}
"""Parts that have weights, and the name of their file."""

_LICENCE = re.compile(r"^license(?:_name)?:\s*(\S.*?)\s*$", re.MULTILINE)


def is_pipeline(path: Path) -> bool:
    """The directory is one of diffusers."""
    return (path / INDEX_FILE).is_file()


@dataclass(frozen=True)
class Pipeline:
    """An opened directory. Only headers have been read; `read` fetches a tensor."""

    path: Path
    index: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]]
    """config.json, or scheduler_config.json, by part."""
    files: Mapping[str, TensorFile] = field(default_factory=dict)
    """`PART/NAME` of a tensor to the file that holds it."""
    tokenizer: Path | None = None
    """tokenizer.json"""
    licence: str | None = None
    notes: tuple[str, ...] = ()

    @staticmethod
    def open(path: Path) -> Pipeline:
        """Open a directory. Raises CheckpointError for whatever is missing, broken, or not safe to read."""
        index = read_json(path / INDEX_FILE)
        if index is None:
            raise CheckpointError(f"{path}: no {INDEX_FILE}, expected a diffusers directory.")
        _require_whole(path, (*PARTS, "scheduler", "tokenizer"))
        configs = {name: _config(path / name) for name in (*PARTS, "scheduler")}
        files: dict[str, TensorFile] = {}
        notes: list[str] = []
        for name, weights in PARTS.items():
            found, said = weight_files(path / name, weights)
            files |= {f"{name}/{tensor}": file for tensor, file in found.items()}
            notes += [f"{name}: {note}" for note in said]
        return Pipeline(path, index, configs, files, _tokenizer(path), _licence(path), tuple(notes))

    @property
    def config(self) -> Mapping[str, Any]:
        """All configs, as graphs keep them."""
        return {INDEX_FILE: dict(self.index), **{name: dict(config) for name, config in self.configs.items()}}

    def entry(self, name: str) -> Entry:
        """Place, dtype and shape of a tensor."""
        return self.files[name].entries[name.split("/", 1)[1]]

    def read(self, name: str) -> torch.Tensor:
        """One tensor, as stored."""
        return self.files[name].read(name.split("/", 1)[1])

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(self.entry(name).bytes for name in self.files)


def _require_whole(path: Path, parts: tuple[str, ...]) -> None:
    missing = [name for name in parts if not (path / name).is_dir()]
    if missing:
        raise CheckpointError(
            f"{path}: lacks the folders {', '.join(missing)}, expected a whole diffusers directory with "
            f"{', '.join(parts)}. Fetch the checkpoint again, or copy them from the model that it was made from."
        )


def _config(folder: Path) -> dict[str, Any]:
    name = "scheduler_config.json" if folder.name == "scheduler" else "config.json"
    config = read_json(folder / name)
    if config is None:
        raise CheckpointError(f"{folder}: no {name}. Fetch the checkpoint again.")
    if config.get("quantization_config"):
        raise CheckpointError(
            f"{folder / name} has quantization_config, expected unquantized weights: export the checkpoint that it was "
            "made from, then quantize the bundle."
        )
    return config


def _tokenizer(path: Path) -> Path:
    file = path / "tokenizer" / "tokenizer.json"
    if not file.is_file():
        raise CheckpointError(
            f'{file.parent}: no tokenizer.json. transformers writes it: python -c "from transformers import '
            f"AutoTokenizer as T; T.from_pretrained('{file.parent}').save_pretrained('{file.parent}')\""
        )
    return file


def _licence(path: Path) -> str | None:
    """Licence of the weights as the front matter of their card has it."""
    card = read_text(path / "README.md") or ""
    parts = card.split("---", 2)
    found = _LICENCE.search(parts[1]) if card.startswith("---") and len(parts) == 3 else None
    return found[1].strip("\"'") if found else None
