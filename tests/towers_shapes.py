"""Cosmos 3 Edge as sizes alone: an index of tensors with names and shapes, and no graph.

Shapes are those of the published configs: 28 layers of 2048, 16 heads over 8, an MLP of 9216, 131072 tokens, and the
autoencoder of Wan 2.2 with 48 channels, whose decoder is 256 wide.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bundles import MANIFEST, record
from film_contracts import contract
from film_shapes import index, indexed_variant

from a2d.runtime.film.contract import LatentSpec, NetworkSpec, TextSpec
from a2d.runtime.film.presets import Preset
from a2d.runtime.film.towers_spec import ChatSpec, GuidanceSpec, PlacesSpec, TowersSpec

LAYERS, WIDE, MLP, VOCAB = 28, 2048, 9216, 131072

STATES = [
    (48, 1), *[(1024, 1)] * 11, *[(1024, 2)] * 7, (1024, 4), *[(512, 4)] * 5, (512, 8), *[(256, 8)] * 6,
]  # fmt: skip
"""Channels and scale of each state of two frames, as the exporter gives them for that decoder: 32 tensors."""


def tower(prefix: str) -> list[tuple[str, tuple[int, ...]]]:
    made = []
    for i in range(LAYERS):
        at = f"{prefix}layers.{i}."
        made += [(f"{at}qkv", (WIDE, WIDE + 2 * 1024)), (f"{at}out", (WIDE, WIDE))]
        made += [(f"{at}up", (WIDE, MLP)), (f"{at}down", (MLP, WIDE))]
    return made


WEIGHTS = {
    "backbone": [("embedding", (VOCAB, WIDE)), *tower("")],
    "velocity": [("rows_in.weight", (192, WIDE)), *tower("generator."), ("rows_out.weight", (WIDE, 192))],
    "pixels_first": [("decoder", (555_000_000,))],
    "pixels_next": [("decoder", (555_000_000,))],
    "encode_first": [("encoder", (150_000_000,))],
}


def write(folder: Path, fused: bool = True) -> Path:
    """The bundle's manifest, and files that are empty. `fused`: attention is one operator."""
    folder.mkdir()
    variant = indexed_variant({name: index(name, WEIGHTS, STATES, fused) for name in WEIGHTS})
    content = dict.fromkeys((*variant.graphs.values(), "chat.jinja", "weights.bin"), b"") | {"tokenizer.json": b"{}"}
    for name, data in content.items():
        (folder / name).write_bytes(data)
    places = PlacesSpec(tuple(1.0 / 10 ** (i / 16) for i in range(64)), (0,) * 64)
    towers = TowersSpec(ChatSpec("chat.jinja"), places, GuidanceSpec(5.0), own_key=True)
    network = NetworkSpec(LAYERS, 8, 128, (48, 40, 40))
    made = contract(
        latent=LatentSpec(48, spatial=16, patch_h=1, patch_w=1), network=network, towers=towers,
        text=TextSpec("tokenizer.json", WIDE, 4096), frames=121, height=480, width=832, fps=24.0, block_frames=31,
        window=None, sink=0, presets={"draft": Preset("a quick look", height=192, width=320)},
    )  # fmt: skip
    files = {name: record(data) for name, data in content.items()}
    manifest = replace(MANIFEST, name="edge", words=None, film=made, variants={"fp16": variant}, files=files)
    (folder / "manifest.json").write_text(manifest.dumps(), encoding="utf-8")
    return folder
