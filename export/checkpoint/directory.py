"""A Hugging Face checkpoint directory: configuration, tokenizer files, and tensors by name.

Reads JSON and safetensors only. Pickled weights are refused and remote code (`auto_map`) is never run. Does not know
what a model family makes of any of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...engines.errors import CheckpointError
from .safetensors_file import Entry, TensorFile
from .sources import Source

__all__ = ["Checkpoint"]

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

BESIDE = ("vision_tower.safetensors", "projector.safetensors")
"""Files that a release may write beside its weights; a tensor of theirs is named `FILE:NAME`."""

_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "consolidated.00.pth")

_FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Checkpoint:
    """An opened directory. Only headers have been read; `read` fetches a tensor."""

    path: Path
    config: Mapping[str, Any]
    generation: Mapping[str, Any] = field(default_factory=dict)
    """generation_config.json"""
    tokenizer: Mapping[str, Any] | None = None
    """What of tokenizer.json names tokens: `added_tokens`, and `vocab` of `model`."""
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)
    preprocessor: Mapping[str, Any] | None = None
    """preprocessor_config.json"""
    chat_template: str | None = None
    files: Mapping[str, TensorFile] = field(default_factory=dict)
    """Tensor name to the file that holds it."""

    @staticmethod
    def open(path: Path) -> Checkpoint:
        """Open a directory. Raises CheckpointError for whatever is missing, broken, or not safe to read."""
        if not path.is_dir():
            what = "a file" if path.exists() else "nothing there"
            raise CheckpointError(f"{path}: {what}, expected a checkpoint directory with config.json and {WEIGHTS}.")
        _refuse_adapter(path)
        tokenizer_config = _json(path / "tokenizer_config.json") or {}
        return Checkpoint(
            path=path,
            config=_config(path),
            generation=_json(path / "generation_config.json") or {},
            tokenizer=_tokenizer(path),
            tokenizer_config=tokenizer_config,
            preprocessor=_json(path / "preprocessor_config.json"),
            chat_template=_chat_template(path, tokenizer_config),
            files=_files(path) | _beside(path),
        )

    def entry(self, name: str) -> Entry:
        """Where a tensor lies, its dtype and its shape."""
        return self.files[name].entries[name]

    def read(self, name: str) -> torch.Tensor:
        """One tensor, as stored."""
        return self.files[name].read(name)

    def __contains__(self, name: str) -> bool:
        return name in self.files

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(self.entry(name).bytes for name in self.files)

    def verify(self, sources: Mapping[str, Source], ignorable: str) -> None:
        """Check that the directory holds exactly the tensors of `sources`, and those whose names match `ignorable`.

        Raises CheckpointError that lists every missing, extra and mis-shaped tensor.
        """
        wanted = {n: shape for s in sources.values() for n, shape in zip(s.names, s.shapes, strict=True)}
        extra = [n for n in sorted(self.files) if n not in wanted and not re.fullmatch(ignorable, n)]
        lines = [f"missing  {n} {list(shape)}" for n, shape in wanted.items() if n not in self.files]
        lines += [f"extra    {n} {list(self.entry(n).shape)}" for n in extra]
        for name, shape in wanted.items():
            lines += self._wrong(name, shape) if name in self.files else []
        if lines:
            shown = "\n".join(f"  {line}" for line in lines)
            raise CheckpointError(
                f"{self.path}: the tensors are not those of its config.json ({len(lines)} differ):\n{shown}\n"
                "Check that config.json and the weights belong together."
                + (_UNMERGED if any(".lora_" in name for name in extra) else "")
            )

    def _wrong(self, name: str, shape: tuple[int, ...]) -> list[str]:
        entry = self.entry(name)
        if entry.shape != shape:
            return [f"shape    {name} is {list(entry.shape)}, expected {list(shape)}"]
        if entry.dtype in _FP8:
            return [f"dtype    {name} is {entry.dtype}, which means nothing without its scales. {_DEQUANTIZE}"]
        if entry.dtype not in _FLOATS:
            return [f"dtype    {name} is {entry.dtype}, expected floating point: export an unquantized checkpoint"]
        return []


def _json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file."""
    text = _text(path)
    if text is None:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}. Fetch or save the file again.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: got a JSON {type(data).__name__}, expected an object.")
    return data


