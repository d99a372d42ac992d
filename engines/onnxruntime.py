"""ONNX Runtime behind the engine protocol: graphs on the CPU, and the way to its CUDA provider.

Arrays are taken where they lie and results stay where they were made, so the cache is read in place. (On a CPU an IO
binding does no more than that, with several Python calls for every input and output: 0.07 ms more for each run.)
Threads do not spin by default: a host program shares its cores, and two spinning threads beside another busy process
were measured three times slower than sleeping ones.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from ctypes import byref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ._import_onnxruntime import ort
from .cpu import CpuKind, this_cpu
from .denormals import FLUSHING, OPTION, SETTABLE, State, fegetenv, fesetenv, kept_state
from .errors import EngineError
from .host import HostBuffer, HostMemory, checked
from .paths import utf8_path
from .protocol import Array, Buffer, Engine, Feeds, Signature

__all__ = ["PROVIDERS", "OnnxRuntimeEngine", "load"]


@dataclass(frozen=True)
class Provider:
    """One execution provider of ONNX Runtime, and what it may run."""

    name: str
    precisions: tuple[str, ...]
    why: str
    install: str = "pip install onnxruntime"


PROVIDERS = {
    "cpu": Provider(
        "CPUExecutionProvider",
        ("fp32", "fp16", "int8", "int8-avx2", "int8-weight", "int4-weight", "fp8", "int4-int8", "int4"),
        "every machine has it; fp16, fp8 and int4 are widened operator by operator, and bf16 has no kernels",
    ),
    "cuda": Provider(
        "CUDAExecutionProvider",
        ("fp32", "fp16"),
        "quantized graphs are dequantized there operator by operator, which TensorRT does not do",
        "pip uninstall onnxruntime, then pip install onnxruntime-gpu: only one of the two can be installed",
    ),
}
"""Devices by name; `cuda:1` is the second GPU."""

UNFUSED = dict.fromkeys(("int8", "int8-avx2", "int4-int8", "int4"), ("MatMulAddFusion",))
"""Optimizers to leave out, by precision. A product and its bias in one node (`Gemm`, made where rows have two axes, as
in a vision tower) has no kernel for bytes: its codes would be widened at every run, and it be computed in floats.
"""

MOST_THREADS = 1024
"""Threads of one operator that are started at most: far more take minutes to start, and the memory of a machine."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
}


def _array(feed: Array | Buffer) -> Array:
    """The feed as an array that ONNX Runtime takes where it lies; a strided or unaligned one is copied."""
    array = feed if isinstance(feed, np.ndarray) else feed.numpy()
    return array if array.flags.c_contiguous and array.flags.aligned else array.copy(order="C")


class OnnxRuntimeEngine:
    """One ONNX graph in one `InferenceSession`."""

    def __init__(
        self,
        path: Path,
        provider: Provider,
        options: ort.SessionOptions,
        without: Sequence[str] = (),
        cpu: CpuKind | None = None,
    ) -> None:
        """`without`: names of optimizers to leave out. `cpu`: the kind of processor that the options are for."""
        self.graph = path.name
        self.memory = HostMemory()
        self.describe = f"ONNX Runtime {ort.__version__}, {provider.name} ({(cpu or this_cpu()).name})"
        self.busy_seconds = 0.0
        self._lock = threading.Lock()
        self._session = _session(path, provider, options, without=without)
        self.inputs, self.outputs = _ports(path, self._session)

    def run(
        self, feeds: Feeds, outputs: Sequence[str] | None = None, keep: Sequence[str] = ()
    ) -> dict[str, Array | Buffer]:
        """See `Engine.run`."""
        wanted = checked(self.graph, self, feeds, outputs, keep)
        made = self._run(wanted, {name: _array(feed) for name, feed in feeds.items()})
        return {name: HostBuffer(a) if name in keep else a for name, a in zip(wanted, made, strict=True)}

    def _run(self, outputs: Sequence[str], arrays: Mapping[str, Array]) -> list[Array]:
        started, state = time.perf_counter(), State()
        fegetenv(byref(state))
        fesetenv(FLUSHING)
        try:
            made: list[Array] = self._session.run(outputs, arrays)
            return made
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise EngineError(f"{self.graph}: ONNX Runtime failed: {error}") from error
        finally:
            fesetenv(byref(state))
            with self._lock:
                self.busy_seconds += time.perf_counter() - started


