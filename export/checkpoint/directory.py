"""A Hugging Face checkpoint directory: configuration, tokenizer files, and tensors by name.

Reads JSON and safetensors only. Pickled weights are refused and remote code (`auto_map`) is never run. Does not know
what a model family makes of any of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ...engines.errors import CheckpointError
from .chat_templates import DEFAULT, chat_templates
from .json_files import read_json
from .misnamed import misnamed
from .processor import image_processor
from .safetensors_file import Entry, TensorFile
from .sources import Source
from .tokenizer_settings import tokenizer_settings
from .weight_files import INDEX, WEIGHTS, weight_files

__all__ = ["Checkpoint"]

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
    """The part of tokenizer.json that names tokens: `added_tokens`, and `vocab` of `model`."""
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)
    preprocessor: Mapping[str, Any] | None = None
    """Settings of the image processor."""
    chat_templates: Mapping[str, str] = field(default_factory=dict)
    """Chat templates by name."""
    chosen_template: str = DEFAULT
    files: Mapping[str, TensorFile] = field(default_factory=dict)
    """Tensor name to the file that holds it."""
    notes: tuple[str, ...] = ()
    """Peculiarities of its files that people should know."""

    @staticmethod
    def open(path: Path) -> Checkpoint:
        """Open a directory. Raises CheckpointError for whatever is missing, broken, or not safe to read."""
        if not path.is_dir():
            what = "a file" if path.exists() else "nothing there"
            raise CheckpointError(f"{path}: {what}, expected a checkpoint directory with config.json and {WEIGHTS}.")
        _refuse_adapter(path)
        config = _config(path)
        files, notes = weight_files(path)
        tokenizer_config = tokenizer_settings(path)
        return Checkpoint(
            path=path,
            config=config,
            generation=read_json(path / "generation_config.json") or {},
            tokenizer=_tokenizer(path),
            tokenizer_config=tokenizer_config,
            preprocessor=image_processor(path),
            chat_templates=chat_templates(path, tokenizer_config),
            files=files,
            notes=notes,
        )

    @property
    def chat_template(self) -> str | None:
        """The chosen one; None where there is none of that name."""
        return self.chat_templates.get(self.chosen_template)

    def with_template(self, name: str | None) -> Checkpoint:
        """The same with its chat template of that name; None takes the one for those who name none.

        Raises CheckpointError: the names, where that one is not among them.
        """
        wanted = name or DEFAULT
        if wanted in self.chat_templates or not (name or self.chat_templates):
            return replace(self, chosen_template=wanted)
        names = ", ".join(self.chat_templates) or "none"
        raise CheckpointError(
            f"{self.path}: no chat template is called {wanted!r}, expected one of: {names}. Choose one with "
            "[chat_template=NAME]."
        )

    def same(self, one: str, other: str) -> bool:
        """Two tensors hold the same numbers."""
        if self.entry(one).shape != self.entry(other).shape:
            return False
        return bool(torch.equal(self.read(one).double(), self.read(other).double()))

    def entry(self, name: str) -> Entry:
        """Place, dtype and shape of a tensor."""
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
        missing = [n for n in wanted if n not in self.files]
        lines, renamed = misnamed(missing, extra)
        lines += [f"missing  {n} {list(wanted[n])}" for n in missing if n not in renamed]
        lines += [f"extra    {n} {list(self.entry(n).shape)}" for n in extra if n not in renamed]
        for name, shape in wanted.items():
            lines += self._wrong(name, shape) if name in self.files else []
        if lines:
            shown = "\n".join(f"  {line}" for line in lines)
            raise CheckpointError(
                f"{self.path}: the tensors are not those of its config.json ({len(lines)} differ):\n{shown}\n"
                f"{_advice(lines, extra)}"
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


def _tokenizer(path: Path) -> dict[str, Any] | None:
    """Without its merges: a large vocabulary has hundreds of thousands, and they would be held for nothing."""
    data = read_json(path / "tokenizer.json")
    if data is None:
        _refuse_parts(path)
        return None
    model = data.get("model")
    return {
        "added_tokens": data.get("added_tokens"),
        "model": {"vocab": model.get("vocab")} if isinstance(model, dict) else None,
    }


VOCABULARIES = ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
"""Files of vocabularies in older forms."""


def _refuse_parts(path: Path) -> None:
    """Raise CheckpointError where the tokenizer is there, in a form that only its own class reads."""
    parts = [name for name in VOCABULARIES if (path / name).exists()]
    if parts:
        raise CheckpointError(
            f"{path}: the tokenizer is in {' and '.join(parts)}, expected tokenizer.json. transformers writes it: "
            f"python -c \"from transformers import AutoTokenizer as T; T.from_pretrained('{path}').save_pretrained("
            f"'{path}')\""
        )


def _config(path: Path) -> dict[str, Any]:
    config = read_json(path / "config.json")
    if config is None:
        raise CheckpointError(f"{path}: no config.json, expected a Hugging Face checkpoint directory.")
    vision = read_json(path / "vision_config.json")
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


def _advice(lines: Sequence[str], extra: Sequence[str]) -> str:
    """The next thing to do about tensors that are not as they should be."""
    if any(".lora_" in name for name in extra):
        return f"Check that config.json and the weights belong together.{_UNMERGED}"
    if len(lines) == 1 and lines[0].startswith("missing") and "lm_head.weight" in lines[0]:
        return (
            "config.json says that the output projection is not tied to the embedding, and it is not there. If the "
            "model was trained tied, which is nearly always so, set tie_word_embeddings to true in config.json."
        )
    return "Check that config.json and the weights belong together."


_UNMERGED = " A LoRA adapter's tensors are among them: merge it first, model.merge_and_unload() of peft, and save that."

_DEQUANTIZE = (
    "Where there is none, transformers may widen it: "
    "m = AutoModelForCausalLM.from_pretrained(DIR); m.dequantize(); m.save_pretrained(NEW_DIR)"
)


def _refuse_adapter(path: Path) -> None:
    """Raise CheckpointError for a LoRA adapter, alone or beside the model that it would change."""
    adapter = read_json(path / "adapter_config.json")
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