def _tokenizer(path: Path) -> dict[str, Any] | None:
    """Without its merges: a large vocabulary has hundreds of thousands, and they would be held for nothing."""
    data = _json(path / "tokenizer.json")
    if data is None:
        return None
    model = data.get("model")
    return {
        "added_tokens": data.get("added_tokens"),
        "model": {"vocab": model.get("vocab")} if isinstance(model, dict) else None,
    }


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not UTF-8: {error}. Save the file as UTF-8.") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}.") from error


def _config(path: Path) -> dict[str, Any]:
    config = _json(path / "config.json")
    if config is None:
        raise CheckpointError(f"{path}: no config.json, expected a Hugging Face checkpoint directory.")
    vision = _json(path / "vision_config.json")
    if vision is not None:
        config.setdefault("vision_config", vision)
    quantized = [key for key in ("quantization_config", "compression_config") if config.get(key)]
    if quantized:
        how = config[quantized[0]].get("quant_method") if isinstance(config[quantized[0]], dict) else None
        raise CheckpointError(
            f"{path}: config.json has {quantized[0]} ({how or 'no method named'}), expected unquantized weights. "
            f"Export the checkpoint that it was made from, then quantize the bundle. {_DEQUANTIZE}"
        )
    return config


_UNMERGED = " A LoRA adapter's tensors are among them: merge it first, model.merge_and_unload() of peft, and save that."

_DEQUANTIZE = (
    "Where there is none, transformers may widen it: "
    "m = AutoModelForCausalLM.from_pretrained(DIR); m.dequantize(); m.save_pretrained(NEW_DIR)"
)


def _refuse_adapter(path: Path) -> None:
    """Raise CheckpointError for a LoRA adapter, alone or beside the model that it would change."""
    adapter = _json(path / "adapter_config.json")
    if adapter is None:
        return
    base = str(adapter.get("base_model_name_or_path") or "BASE")
    merge = (
        'python -c "from peft import AutoPeftModelForCausalLM as M; '
        f"M.from_pretrained('{path}').merge_and_unload().save_pretrained('MERGED')\""
    )
    beside = (path / WEIGHTS).exists() or (path / INDEX).exists()
    what = "a model and an adapter beside it" if beside else "an adapter, not a model"
    raise CheckpointError(
        f"{path}: adapter_config.json makes this {what} ({adapter.get('peft_type', 'LoRA')} of {base}), expected whole "
        f"weights. Merge it first:\n  {merge}\nthen copy the tokenizer's files, and export MERGED."
        + ("\nIf the weights are merged already, remove adapter_config.json." if beside else "")
    )


def _chat_template(path: Path, tokenizer_config: Mapping[str, Any]) -> str | None:
    """The template from where it may stand: newest place first, as in transformers."""
    text = _text(path / "chat_template.jinja")
    if text is not None:
        return text
    boxed = (_json(path / "chat_template.json") or {}).get("chat_template", tokenizer_config.get("chat_template"))
    if isinstance(boxed, list):  # several by name
        boxed = next((row.get("template") for row in boxed if row.get("name") == "default"), None)
    return boxed if isinstance(boxed, str) else None


def _files(path: Path) -> dict[str, TensorFile]:
    if (path / INDEX).exists():
        return _sharded(path)
    if (path / WEIGHTS).exists():
        file = TensorFile.open(path / WEIGHTS)
        return dict.fromkeys(file.entries, file)
    pickles = [name for name in _PICKLES if (path / name).exists()]
    if pickles:
        raise CheckpointError(
            f"{path}: only {pickles[0]}, a pickle, which can run code when it is opened; expected {WEIGHTS}. "
            "Convert it where you trust it: AutoModel.from_pretrained(DIR).save_pretrained(NEW_DIR)"
        )
    raise CheckpointError(f"{path}: no weights, expected {WEIGHTS} or {INDEX}.")


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


def _sharded(path: Path) -> dict[str, TensorFile]:
    table = (_json(path / INDEX) or {}).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise CheckpointError(f"{path / INDEX}: no weight_map, expected an object of tensor name to file name.")
    shards = sorted(set(table.values()))
    outside = [name for name in shards if Path(name).name != name]
    missing = [name for name in shards if name not in outside and not (path / name).is_file()]
    if outside or missing:
        raise CheckpointError(
            f"{path / INDEX}: lists files that are not there: {[*outside, *missing]}; "
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
        raise CheckpointError(f"{path / INDEX}: tensors that their shard lacks: {absent}. Fetch the checkpoint again.")
    return {name: files[shard] for name, shard in table.items()}
