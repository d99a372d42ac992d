"""The place where an engine begins to differ: every value of a graph, by the library and by ONNX Runtime side by side.

Polygraphy marks all values as outputs and runs both; the library builds such a graph anew, since an engine keeps no
values of its inside. The engine `onnxruntime` runs TensorRT's copy of the graph instead, on any machine: what the copy
itself changes (half precision), without kernels. Knows one graph and one set of feeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...cuda import device
from ...errors import EngineError
from ...install import extra
from ...protocol import Array
from ..libraries import LIBRARIES, imported
from .copy import copy_graph

__all__ = ["Difference", "differences", "marked_engine"]


@dataclass(frozen=True)
class Difference:
    """The distance of one value from ONNX Runtime's."""

    name: str
    """The value's name in the graph; values come in the order in which they are computed."""
    error: float
    """Norm of the difference over the norm of ONNX Runtime's."""


def differences(
    engine: str, graph: Path, feeds: Mapping[str, Array], *, half: bool, narrow: Sequence[str] = ()
) -> list[Difference]:
    """Every float value that both know, in the graph's order. Raises EngineError without Polygraphy, or a GPU."""
    reference = _infer(_onnxruntime(graph, feeds), feeds)
    with TemporaryDirectory() as folder:
        copied = Path(folder) / graph.name
        copy_graph(graph, copied, half=half, narrow=narrow)
        other = _infer(_RUNNERS[engine](copied, feeds), feeds)
    return [
        Difference(name, _error(other[name], wanted))
        for name, wanted in reference.items()
        if name in other and wanted.dtype.kind == "f" and other[name].shape == wanted.shape
    ]


def marked_engine(library: str, graph: Path, feeds: Mapping[str, Array]) -> Any:
    """The serialized engine of a graph whose values are all outputs, for exactly the sizes of `feeds`."""
    trt = _polygraphy_trt(library)
    profile = trt.Profile()
    for name, array in feeds.items():
        profile.add(name, array.shape, array.shape, array.shape)
    network = trt.ModifyNetworkOutputs(trt.NetworkFromOnnxPath(str(graph), strongly_typed=True), outputs=_mark_all())
    return trt.EngineBytesFromNetwork(network, config=trt.CreateConfig(profiles=[profile]))()


def _tensorrt(library: str) -> Callable[[Path, Mapping[str, Array]], Any]:
    def runner(graph: Path, feeds: Mapping[str, Array]) -> Any:
        imported(library)
        device()  # says what is missing
        trt = _polygraphy_trt(library)
        return trt.TrtRunner(trt.EngineFromBytes(marked_engine(library, graph, feeds)))

    return runner


def _onnxruntime(graph: Path, _feeds: Mapping[str, Array]) -> Any:
    with _needed():
        from polygraphy.backend.onnx import BytesFromOnnx, ModifyOutputs, OnnxFromPath  # noqa: PLC0415
        from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx  # noqa: PLC0415

    marked = ModifyOutputs(OnnxFromPath(str(graph)), outputs=_mark_all())
    return OnnxrtRunner(SessionFromOnnx(BytesFromOnnx(marked)))


_RUNNERS: dict[str, Callable[[Path, Mapping[str, Array]], Any]] = {
    "onnxruntime": _onnxruntime,
    **{name: _tensorrt(name) for name in LIBRARIES},
}


def _infer(runner: Any, feeds: Mapping[str, Array]) -> dict[str, Array]:
    with runner:
        wanted = runner.get_input_metadata(use_numpy_dtypes=False)
        given = {name: array.astype(wanted[name].dtype.numpy()) for name, array in feeds.items()}
        return {name: np.array(made) for name, made in runner.infer(given).items()}


def _error(got: Array, wanted: Array) -> float:
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    size = float(np.linalg.norm(b))
    return float(np.linalg.norm(a - b)) / size if size else float(np.linalg.norm(a))


def _mark_all() -> Any:
    with _needed():
        from polygraphy import constants  # noqa: PLC0415
        from polygraphy.logger import G_LOGGER  # noqa: PLC0415

    G_LOGGER.module_severity = G_LOGGER.ERROR
    return constants.MARK_ALL


def _polygraphy_trt(library: str) -> Any:
    """Polygraphy's half for TensorRT; which library it means it decides when that half is imported."""
    with _needed():
        from polygraphy import config  # noqa: PLC0415

        config.USE_TENSORRT_RTX = library == "tensorrt_rtx"
        from polygraphy.backend import trt  # noqa: PLC0415

    return trt


@contextmanager
def _needed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise EngineError(f"comparing layer by layer needs Polygraphy: {error}. {extra('build')}") from error