def load(
    path: Path,
    *,
    precision: str = "fp32",
    device: str = "cpu",
    threads: int | None = None,
    spinning: bool = False,
    frugal: bool = False,
    fuse: bool = True,
    cpu: CpuKind | None = None,
) -> Engine:
    """Load one graph.

    `threads`: of one operator; default is ONNX Runtime's choice, the physical cores. `spinning`: threads wait
    actively between operators, faster only on a machine with nothing else to do. `frugal`: weights stay mapped in
    their file, and 16-bit ones are widened one at a time at every run: about half the speed, and next to no memory of
    the process's own. `fuse=False` leaves operators as they are written. `cpu` stands in for the kind of this
    machine's processor, which decides the options of its products (`cpu.py`).
    Raises EngineError for an unknown device, a precision that it cannot run, or a graph that does not load; external
    data outside the graph's folder is refused by ONNX Runtime itself, from 1.24 on.
    """
    provider = _provider(device, precision)
    if threads is not None and not (type(threads) is int and 1 <= threads <= MOST_THREADS):
        raise EngineError(
            f"threads: got {threads!r}, expected a whole number, 1 to {MOST_THREADS}, or none for ONNX Runtime's choice"
        )
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors reach us as exceptions
    if threads is not None:
        options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Rows and context change all the time, so a memory plan would be made anew for every shape.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.add_session_config_entry(OPTION, "1" if SETTABLE else "0")  # it sets a caller, who must be put back
    # Products of weights in groups: by int8 arithmetic, 4 to 20 times faster than widening them.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "4")
    kind = cpu or this_cpu()
    for name, value in kind.options_for(precision).items():
        options.add_session_config_entry(name, value)
    if device.startswith("cuda"):
        return _on_gpu(path, provider, options, device)
    without = _frugal(options) if frugal else UNFUSED.get(precision, ())
    if not fuse:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return OnnxRuntimeEngine(path, provider, options, without, kind)


def _on_gpu(path: Path, provider: Provider, options: ort.SessionOptions, device: str) -> Engine:
    from .cuda import device as gpu_of  # noqa: PLC0415 - a CPU has no use for CUDA
    from .onnxruntime_cuda import CudaOnnxRuntimeEngine, provider_options  # noqa: PLC0415

    if provider.name not in ort.get_available_providers():  # the package for CPUs
        raise EngineError(f"this ONNX Runtime ({ort.__version__}) has no {provider.name}: {provider.install}")
    gpu = gpu_of(device)
    session = _session(path, provider, options, provider_options(gpu))
    if session.get_providers()[0] != provider.name:  # it says so on stderr and goes on with the CPU
        raise EngineError(
            f"{path.name}: ONNX Runtime could not start {provider.name}: its CUDA libraries are missing or of another "
            "release (it needs those of its CUDA version, and cuDNN); see `a2d doctor`"
        )
    return CudaOnnxRuntimeEngine(path.name, session, *_ports(path, session), gpu)


def _provider(device: str, precision: str) -> Provider:
    kind, _, _ = device.partition(":")
    if kind not in PROVIDERS:
        raise EngineError(f"device: got {device!r}, ONNX Runtime is set up for {', '.join(PROVIDERS)}")
    provider = PROVIDERS[kind]
    if precision not in provider.precisions:
        raise EngineError(
            f"precision {precision!r} does not run on {provider.name}: {provider.why}. "
            f"Use {' or '.join(provider.precisions)}: export with [precision={provider.precisions[0]}]"
        )
    return provider


def _frugal(options: ort.SessionOptions) -> tuple[str, ...]:
    """Set `options` so that no weight is copied before it is wanted; returns the optimizers that would."""
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.enable_cpu_mem_arena = False  # it takes twice what it took before each time
    # The level above folds the casts of 16-bit weights into copies, whatever is left out.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    # Nodes as they become ready, in the graph's order: casts wait for their product, and do not all come first.
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    return ("ConstantFolding",)


def _session(
    path: Path,
    provider: Provider,
    options: ort.SessionOptions,
    settings: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
) -> Any:
    if not path.is_file():
        raise EngineError(f"{path}: no such graph; export the checkpoint again")
    chosen = [(provider.name, dict(settings or {}))]
    try:
        with utf8_path(path) as spelled, kept_state():
            return ort.InferenceSession(spelled, options, providers=chosen, disabled_optimizers=[*without])
    except Exception as error:  # as above
        raise EngineError(f"{path.name}: ONNX Runtime {ort.__version__} cannot load it: {error}") from error


def _ports(path: Path, session: Any) -> tuple[Mapping[str, Signature], Mapping[str, Signature]]:
    return _signatures(path.name, session.get_inputs()), _signatures(path.name, session.get_outputs())


def _signatures(graph: str, nodes: Sequence[Any]) -> Mapping[str, Signature]:
    unknown = [f"{node.name} is {node.type}" for node in nodes if node.type not in _DTYPES]
    if unknown:
        raise EngineError(f"{graph}: {', '.join(unknown)}; known types are {', '.join(_DTYPES)}")
    return {node.name: Signature(_DTYPES[node.type], tuple(node.shape)) for node in nodes}
