"""The published 1.3B network as sizes alone: graphs whose tensors have names and shapes, and no bytes.

Shapes are those of Wan 2.1's transformer, of UMT5-XXL's encoder and of the pixel decoder (16 channels, width 96); the
decoder's states are those that the exporter writes for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import onnx
from bundles import MANIFEST, record
from film_contracts import contract
from onnx import TensorProto, helper

from a2d.runtime.bundle.manifest import FILM, PICTURE
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


def graph(
    name: str,
    weights: Mapping[str, Sequence[tuple[str, tuple[int, ...]]]],
    states: Sequence[tuple[int, int]],
    operators: Sequence[str] = (),
) -> bytes:
    """An ONNX file with the tensors' shapes, and the decoder's states (channels and scale of each) as inputs."""
    kinds = {True: TensorProto.FLOAT, False: TensorProto.FLOAT16}
    exact = {n: name in ("text", "frames", "frames_merged") and any(p in n for p in EXACT) for n, _ in weights[name]}
    tensors = [TensorProto(name=n, dims=s, data_type=kinds[exact[n]]) for n, s in weights[name]]
    ports = []
    if name == "pixels_next":
        for i, (channels, times) in enumerate(states):
            shape = [1, channels, 2, f"high_{times}", f"wide_{times}"]
            ports.append(helper.make_tensor_value_info(f"past_state_{i}", TensorProto.FLOAT16, shape))
    nodes = [helper.make_node(one, ["x"], ["y"]) for one in operators]
    made = helper.make_graph(nodes, name, ports, [], initializer=tensors)
    return onnx.ModelProto(graph=made, ir_version=10).SerializeToString()


def write(folder: Path, **changes) -> Path:
    """The bundle's manifest and graphs; its weights file is not there."""
    folder.mkdir()
    graphs = {name: f"{name}.fp16.onnx" for name in (*FILM, PICTURE)}
    content = {file: graph(name, WEIGHTS, STATES) for name, file in graphs.items()} | {
        "tokenizer.json": b"{}",
        "weights.bin": b"",
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    network = NetworkSpec(LAYERS, 12, 128, (44, 42, 42))
    sizes = {"latent": LatentSpec(16), "network": network, "text": TextSpec("tokenizer.json", 4096, 512, 1, "wan")}
    sizes |= {"frames": 81, "height": 480, "width": 832}
    variant = replace(
        MANIFEST.variants["fp32"], graphs=graphs, weights="weights.bin", weights_bytes=1, kv_dtype="float16", parity=()
    )
    files = {name: record(data) for name, data in content.items()}
    made = contract(**(sizes | changes))
    manifest = replace(MANIFEST, name="wan-1.3b", words=None, film=made, variants={"fp16": variant}, files=files)
    (folder / "manifest.json").write_text(manifest.dumps(), encoding="utf-8")
    return folder
