"""Bundles that film, whose graphs are the numpy network of `film_network`: folders as on disk, fake engines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from bundles import MANIFEST, record, variant_of
from film_contracts import contract
from film_network import engines, random_wan

import a2d.runtime.model
from a2d.engines.protocol import Engine
from a2d.runtime.bundle.manifest import FILM, PICTURE
from a2d.runtime.bundle.weight_index import GraphIndex, StoredTensor
from a2d.runtime.film.contract import FilmContract, LatentSpec

TOKENIZER = Path(__file__).parent / "data" / "golden-frames" / "v1" / "checkpoint" / "tokenizer" / "tokenizer.json"

WEIGHT = StoredTensor(0, 800, (10, 20), "FLOAT")

SMALL = {"latent": LatentSpec(4), "height": 32, "width": 48}


def write(folder: Path, made: FilmContract, tokenizer: Path = TOKENIZER) -> Path:
    """The bundle's files; a graph's file holds its name."""
    folder.mkdir()
    graphs = {name: f"{name}.fp32.onnx" for name in (*FILM, PICTURE)}
    content = {file: name.encode() for name, file in graphs.items()}
    content |= {"weights-fp32.bin": bytes(1000), "tokenizer.json": tokenizer.read_bytes()}
    for name, data in content.items():
        (folder / name).write_bytes(data)
    index = dict.fromkeys(graphs, GraphIndex({})) | {"frames": GraphIndex({"w": WEIGHT})}
    variant = variant_of(graphs, index, parity=())
    files = {name: record(data) for name, data in content.items()}
    manifest = replace(MANIFEST, words=None, film=made, family="causal_wan", variants={"fp32": variant}, files=files)
    (folder / "manifest.json").write_text(manifest.dumps(), encoding="utf-8")
    return folder


def loader(ready: Callable[[str], Engine]) -> Callable[..., Engine]:
    """A function in the place of `load_engine`, which finds an engine by what the graph's file holds."""
    return lambda name, path, **_: ready(path.read_text())


def tiny(folder: Path, **changes) -> tuple[Path, Callable[[str], Engine]]:
    """A bundle of random weights, and its engines."""
    made = contract(**(SMALL | changes))
    return write(folder, made), engines(random_wan(made), made)


def main() -> int:
    """`python film_bundles.py FOLDER a2d's arguments...`: the command in a process of its own, on a tiny bundle."""
    import time

    from a2d.__main__ import main as command

    changes: Mapping[str, object] = {"window": 6, "sink": 1}
    made = contract(**(SMALL | changes))
    ready = engines(random_wan(made), made)
    engine = ready("frames")
    run = engine._script
    engine._script = lambda feeds: (time.sleep(0.02), run(feeds))[1]
    a2d.runtime.model.load_engine = loader(ready)
    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
