"""A GPU without a GPU: the driver's functions that a2d calls, over the host's memory, and TensorRT's run half over it.

Addresses are real ones, a stream does its work at once, and a captured graph is a list of calls. So `engines/cuda.py`
and the engines over it run as they are. What this cannot show is what only a device does: asynchrony, kernels, time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from a2d.engines import Signature
from a2d.engines.cuda import Device
from a2d.engines.onnxruntime_cuda import CudaOnnxRuntimeEngine
from a2d.engines.size_profile import Profile, Range
from a2d.engines.tensorrt.builder.build_engine import Build
from a2d.engines.tensorrt.builder.copy import copy_graph
from a2d.engines.tensorrt.engine import TensorRTEngine
from a2d.engines.tensorrt.sidecar import Card

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
}


class Status(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_INSUFFICIENT_DRIVER = 35
    CUDA_ERROR_ILLEGAL_ADDRESS = 700


OK = Status.CUDA_SUCCESS


class Driver:
    """`cuda.bindings.driver`, as far as it is used."""

    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR="major", CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR="minor"
    )
    CUmemorytype = SimpleNamespace(CU_MEMORYTYPE_DEVICE=2)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
    CUDA_MEMCPY2D = SimpleNamespace

    def __init__(self, sm: int = 89, total: int = 1 << 30) -> None:
        self.sm, self.total = sm, total
        self.blocks: dict[int, Any] = {}
        self.waits = 0
        """How often somebody waited for the stream."""
        self.launches = 0
        self.recording: list[Callable[[], None]] | None = None
        self.graphs: dict[int, list[Callable[[], None]]] = {}

    @property
    def used(self) -> int:
        return sum(len(block) for block in self.blocks.values())

    def issue(self, work: Callable[[], None]) -> None:
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def cuInit(self, _flags):
        return (OK,)

    def cuDriverGetVersion(self):
        return OK, 13000

    def cuDeviceGetCount(self):
        return OK, 1

    def cuDeviceGet(self, ordinal):
        return OK, ordinal

    def cuDeviceGetName(self, length, _device):
        return OK, b"Imaginary GPU".ljust(length, b"\0")

    def cuDeviceGetAttribute(self, kind, _device):
        return OK, {"major": self.sm // 10, "minor": self.sm % 10}[kind]

    def cuDevicePrimaryCtxRetain(self, _device):
        return OK, "context"

    def cuCtxSetCurrent(self, _context):
        return (OK,)

    def cuStreamCreate(self, _flags):
        return OK, 7

    def cuMemGetInfo(self):
        return OK, self.total - self.used, self.total

    def cuMemHostAlloc(self, size, _flags):
        self.pinned = ctypes.create_string_buffer(size)
        return OK, ctypes.addressof(self.pinned)

    def cuMemAlloc(self, size):
        assert self.recording is None, "memory is not taken while a graph is captured"
        if self.used + size > self.total:
            return Status.CUDA_ERROR_OUT_OF_MEMORY, None
        block = ctypes.create_string_buffer(b"\xa5" * size, size)  # what nobody wrote is not zero
        self.blocks[ctypes.addressof(block)] = block
        return OK, ctypes.addressof(block)

    def cuMemFree(self, address):
        del self.blocks[address]
        return (OK,)

    def cuMemcpyHtoDAsync(self, target, source, size, _stream):
        return self._copy(target, source, size)

    def cuMemcpyDtoHAsync(self, target, source, size, _stream):
        return self._copy(target, source, size)

    def _copy(self, target, source, size):
        self.issue(lambda: ctypes.memmove(target, source, size))
        return (OK,)

    def cuMemsetD8Async(self, address, value, size, _stream):
        self.issue(lambda: ctypes.memset(address, value, size))
        return (OK,)

    def cuMemcpy2DAsync(self, job, _stream):
        def work():
            for i in range(job.Height):
                source, target = job.srcDevice + i * job.srcPitch, job.dstDevice + i * job.dstPitch
                ctypes.memmove(target, source, job.WidthInBytes)

        self.issue(work)
        return (OK,)

    def cuStreamSynchronize(self, _stream):
        assert self.recording is None, "nobody waits while a graph is captured"
        self.waits += 1
        return (OK,)

    def cuStreamBeginCapture(self, _stream, _mode):
        self.recording = []
        return (OK,)

    def cuStreamEndCapture(self, _stream):
        number = len(self.graphs) + 1
        self.graphs[number], self.recording = self.recording or [], None
        return OK, number

    def cuGraphInstantiate(self, graph, _flags):
        return OK, graph

    def cuGraphDestroy(self, _graph):
        return (OK,)

    def cuGraphLaunch(self, graph, _stream):
        self.launches += 1
        for work in self.graphs[graph]:
            work()
        return (OK,)


class Context:
    """An execution context that computes with ONNX Runtime, from addresses to addresses."""

    def __init__(self, session: ort.InferenceSession, driver: Driver, logger: Any) -> None:
        self.session, self.driver, self.logger = session, driver, logger
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.inputs = {node.name: node for node in session.get_inputs()}
        self.outputs = {node.name: node for node in session.get_outputs()}

    def set_optimization_profile_async(self, index, _stream):
        self.profile = index
        return True

    def set_input_shape(self, name, shape):
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name, address):
        assert address, name
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name):
        axes = {}
        for given, node in self.inputs.items():
            axes |= {a: s for a, s in zip(node.shape, self.shapes[given], strict=True) if isinstance(a, str)}
        return tuple(axes[a] if isinstance(a, str) else a for a in self.outputs[name].shape)

    def execute_async_v3(self, stream):
        assert stream == 7
        places = {name: self._view(node, self.shapes[name], name) for name, node in self.inputs.items()}
        targets = {name: self._view(node, self.get_tensor_shape(name), name) for name, node in self.outputs.items()}
        failed = []

        def work():
            try:
                made = self.session.run(list(targets), places)
            except Exception as error:
                self.logger.log(SimpleNamespace(name="ERROR"), str(error))
                failed.append(error)
                return
            for (name, target), array in zip(targets.items(), made, strict=True):
                assert target.shape == array.shape, name
                target[...] = array

        self.driver.issue(work)
        return not failed

    def _view(self, node, shape, name):
        dtype = np.dtype(DTYPES[node.type])
        count = int(np.prod(shape))
        raw = (ctypes.c_char * max(count * dtype.itemsize, 1)).from_address(self.addresses[name])
        return np.frombuffer(raw, dtype, count).reshape(shape)


class Cache:
    """What TensorRT-RTX compiled on a machine."""

    def __init__(self) -> None:
        self.content = b""

    def deserialize(self, content):
        self.content = bytes(content)
        return True

    def serialize(self):
        return self.content + b"+"


def library(driver: Driver, flavour: str, version: str = "11.4.0") -> SimpleNamespace:
    """A module like `tensorrt` or `tensorrt_rtx` whose engines are ONNX files."""

    class ILogger:
        def __init__(self) -> None:
            pass

    class Runtime:
        def __init__(self, logger) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, content):
            try:
                session = ort.InferenceSession(bytes(content), providers=["CPUExecutionProvider"])
            except Exception as error:
                self.logger.log(SimpleNamespace(name="ERROR"), f"engine is corrupt: {error}")
                self.logger.log(SimpleNamespace(name="ERROR"), "deserialization failed")
                return None
            return Engine(session, self.logger)

    class Engine:
        def __init__(self, session, logger) -> None:
            self.session, self.logger = session, logger

        def create_runtime_config(self):
            return SimpleNamespace(create_runtime_cache=Cache, set_runtime_cache=lambda _: True)

        def create_execution_context(self, *_config):
            return Context(self.session, driver, self.logger)

    made = SimpleNamespace(__version__=version, ILogger=ILogger, Runtime=Runtime, __name__=flavour)
    if flavour == "tensorrt_rtx":
        made.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE=1)
    return made


def install(monkeypatch: Any, flavour: str, driver: Driver | None = None, version: str = "11.4.0") -> Driver:
    """Let a2d find the imaginary driver and library instead of real ones, to build with and to run."""
    from a2d.engines import cuda
    from a2d.engines.tensorrt import engine
    from a2d.engines.tensorrt.builder import build_engine as builder
    from a2d.runtime.deploy import build, placement

    driver = driver or Driver()
    module, device = library(driver, flavour, version), Device(driver, 0)
    for place in (engine, build):
        monkeypatch.setattr(place, "imported", lambda name: module)
    for place in (build, placement):
        monkeypatch.setattr(place, "version", lambda name: version if name == flavour else None)
    monkeypatch.setattr(builder, "build", lambda wanted, _advance: played_build(wanted, version))
    monkeypatch.setattr(cuda, "_made", lambda ordinal: device)
    return driver


def played_build(wanted: Build, version: str) -> Card:
    """TensorRT's copy of a graph as the engine itself."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "copy.onnx"
        copy_graph(wanted.graph, path, half=wanted.half, narrow=wanted.narrow, exact=wanted.exact)
        content = onnx.load(path).SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    ports = [
        {node.name: Signature(np.dtype(DTYPES[node.type]).name, tuple(node.shape)) for node in nodes}
        for nodes in (session.get_inputs(), session.get_outputs())
    ]
    wanted.engine.write_bytes(content)
    made = Card(wanted.library, version, wanted.sms or (89,), *ports, wanted.profiles, {"fp16": 1}, {}, 0.1)
    made.write(wanted.engine)
    return made


