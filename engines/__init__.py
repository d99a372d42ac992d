"""Engines run one graph: tensors in, tensors out. They know devices; never tokens, blocks or bundles."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from .errors import EngineError
from .protocol import Array, Buffer, Engine, Feeds, Memory, Signature

__all__ = ["ENGINES", "Array", "Buffer", "Engine", "Feeds", "Memory", "Signature", "load_engine"]

ENGINES = {
    "onnxruntime": ".onnxruntime:load",
    "tensorrt": ".tensorrt.engine:load_tensorrt",
    "tensorrt_rtx": ".tensorrt.engine:load_rtx",
}
"""Engines by name, imported when asked for. The fake engine has no graph to load: see `a2d.engines.fake`."""


def load_engine(
    name: str,
    path: Path,
    *,
    precision: str = "fp32",
    device: str = "cpu",
    threads: int | None = None,
    spinning: bool = False,
) -> Engine:
    """Load the graph at `path` with the engine called `name`: an ONNX file, or what that engine has built of one.

    Raises EngineError; an unknown name prints the table.
    """
    if name not in ENGINES:
        raise EngineError(f"engine: got {name!r}, expected one of {', '.join(ENGINES)}")
    home, _, loader = ENGINES[name].partition(":")
    try:
        module = import_module(home, __package__)
    except ImportError as error:
        raise EngineError(f"engine {name!r} is not installed here: {error}. pip install {name}") from error
    engine: Engine = getattr(module, loader)(
        path, precision=precision, device=device, threads=threads, spinning=spinning
    )
    return engine
