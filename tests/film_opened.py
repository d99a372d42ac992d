"""An exported bundle that films, opened in fp32 on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from a2d.engines.onnxruntime import load
from a2d.engines.protocol import Engine
from a2d.runtime.bundle.files import Bundle
from a2d.runtime.film.studio import Studio
from a2d.runtime.inputs.tokenizer import Text


class Opened:
    """A bundle with its engines, loaded when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.bundle = Bundle.open(path)
        self.variant = self.bundle.manifest.variants["fp32"]
        self.engine: Callable[[str], Engine] = cache(self._load)

    def _load(self, graph: str) -> Engine:
        return load(self.bundle.file(self.variant.graphs[graph]), precision="fp32")

    def studio(self) -> Studio:
        contract = self.bundle.manifest.film
        assert contract is not None
        text = Text(self.bundle.file(contract.text.tokenizer))
        graphs = self.variant.graphs
        pictures, drafts = "encode_first" in graphs, "pixels_next_draft" in graphs
        return Studio(self.engine, contract, self.variant.kv_dtype, text, pictures, drafts=drafts)
