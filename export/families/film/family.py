"""A checkpoint that films as its family module describes it, and checks of its directory that families share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ....engines.errors import CheckpointError
from ...checkpoint.pipeline import Pipeline
from ...checkpoint.sources import Source
from ...graphs.film_shapes import FilmNetwork, TowersNetwork

__all__ = ["FilmFamily", "prefix_of", "require", "size_of", "verify"]

UNUSED = r"vae/encoder\..*\.time_conv\.(weight|bias)"
"""Tensors of every autoencoder that are not used: a single picture has no past."""


@dataclass(frozen=True)
class FilmFamily:
    """One checkpoint that films, as its family sees it."""

    name: str
    network: FilmNetwork | TowersNetwork
    sources: Mapping[str, Source]
    """Graph parameter to checkpoint tensors."""
    stepped: Callable[[str], bool]
    """Tells by a parameter's name if every denoising step reads it."""
    notes: tuple[str, ...] = ()

    @property
    def aliases(self) -> Mapping[str, str]:
        """Parameters that are stored under another's name."""
        return {}


def size_of(config: Mapping[str, Any], part: str, key: str, default: int | None = None) -> int:
    """A positive whole number of a config. Raises CheckpointError for anything else."""
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 26:
        raise CheckpointError(f"{part}/config.json: {key} = {value!r}, expected a positive whole number.")
    return value


def require(part: str, config: Mapping[str, Any], wanted: Mapping[str, tuple[object, ...]]) -> None:
    """Raise CheckpointError for keys that hold another value than those listed."""
    lines = [
        f"  {key} = {config[key]!r}, expected {' or '.join(map(repr, values))}"
        for key, values in wanted.items()
        if key in config and config[key] not in values
    ]
    if lines:
        raise CheckpointError(f"{part}/config.json asks for what a2d does not export:\n" + "\n".join(lines))


def prefix_of(pipeline: Pipeline, part: str, ending: str) -> str:
    """Everything before `ending` in the one name of the part that ends so. Raises CheckpointError."""
    names = [name for name in pipeline.files if name.startswith(f"{part}/") and name.endswith(ending)]
    if len(names) != 1:
        raise CheckpointError(f"{pipeline.path / part}: {len(names)} tensors end in {ending}, expected one.")
    return names[0].removesuffix(ending)


def verify(pipeline: Pipeline, sources: Mapping[str, Source], ignorable: str) -> None:
    """Raise CheckpointError that lists every missing, extra and mis-shaped tensor; `ignorable` may be there as well."""
    wanted = {n: shape for s in sources.values() for n, shape in zip(s.names, s.shapes, strict=True)}
    lines = [*_differing(pipeline, wanted, ignorable)]
    if lines:
        shown = "\n".join(f"  {line}" for line in lines)
        raise CheckpointError(
            f"{pipeline.path}: the tensors are not those of its configs ({len(lines)} differ):\n{shown}\n"
            f"{_advice(lines)}"
        )


def _differing(pipeline: Pipeline, wanted: Mapping[str, tuple[int, ...]], ignorable: str) -> Iterator[str]:
    for name, shape in wanted.items():
        if name not in pipeline.files:
            yield f"missing  {name} {list(shape)}"
        elif (found := pipeline.entry(name)).shape != shape:
            yield f"shape    {name} is {list(found.shape)}, expected {list(shape)}"
        elif not found.dtype.is_floating_point or found.dtype.itemsize < 2:
            yield f"dtype    {name} is {found.dtype}, expected float32, float16 or bfloat16"
    for name in sorted(pipeline.files):
        if name not in wanted and not re.fullmatch(f"{UNUSED}|{ignorable}", name):
            yield f"extra    {name} {list(pipeline.entry(name).shape)}"


def _advice(lines: list[str]) -> str:
    if any(".lora_" in line for line in lines):
        return (
            "A LoRA adapter's tensors are among them: merge it first, with diffusers "
            "(pipe.load_lora_weights(...); pipe.fuse_lora(); pipe.unload_lora_weights(); "
            "pipe.save_pretrained(NEW_DIR))."
        )
    return "Check that configs and weights belong together."
