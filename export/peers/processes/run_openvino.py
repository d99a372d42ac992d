"""OpenVINO on a bundle's own graphs, one token per forward, over a cache in numpy that grows in chunks.

usage: run_openvino.py JOB.json     (forms to graphs, widths, the masks of tokens; written by export/peers/engines.py)

Run by a Python that has openvino.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from lines import answer

CHUNK, PREFILL = 64, 128
BF16 = "bf16"
"""The form that computes fp32's graphs in bfloat16, where the processor has products for it."""


class Form:
    """The two graphs of a precision, compiled."""

    def __init__(self, core: Any, graphs: dict[str, str], job: dict[str, Any], hint: str) -> None:
        options = {"INFERENCE_NUM_THREADS": job["threads"], "INFERENCE_PRECISION_HINT": hint}
        self.backbone, self.denoise = (
            core.compile_model(graphs[name], "CPU", options).create_infer_request() for name in ("backbone", "denoise")
        )
        self.allowed, self.features, self.axes = np.array([job["allowed"]], np.uint8), job["features"], job["axes"]
        self.row = (job["kv_heads"], job["head_dim"])
        self.names = [f"{kind}_{i}" for i in range(job["layers"]) for kind in ("key", "value")]
        self.length, self.cache = 0, dict[str, Any]()

    def tokens(self, prompt: Sequence[int], following: Sequence[int | None]) -> Iterator[int]:
        """The preferred token behind the prompt and behind all but the last that follow, one per forward."""
        self.length, token = 0, 0
        self.cache = dict.fromkeys(self.names, np.zeros((1, self.row[0], 0, self.row[1]), np.float32))
        for start in range(0, len(prompt), PREFILL):
            token = self.run(prompt[start : start + PREFILL])
        yield token
        for given in following[:-1]:
            token = self.run([token if given is None else given])
            yield token

    def run(self, tokens: Sequence[int]) -> int:
        """The most probable token behind `tokens`, which stay in the cache."""
        count = len(tokens)
        self._grow(self.length + count)
        positions = np.arange(self.length, self.length + count)[None]
        capacity = self.cache[self.names[0]].shape[2]
        columns = np.arange(capacity + count)
        key = np.where(columns < capacity, columns, columns - capacity + self.length)
        real = (columns < self.length) | (columns >= capacity)
        feeds = {f"past_{name}": array for name, array in self.cache.items()} | {
            "tokens": np.array([tokens], np.int64),
            "positions": np.broadcast_to(positions, (3, 1, count)).copy() if self.axes else positions,
            "visible": ((key <= positions[0][:, None]) & real)[None, None],
        }
        if self.features is not None:
            feeds |= {"features": np.zeros((1, count, self.features), np.float32)}
            feeds |= {"is_feature": np.zeros((1, count), np.bool_)}
        self.backbone.infer(feeds, share_inputs=True)
        for name, array in self.cache.items():
            made = self.backbone.get_tensor(f"new_{name}").data
            array[:, :, self.length : self.length + count] = made
        self.length += count
        return self._proposed(self.backbone.get_tensor("hidden").data[:, -1:])

    def _proposed(self, hidden: Any) -> int:
        feeds = {
            "hidden": hidden,
            "carry": hidden,
            "gather": np.array([[1]], np.int64),
            "tokens": np.zeros((1, 1), np.int64),
            "masked": np.ones((1, 1), np.bool_),
            "count": np.ones(1, np.int64),
            "threshold": np.full(1, 2.0, np.float32),
            "allowed": self.allowed,
            "allowed_by": np.zeros((1, 1), np.int64),
        }
        self.denoise.infer(feeds, share_inputs=True)
        return int(self.denoise.get_tensor("proposed").data[0, 0])

    def _grow(self, rows: int) -> None:
        held = self.cache[self.names[0]].shape[2]
        if rows > held:
            more = np.zeros((1, self.row[0], -(-rows // CHUNK) * CHUNK - held, self.row[1]), np.float32)
            self.cache = {name: np.concatenate([array, more], 2) for name, array in self.cache.items()}


def main() -> None:
    """See the module."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    core = openvino.Core()
    forms = {name: Form(core, graphs, job, "f32") for name, graphs in job["graphs"].items()}
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        forms[BF16] = Form(core, job["graphs"]["fp32"], job, BF16)
    answer(
        openvino.__version__.split("-")[0], forms, lambda form, prompt, following: forms[form].tokens(prompt, following)
    )


if __name__ == "__main__":
    main()
