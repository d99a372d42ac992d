"""Engines on a real GPU, for tests that skip where there is none, and say why."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from a2d.engines import Engine, load_engine
from a2d.engines.cuda import device
from a2d.engines.errors import EngineError
from a2d.engines.size_profile import Profile, Range
from a2d.engines.tensorrt.builder.build_engine import Build, build
from a2d.engines.tensorrt.libraries import LIBRARIES, imported

KINDS = ("tensorrt_rtx", "tensorrt", "onnxruntime-cuda")

ANY = Profile("any", {axis: Range(1, 8, 512) for axis in ("rows", "n")})

SMS = (86, 89, 120)


@cache
def why_not(kind: str) -> str | None:
    """Why engines of this kind are not run here; None if they are."""
    try:
        gpu = device()
        if kind in LIBRARIES:
            imported(kind)
        elif "CUDAExecutionProvider" not in __import__("onnxruntime").get_available_providers():
            return "this ONNX Runtime has no CUDAExecutionProvider"
    except EngineError as error:
        return str(error)
    return f"TensorRT-RTX does not serve sm{gpu.sm}" if kind == "tensorrt_rtx" and gpu.sm == 90 else None


@cache
def built(kind: str, name: str, content: bytes, folder: Path) -> Path:
    """The engine of a graph, built once."""
    graph = folder / f"{name}.onnx"
    graph.write_bytes(content)
    engine = graph.with_suffix(".engine")
    build(Build(kind, graph, engine, (ANY,), SMS if LIBRARIES[kind].ahead else ()))
    return engine


def engine(kind: str, name: str, folder: Path, content: bytes) -> Engine:
    """The engine; skips, after the build where that needs no GPU."""
    if kind in LIBRARIES:
        try:
            imported(kind)
        except EngineError as error:
            pytest.skip(f"neither built nor run: {error}")
        if LIBRARIES[kind].ahead or why_not(kind) is None:
            path = built(kind, name, content, folder.parent)
    if why_not(kind) is not None:
        pytest.skip(f"built, not run: {why_not(kind)}" if kind in LIBRARIES else f"not run: {why_not(kind)}")
    if kind in LIBRARIES:
        return load_engine(kind, path, device="cuda")
    path = folder / f"{name}.onnx"
    path.write_bytes(content)
    return load_engine("onnxruntime", path, device="cuda")