@cache
def gpu() -> Device:
    """The imaginary GPU of the tests that share one."""
    return Device(Driver(), 0)


def card(flavour: str, inputs: dict[str, Signature], outputs: dict[str, Signature], version: str = "11.4.0") -> Card:
    """The card of an engine that takes every size up to 4096."""
    axes = {axis: Range(0, 8, 4096) for s in inputs.values() for axis in s.shape if isinstance(axis, str)}
    return Card(flavour, version, (89,), inputs, outputs, (Profile("any", axes),), {"fp32": 1}, {}, 1.0)


def tensorrt(flavour: str) -> Callable[..., TensorRTEngine]:
    def make(name: str, folder: Path, content: bytes, inputs, outputs) -> TensorRTEngine:
        path = folder / f"{name}.engine"
        path.write_bytes(content)
        made = card(flavour, inputs, outputs)
        made.write(path)
        return TensorRTEngine(library(gpu()._driver, flavour), path, Card.read(path), gpu())

    return make


class OnHost(CudaOnnxRuntimeEngine):
    KIND = "cpu"


def onnxruntime_cuda(name: str, folder: Path, content: bytes, inputs, outputs) -> OnHost:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return OnHost(name, session, inputs, outputs, gpu())


ENGINES = {
    "tensorrt": tensorrt("tensorrt"),
    "tensorrt_rtx": tensorrt("tensorrt_rtx"),
    "onnxruntime-cuda": onnxruntime_cuda,
}
"""Engines for GPUs, made of a graph's name, a folder, its ONNX bytes and its ports."""
