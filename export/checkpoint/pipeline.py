"""A diffusers directory: model_index.json, and a folder for each part of the pipeline with its config and weights.

The network may be stored as its authors do: under their names, in one file in its folder, beside the folders, or
anywhere else (`parts` then holds the rest). Tensors are named `PART/NAME`. Reads JSON and safetensors only. Does not
know what a family makes of any of it.
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
from .wan_names import in_diffusers_terms, original_prefix, renamed
from .weight_files import WEIGHTS, weight_files

__all__ = ["INDEX_FILE", "Pipeline", "is_pipeline"]

INDEX_FILE = "model_index.json"

NETWORK, DRAFT, DIFFUSION = "transformer", "draft_vae", "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Layout:
    """Folders of one kind of directory besides the network's."""

    parts: Mapping[str, str]
    """Parts that have weights, and the name of their file."""
    tokenizer: str = "tokenizer"
    maybe: Mapping[str, str] = field(default_factory=dict)
    """Parts that it may do without."""


ENCODED = Layout({"vae": DIFFUSION, "text_encoder": WEIGHTS})
"""A text encoder beside the network."""
TOWERS = Layout({"vae": DIFFUSION}, "text_tokenizer", {"vision_encoder": WEIGHTS})
"""A network that reads text itself, and perhaps pictures."""


def _layout(path: Path) -> Layout:
    return TOWERS if (path / TOWERS.tokenizer).is_dir() else ENCODED


PICKLES = (".pt", ".pth", ".ckpt", ".bin")
"""Endings of files that can run code when they are opened."""

_LICENCE = re.compile(r"^license(?:_name)?:\s*(\S.*?)\s*$", re.MULTILINE)


def is_pipeline(path: Path) -> bool:
    """The path is a diffusers directory, one without its index, or a file that may hold its network."""
    if path.is_file():
        return path.suffix == ".safetensors" or path.suffix in PICKLES
    return (path / INDEX_FILE).is_file() or all((path / name).is_dir() for name in ENCODED.parts)


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
    def open(path: Path, parts: Path | None = None, draft: Path | None = None) -> Pipeline:
        """Open a directory, or a network's file whose other parts lie in the directory `parts`.

        `draft`: folder of a second autoencoder, config.json and weights, which becomes the part `draft_vae`.
        Raises CheckpointError for whatever is missing, broken, or not safe to read.
        """
        rest = parts or path
        if not rest.is_dir():
            raise CheckpointError(
                f"{rest}: got one file, expected a diffusers directory, or one beside it that has the VAE, the text "
                "encoder, its tokenizer and the scheduler [parts=DIR]."
            )
        layout = _layout(rest)
        _require_whole(rest, (*layout.parts, "scheduler", layout.tokenizer))
        held = {**layout.parts, **{name: file for name, file in layout.maybe.items() if (rest / name).is_dir()}}
        network, config, notes = _network(path, rest)
        folders = {name: rest / name for name in held} | ({} if draft is None else {DRAFT: draft})
        configs = {NETWORK: config, **{name: _config(folder) for name, folder in folders.items()}}
        configs["scheduler"] = _config(rest / "scheduler")
        files = {f"{NETWORK}/{name}": file for name, file in network.items()}
        for name, folder in folders.items():
            found, said = weight_files(folder, held.get(name, DIFFUSION))
            files |= {f"{name}/{tensor}": file for tensor, file in found.items()}
            notes += [f"{name}: {note}" for note in said]
        licence = _licence(path if path.is_dir() else path.parent)
        index = read_json(rest / INDEX_FILE) or {}
        return Pipeline(path, index, configs, files, _tokenizer(rest / layout.tokenizer), licence, tuple(notes))

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


def _network(path: Path, rest: Path) -> tuple[dict[str, TensorFile], dict[str, Any], list[str]]:
    """The network's tensors and settings in diffusers' terms, and notes for people."""
    files, notes = _network_files(path)
    folders = [path / NETWORK, path] if path.is_dir() else [path.parent / NETWORK, path.parent, rest / NETWORK]
    config = next((found for folder in folders if (found := read_json(folder / "config.json"))), None)
    if config is None:
        raise CheckpointError(
            f"{path}: no config.json of the network, expected one beside its weights or in {rest / NETWORK}. "
            "Copy it from the model that it was made from."
        )
    prefix = original_prefix(files)
    if prefix is None:
        return files, in_diffusers_terms(config), notes
    left_out = len([name for name in files if not name.startswith(prefix)])
    notes += [f"{NETWORK}: tensors have their authors' names" + (f" behind {prefix!r}" if prefix else "")]
    notes += [f"{NETWORK}: {left_out} tensors of another network in the file are left out"] if left_out else []
    return _renamed(files, prefix), in_diffusers_terms(config), notes


def _network_files(path: Path) -> tuple[dict[str, TensorFile], list[str]]:
    """Tensor name to file, of a file, of the network's folder, or of the one file beside the folders."""
    _refuse_pickles(path)
    if path.is_file():
        file = TensorFile.open(path)
        return dict.fromkeys(file.entries, file), []
    folder = path / NETWORK if (path / NETWORK).is_dir() else path
    single = [*folder.glob("*.safetensors")]
    if folder is path and not single:
        raise CheckpointError(
            f"{path}: no folder {NETWORK} and no *.safetensors, expected the network in one of them. Fetch it again."
        )
    if len(single) == 1 and not (folder / f"{DIFFUSION}.index.json").is_file():
        file = TensorFile.open(single[0])
        return dict.fromkeys(file.entries, file), []
    found, notes = weight_files(folder, DIFFUSION)
    return dict(found), [f"{NETWORK}: {note}" for note in notes]


def _renamed(files: Mapping[str, TensorFile], prefix: str) -> dict[str, TensorFile]:
    """The tensors behind `prefix`, under diffusers' names."""
    opened = {file.path: file for file in files.values()}
    tables = {
        path: {renamed(n.removeprefix(prefix)): entry for n, entry in file.entries.items() if n.startswith(prefix)}
        for path, file in opened.items()
    }
    return {name: TensorFile(path, table) for path, table in tables.items() for name in table}


def _refuse_pickles(path: Path) -> None:
    """Raise CheckpointError where the network's weights are a pickle, with the way to convert them."""
    folders = [] if path.is_file() else [path / NETWORK, path]
    found = [path] if path.suffix in PICKLES else [f for folder in folders for f in folder.glob("*") if _pickle(f)]
    whole = [f for folder in folders for f in folder.glob("*.safetensors")]
    if not found or whole:
        return
    made = found[0].with_suffix(".safetensors").name
    raise CheckpointError(
        f"{found[0]}: a pickle, which can run code when it is opened; expected safetensors. Convert it where you trust "
        'it:\n  python -c "import torch; from safetensors.torch import save_file; '
        f"s = torch.load('{found[0].name}', map_location='cpu', weights_only=True); "
        "save_file({k: v.contiguous() for k, v in s.get('generator_ema', s.get('generator', s)).items()}, "
        f"'{made}')\"\n"
        "A LoRA (lora.pt of LongLive) is merged into its base first: peft's merge_and_unload(), then save_file."
    )


def _pickle(file: Path) -> bool:
    return file.suffix in PICKLES


def _require_whole(path: Path, parts: tuple[str, ...]) -> None:
    missing = [name for name in parts if not (path / name).is_dir()]
    if missing:
        raise CheckpointError(
            f"{path}: lacks the folders {', '.join(missing)}, expected a diffusers directory with a network and "
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


def _tokenizer(folder: Path) -> Path:
    file = folder / "tokenizer.json"
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
