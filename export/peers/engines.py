"""Other engines that decode a bundle's weights, for `a2d bench --against`: a table of names.

Each runs in an environment of its own that is made when it is first asked for. Knows what each is given; how it
decodes stands in `processes/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...engines.errors import EngineError, RequestError
from ...runtime.bundle.files import Bundle
from ...runtime.decode.block import all_but
from .checkpoint_again import SOURCE, write_again
from .environment import environment, site_of
from .process import LINES, ProcessRival, rival_process
from .weights import family_of

__all__ = ["ENGINES", "Engine"]

PROCESSES = Path(__file__).with_name("processes")

BUILDER = Path("onnxruntime_genai", "models", "builder.py")
"""onnxruntime-genai's own way from a checkpoint to a model, in its package."""

BUILT = ("fp32", "int8", "int4")
"""Precisions of that builder that a CPU runs; int8 and int4 are weights in groups of 32."""


@dataclass(frozen=True)
class Engine:
    """One other engine."""

    name: str
    what: str
    packages: tuple[str, ...]
    run: Callable[[Bundle, int, Path], AbstractContextManager[ProcessRival]]
    """Starts it on a bundle, with so many threads, by a Python that has its packages."""
    note: str = ""
    """Words on how long its environment takes to make."""

    def __call__(self, bundle: Bundle, threads: int) -> AbstractContextManager[ProcessRival]:
        """The engine on a bundle's weights. Raises EngineError and RequestError."""
        return self.run(bundle, threads, environment(self.name, self.packages, self.note))


@contextmanager
def _llama_cpp(bundle: Bundle, threads: int, python: Path) -> Iterator[ProcessRival]:
    forbidden = ",".join(map(str, bundle.manifest.decode.forbid_token_ids))
    with tempfile.TemporaryDirectory(prefix="a2d-") as scratch:
        write_again(bundle, Path(scratch))
        line: list[str | Path] = [python, PROCESSES / "run_llama_cpp.py", scratch, str(threads), forbidden]
        with rival_process("llama.cpp", [line, [*line, "plain"]]) as rival:
            yield rival


@contextmanager
def _genai(bundle: Bundle, threads: int, python: Path) -> Iterator[ProcessRival]:
    with tempfile.TemporaryDirectory(prefix="a2d-") as scratch:
        checkpoint = Path(scratch, "checkpoint")
        checkpoint.mkdir()
        _number_words(write_again(bundle, checkpoint)["vocab_size"], checkpoint)
        built = {name: str(_built(checkpoint, name, python)) for name in BUILT}
        job = {"threads": threads, "forbidden": [*bundle.manifest.decode.forbid_token_ids], "models": built}
        path = Path(scratch, "job.json")
        path.write_text(json.dumps(job), encoding="utf-8")
        with rival_process("onnxruntime-genai", [[python, PROCESSES / "run_genai.py", path]]) as rival:
            yield rival


def _number_words(vocab: int, folder: Path) -> None:
    """A tokenizer whose words are numbers, for a builder that copies one."""
    words = {f"<{number}>": number for number in range(vocab)}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "<0>"}
    parts = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    whole: dict[str, object] = {"version": "1.0", "added_tokens": [], **parts, "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    said = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")


def _built(checkpoint: Path, precision: str, python: Path) -> Path:
    """The checkpoint as onnxruntime-genai runs it. Its builder wants torch, so the Python of the exporter runs it."""
    folder = checkpoint.with_name(precision)
    chosen = ["-i", checkpoint, "-o", folder, "-p", precision, "-e", "cpu", "-c", checkpoint.with_name("cache")]
    command = [str(part) for part in (sys.executable, site_of(python) / BUILDER, *chosen)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        said = "\n".join(made.stderr.strip().splitlines()[-LINES:])
        raise EngineError(f"onnxruntime-genai's builder makes no {precision} model of these weights. It said:\n{said}")
    _within_table(folder / "genai_config.json")
    return folder


def _within_table(path: Path) -> None:
    """Name tokens of the table as those that end and pad: a tokenizer without any makes up one behind its last."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"] |= dict.fromkeys(("eos_token_id", "pad_token_id"), config["model"]["vocab_size"] - 1)
    path.write_text(json.dumps(config), encoding="utf-8")


@contextmanager
def _openvino(bundle: Bundle, threads: int, python: Path) -> Iterator[ProcessRival]:
    held = bundle.manifest.variants
    if SOURCE not in held:
        raise RequestError(f"{bundle.path} has no {SOURCE} variant, which OpenVINO is compared in")
    job = _job(bundle, threads) | {
        "graphs": {
            name: {graph: str(bundle.file(held[name].graphs[graph])) for graph in ("backbone", "denoise")}
            for name in (SOURCE, "int8", "int4-weight")
            if name in held
        }
    }
    with tempfile.TemporaryDirectory(prefix="a2d-") as scratch:
        path = Path(scratch, "job.json")
        path.write_text(json.dumps(job), encoding="utf-8")
        with rival_process("OpenVINO", [[python, PROCESSES / "run_openvino.py", path]]) as rival:
            yield rival


def _job(bundle: Bundle, threads: int) -> dict[str, Any]:
    """Sizes of the graphs, and the tokens that may be proposed."""
    shape = family_of(bundle, SOURCE).shape
    return {
        "threads": threads,
        "layers": shape.layers,
        "features": shape.feature_values if shape.features else None,
        "kv_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "axes": shape.rope_axes,
        "allowed": np.asarray(all_but(bundle.manifest.decode.forbid_token_ids, -(-shape.vocab // 8)))[0].tolist(),
    }


ENGINES = {
    engine.name: engine
    for engine in (
        Engine(
            "llama.cpp",
            "llama-cpp-python, the same weights as q8_0 and q4_0",
            ("llama-cpp-python", "gguf", "safetensors"),
            _llama_cpp,
            ", some minutes, because it is compiled",
        ),
        Engine(
            "onnxruntime-genai",
            "onnxruntime-genai, models of its own builder from the same weights in fp32, int8 and int4",
            ("onnxruntime-genai",),
            _genai,
        ),
        Engine("openvino", "OpenVINO on the bundle's own graphs", ("openvino",), _openvino),
    )
}
"""Engines by the name that a comparison takes."""
