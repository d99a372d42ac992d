"""Files of a checkpoint that hold its weights, and the tensors in them by name. Knows no tensor's meaning."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from ...engines.errors import CheckpointError
from .json_files import read_json
from .safetensors_file import Entry, TensorFile

__all__ = ["INDEX", "WEIGHTS", "weight_files"]

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

BESIDE = ("vision_tower.safetensors", "projector.safetensors")
"""Files that a release may write beside its weights; a tensor of theirs is named `FILE:NAME`."""

WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
"""Parts of names that torch.compile, FSDP, activation checkpointing and Lightning's Fabric insert anywhere."""

PREFIXES = ("module", "base_model.model")
"""Beginnings of all names that DDP, DeepSpeed and PEFT leave."""

_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "consolidated.00.pth")

OTHER_WEIGHTS = re.compile(r"\.(safetensors|bin|pth?|ckpt|gguf|onnx|incomplete)$")
"""Names of files that may hold weights."""

_OTHERWISE = "fetch the checkpoint whole, or save it with transformers (save_pretrained)"


def weight_files(path: Path, weights: str = WEIGHTS) -> tuple[dict[str, TensorFile], tuple[str, ...]]:
    """Tensor name to the file that holds it, and notes for people. Raises CheckpointError.

    One whole file, called `weights`, goes before an index and its shards, as in transformers 5; wrappers' prefixes are
    left out of names.
    """
    found, notes = _stored(path, weights)
    bare = {name: _bare(name, found) for name in found}
    left_out = sorted({name.removesuffix(short) for name, short in bare.items() if name.endswith(short)} - {""})
    if bare == {name: name for name in found}:
        return found | _beside(path), notes
    if len(set(bare.values())) < len(found):
        raise CheckpointError(
            f"{path}: tensors stand there twice, with and without {', '.join(left_out)}: save the checkpoint again."
        )
    said = f"tensor names: {', '.join(map(repr, left_out)) or 'wrappers'} is left over from a wrapper and is left out"
    return _renamed(found, bare) | _beside(path), (*notes, said)


def _bare(name: str, names: Collection[str]) -> str:
    """`name` without what torch.compile, FSDP, DDP and PEFT wrote into it."""
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    for prefix in PREFIXES:
        if all(f".{prefix}." in f".{other}" for other in names) and parts[: len(prefix.split("."))] == prefix.split(
            "."
        ):
            parts = parts[len(prefix.split(".")) :]
    return ".".join(parts)


def _renamed(found: Mapping[str, TensorFile], bare: Mapping[str, str]) -> dict[str, TensorFile]:
    """The same tensors under their bare names."""
    opened = {file.path: file for file in found.values()}
    entries: dict[Path, dict[str, Entry]] = {path: {} for path in opened}
    for name, file in found.items():
        entries[file.path][bare[name]] = file.entries[name]
    return {name: TensorFile(path, table) for path, table in entries.items() for name in table}


def _stored(path: Path, weights: str) -> tuple[dict[str, TensorFile], tuple[str, ...]]:
    index = f"{weights}.index.json"
    if (path / weights).exists():
        file = TensorFile.open(path / weights)
        older = f"weights: {weights} is read, as transformers does; {index} and its shards beside it are not"
        return dict.fromkeys(file.entries, file), (older,) if _names_others(path, weights, index) else ()
    if (path / index).exists():
        return _sharded(path, index)
    pickles = [name for name in _PICKLES if (path / name).exists()]
    if pickles:
        raise CheckpointError(
            f"{path}: only {pickles[0]}, a pickle, which can run code when it is opened; expected {weights}. "
            "Convert it where you trust it: AutoModel.from_pretrained(DIR).save_pretrained(NEW_DIR)"
        )
    raise CheckpointError(f"{path}: no weights, expected {weights} or {index}{_others(path)}.")


def _others(path: Path) -> str:
    """Words on files that look like weights, and have not the names under which they are looked for."""
    found = sorted(file.name for file in path.iterdir() if OTHER_WEIGHTS.search(file.name))
    return f"; there is {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}: {_OTHERWISE}" if found else ""


def _names_others(path: Path, weights: str, index: str) -> bool:
    """There is an index, and it does not name the whole file."""
    table = (read_json(path / index) or {}).get("weight_map")
    return isinstance(table, dict) and weights not in table.values()


def _beside(path: Path) -> dict[str, TensorFile]:
    found: dict[str, TensorFile] = {}
    for name in BESIDE:
        if (path / name).exists():
            file = TensorFile.open(path / name)
            renamed = TensorFile(file.path, {f"{name}:{tensor}": entry for tensor, entry in file.entries.items()})
            found |= dict.fromkeys(renamed.entries, renamed)
    return found


def _twice(files: Mapping[str, TensorFile]) -> list[str]:
    """`NAME in FILE and FILE` for each tensor that several of the files have."""
    places: dict[str, list[str]] = {}
    for file, opened in files.items():
        for name in opened.entries:
            places.setdefault(name, []).append(file)
    return [f"{name} in {' and '.join(found)}" for name, found in places.items() if len(found) > 1]


def _sharded(path: Path, index: str) -> tuple[dict[str, TensorFile], tuple[str, ...]]:
    """Every tensor of the shards that the index names, as transformers reads them, and a note of those it lacks."""
    table = (read_json(path / index) or {}).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise CheckpointError(f"{path / index}: no weight_map, expected an object of tensor name to file name.")
    shards = sorted(set(table.values()))
    outside = [name for name in shards if Path(name).name != name]
    missing = [name for name in shards if name not in outside and not (path / name).is_file()]
    if outside or missing:
        raise CheckpointError(
            f"{path / index}: lists files that are not there: {[*outside, *missing]}; "
            "expected all shards beside it. Fetch the checkpoint again."
        )
    files = {name: TensorFile.open(path / name) for name in shards}
    twice = _twice(files)
    if twice:
        raise CheckpointError(
            f"{path}: tensors that stand in more than one shard: {twice}. Which is right cannot be told, and shards of "
            "two versions may be mixed: fetch or save the checkpoint again, into an empty directory."
        )
    absent = [f"{name} in {shard}" for name, shard in table.items() if name not in files[shard].entries]
    if absent:
        raise CheckpointError(f"{path / index}: tensors that their shard lacks: {absent}. Fetch the checkpoint again.")
    found = {name: file for file in files.values() for name in file.entries}
    unlisted = sorted(set(found) - set(table))
    note = f"weights: {index} lacks {', '.join(unlisted)}; read from its shards all the same, as transformers does"
    return found, (note,) if unlisted else ()
