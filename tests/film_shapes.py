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

from a2d.runtime.bundle.manifest import FILM
from a2d.runtime.film.contract import LatentSpec, NetworkSpec, TextSpec

LAYERS, WIDE, MLP = 30, 1536, 8960

STATES = [
    *[(16, 1)], *[(384, 1)] * 11, *[(192, 2)], *[(384, 2)] * 6, *[(192, 4)] * 6, *[(96, 8)] * 7,
]  # fmt: skip
"""Channels and scale of each state of two frames: 32 tensors."""


def frames() -> list[tuple[str, tuple[int, ...]]]:
    made = [("rows_in.weight", (WIDE, 16, 1, 2, 2)), ("times.modulation", (WIDE, 6 * WIDE)), ("out", (WIDE, 64))]
    for i in range(LAYERS):
        made += [(f"layers.{i}.qkv_weight", (WIDE, 3 * WIDE)), (f"layers.{i}.up_weight", (WIDE, MLP))]
        made += [(f"layers.{i}.{name}", (WIDE, WIDE)) for name in ("out_weight", "cross_q_weight", "cross_out_weight")]
        made += [(f"layers.{i}.down_weight", (MLP, WIDE))]
    return made


def text() -> list[tuple[str, tuple[int, ...]]]:
    made = [("embedding", (256384, 4096))]
    for i in range(24):
        made += [(f"layers.{i}.{name}", (4096, 4096)) for name in "qkvo"]
        made += [(f"layers.{i}.{name}", (4096, 10240)) for name in ("wi_0", "wi_1", "wo")]
    return made


WEIGHTS = {
    "text": text(),
    "cross": [("text", (4096, WIDE)), *[(f"layers.{i}.kv", (WIDE, 2 * WIDE)) for i in range(LAYERS)]],
    "frames": frames(),
    "frames_merged": frames(),
    "pixels_first": [("decoder", (73_300_000,))],
    "pixels_next": [("decoder", (73_300_000,))],
}


def graph(
    name: str,
    weights: Mapping[str, Sequence[tuple[str, tuple[int, ...]]]],
    states: Sequence[tuple[int, int]],
    operators: Sequence[str] = (),
) -> bytes:
    """An ONNX file with the tensors' shapes, and the decoder's states (channels and scale of each) as inputs."""
    tensors = [TensorProto(name=n, dims=s, data_type=TensorProto.FLOAT16) for n, s in weights[name]]
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
    graphs = {name: f"{name}.fp16.onnx" for name in FILM}
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
