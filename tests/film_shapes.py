"""The published 1.3B network as sizes alone: an index of tensors with names and shapes, and no graph.

Shapes are those of Wan 2.1's transformer, of UMT5-XXL's encoder and of the pixel decoder (16 channels, width 96); the
decoder's states are those that the exporter writes for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

from bundles import MANIFEST, record, variant_of
from film_contracts import contract

from a2d.runtime.bundle.manifest import FILM, PICTURE, Variant
from a2d.runtime.bundle.weight_index import GraphIndex, StoredTensor
from a2d.runtime.film.contract import LatentSpec, NetworkSpec, TextSpec

LAYERS, WIDE, MLP = 30, 1536, 8960

STATES = [
    *[(16, 1)], *[(384, 1)] * 11, *[(192, 2)], *[(384, 2)] * 6, *[(192, 4)] * 6, *[(96, 8)] * 7,
]  # fmt: skip
"""Channels and scale of each state of two frames: 32 tensors."""


def frames() -> list[tuple[str, tuple[int, ...]]]:
    made = [("rows_in.weight", (WIDE, 16, 1, 2, 2)), ("rows_out.weight", (WIDE, 64)), ("times.in_weight", (256, WIDE))]
    made += [("times.out_weight", (WIDE, WIDE)), ("times.modulation_weight", (WIDE, 6 * WIDE))]
    for i in range(LAYERS):
        made += [(f"layers.{i}.qkv_weight", (WIDE, 3 * WIDE)), (f"layers.{i}.up_weight", (WIDE, MLP))]
        made += [(f"layers.{i}.{name}", (WIDE, WIDE)) for name in ("out_weight", "cross_q_weight", "cross_out_weight")]
        made += [(f"layers.{i}.down_weight", (MLP, WIDE))]
    return made


def text() -> list[tuple[str, tuple[int, ...]]]:
    made = [("text.embedding", (256384, 4096))]
    for i in range(24):
        layer = {"qkv": (4096, 12288), "out": (4096, 4096), "gate_up": (4096, 20480), "down": (10240, 4096)}
        made += [(f"text.layers.{i}.{name}", shape) for name, shape in layer.items()]
    return made


EXACT = ("times.", ".down")
"""Parts of names of weights that are float32 in every precision."""

WEIGHTS = {
    "text": text(),
    "cross": [("text", (4096, WIDE)), *[(f"layers.{i}.kv", (WIDE, 2 * WIDE)) for i in range(LAYERS)]],
    "frames": frames(),
    "frames_merged": frames(),
    "pixels_first": [("decoder", (73_300_000,))],
    "pixels_next": [("decoder", (73_300_000,))],
    "encode_first": [("encoder", (53_000_000,))],
}


def index(
    name: str,
    weights: Mapping[str, Sequence[tuple[str, tuple[int, ...]]]],
    states: Sequence[tuple[int, int]],
    fused: bool = False,
) -> GraphIndex:
    """A graph's entry: tensors of these shapes, and the decoder's states of two frames (channels, scale of each)."""
    exact = {n: name in ("text", "frames", "frames_merged") and any(p in n for p in EXACT) for n, _ in weights[name]}
    tensors, end = {}, 0
    for n, shape in weights[name]:
        size = prod(shape) * (4 if exact[n] else 2)
        tensors[n], end = StoredTensor(end, size, shape, "FLOAT" if exact[n] else "FLOAT16"), end + size
    held = tuple(channels * 2 * times**2 for channels, times in states) if name == "pixels_next" else ()
    return GraphIndex(tensors, held, fused)


def indexed_variant(made: Mapping[str, GraphIndex]) -> Variant:
    """The fp16 variant of these graphs."""
    graphs = {name: f"{name}.fp16.onnx" for name in made}
    size = max(at.offset + at.bytes for one in made.values() for at in one.tensors.values())
    return variant_of(graphs, dict(made), weights="weights.bin", weights_bytes=size, kv_dtype="float16", parity=())


def write(folder: Path, **changes) -> Path:
    """The bundle's manifest, and files that are empty."""
    folder.mkdir()
    variant = indexed_variant({name: index(name, WEIGHTS, STATES) for name in (*FILM, PICTURE)})
    content = dict.fromkeys((*variant.graphs.values(), "weights.bin"), b"") | {"tokenizer.json": b"{}"}
    for name, data in content.items():
        (folder / name).write_bytes(data)
    network = NetworkSpec(LAYERS, 12, 128, (44, 42, 42))
    sizes = {"latent": LatentSpec(16), "network": network, "text": TextSpec("tokenizer.json", 4096, 512, 1, "wan")}
    sizes |= {"frames": 81, "height": 480, "width": 832}
    files = {name: record(data) for name, data in content.items()}
    made = contract(**(sizes | changes))
    manifest = replace(MANIFEST, name="wan-1.3b", words=None, film=made, variants={"fp16": variant}, files=files)
    (folder / "manifest.json").write_text(manifest.dumps(), encoding="utf-8")
    return folder
