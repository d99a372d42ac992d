"""Checkpoints of random weights, of any size, for benchmarks and tests: real directories, read like any other.

Weights are scaled so that attention is sharp and rows differ: decodes do not repeat one token, and confidences spread.
The random numbers mean nothing else.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch

from .checkpoint.directory import Checkpoint
from .checkpoint.safetensors_file import DTYPES, header
from .checkpoint.sources import Source
from .checkpoint.weight_files import INDEX, WEIGHTS
from .families import describe
from .job import Job
from .quantized import Quantizers, export_all, split

__all__ = ["MODEL_100M", "Synthetic", "bundle_100m", "checkpoint"]

GAIN = 1.5
"""Standard deviation of a projection's output for inputs of standard deviation 1."""

SHARPNESS = 2.0
"""Weight of the norms of query and key: attention scores deviate by its square."""

CONTRACT = {"mask_token_id": 3, "stop_token_ids": [2], "block_size": 8, "prompt_alignment": "tail"}


@dataclass(frozen=True)
class Synthetic:
    """Sizes of a random model; the names are those of config.json's fields."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    model_type: str = "qwen3"
    tied: bool = True
    dtype: str = "F32"
    """Number type of the stored tensors, as safetensors names it."""
    max_context: int = 4096
    contract: dict[str, Any] = field(default_factory=lambda: dict(CONTRACT))
    """The `a2d` object of generation_config.json."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of config.json."""
    seed: int = 0

    def config(self) -> dict[str, Any]:
        """config.json"""
        return {
            "model_type": self.model_type,
            "num_hidden_layers": self.layers,
            "hidden_size": self.hidden,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate,
            "vocab_size": self.vocab,
            "tie_word_embeddings": self.tied,
            "max_position_embeddings": self.max_context,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            **self.extra,
        }


def checkpoint(path: Path, model: Synthetic, shard_bytes: int | None = None) -> Path:
    """Write the directory, one tensor in memory at a time. Returns `path`. Raises CheckpointError: impossible sizes.

    With `shard_bytes`, the tensors are spread over files of that size at most, or of one larger tensor, and an index.
    """
    path.mkdir(parents=True, exist_ok=True)
    config = model.config()
    (path / "config.json").write_text(json.dumps(config, indent=1))
    (path / "generation_config.json").write_text(json.dumps({"a2d": model.contract}, indent=1))
    family = describe(Checkpoint(path, config))
    shapes = {name: shape for source in family.sources.values() for name, shape in _tensors(source)}
    generator = torch.Generator().manual_seed(model.seed)
    if shard_bytes is None:
        _write(path / WEIGHTS, shapes, model.dtype, generator)
        return path
    table: dict[str, str] = {}
    for i, part in enumerate(_shards(shapes, shard_bytes // DTYPES[model.dtype].itemsize)):
        _write(path / f"model-{i + 1:05d}.safetensors", part, model.dtype, generator)
        table |= dict.fromkeys(part, f"model-{i + 1:05d}.safetensors")
    (path / INDEX).write_text(json.dumps({"weight_map": table}))
    return path


Shapes = Mapping[str, tuple[int, ...]]


def _write(path: Path, shapes: Shapes, dtype: str, generator: torch.Generator) -> None:
    with path.open("wb") as file:
        file.write(header({name: (shape, dtype) for name, shape in shapes.items()}))
        for name, shape in shapes.items():
            tensor = _random(name, shape, generator).to(DTYPES[dtype])
            file.write(memoryview(tensor.view(-1).view(torch.uint8).numpy()))


def _shards(shapes: Shapes, numbers: int) -> Iterator[Shapes]:
    """Consecutive tensors of so many numbers together."""
    part: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if part and sum(map(prod, part.values())) + prod(shape) > numbers:
            yield part
            part = {}
        part[name] = shape
    yield part


MODEL_100M = Synthetic(
    layers=12,
    hidden=768,
    heads=12,
    kv_heads=4,
    head_dim=64,
    intermediate=2048,
    vocab=32000,
    max_context=8192,
    contract={**CONTRACT, "steps": 2},
)
"""The model of 100 million parameters, `100m` of `a2d bench`."""


def bundle_100m(
    path: Path, precisions: str = "fp32", quantizers: Quantizers | None = None, model: Synthetic = MODEL_100M
) -> Path:
    """Export the synthetic model of 100 million parameters, or one like it, to `path`, replacing it."""
    with tempfile.TemporaryDirectory(prefix="a2d-") as scratch:
        floats, quantized = split(precisions, quantizers or {})
        source = checkpoint(Path(scratch) / "synthetic-100m", model)
        job = Job(source, path, floats, force=True, decode_parity=False, quantized=quantized, samples=8)
        export_all(job, quantizers or {})
    return path


def _tensors(source: Source) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from zip(source.names, source.shapes, strict=True)


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        return torch.full(shape, SHARPNESS)
    if name.endswith("bias"):
        return torch.randn(shape, generator=generator) * 0.1
    if len(shape) == 1:
        return torch.ones(shape)
    fan_in = prod(shape[1:])
    return torch.randn(shape, generator=generator) * (GAIN * fan_in**-0.5)
