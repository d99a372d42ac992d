"""Memory and work on one NVIDIA GPU, through the driver's own API; the only file that imports its bindings.

One stream for everything that a2d does on a device: what is issued later happens later, so memory that was let go can
be given to the next buffer at once, and nobody waits but for results. Small arrays go through pinned memory: from any
other the driver first waits for the stream. Knows bytes; not what runs on the device.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, ClassVar

import numpy as np

from .errors import EngineError
from .host import check_rows
from .install import extra
from .protocol import Array, Buffer

__all__ = ["CudaBuffer", "CudaMemory", "Device", "device"]

STAGE = 4 << 20
"""Bytes of pinned memory: feeds and results of many steps."""

GRAIN = 512
"""Device memory is taken in multiples of it, so that buffers of nearly one size can follow one another."""


def _driver() -> Any:
    """The bindings. Raises EngineError where they or the driver are missing."""
    try:
        from cuda.bindings import driver  # noqa: PLC0415 - a CPU needs none of it
    except ImportError as error:
        raise EngineError(
            f"no CUDA bindings here: {error}. {extra('rtx')}, or the extra tensorrt; `a2d doctor` says what fits"
        ) from error
    return driver


def device(name: str = "cuda") -> Device:
    """The device called `cuda` (the first) or `cuda:N`, made once per process.

    Raises EngineError: a bad name, no bindings, no driver, no such GPU.
    """
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise EngineError(f"device: got {name!r}, expected cuda or cuda:N, N counting from 0")
    return _made(int(number or 0))


@cache
def _made(ordinal: int) -> Device:
    return Device(_driver(), ordinal)


class Device:
    """One GPU: its primary context, a stream, pinned memory, and device memory that is used again."""

    def __init__(self, driver: Any, ordinal: int) -> None:
        self._driver, self.ordinal = driver, ordinal
        self.lock = threading.RLock()
        """Held while work is issued: the stream has one order."""
        try:
            self._ask("cuInit", 0)
        except RuntimeError as error:  # the bindings' own way to say that there is no driver
            raise EngineError("no NVIDIA driver here; `a2d doctor` shows what this machine has") from error
        count = self._ask("cuDeviceGetCount")
        if ordinal >= count:
            raise EngineError(f"device: got cuda:{ordinal}, this machine has {count} GPU(s), counted from 0")
        handle = self._ask("cuDeviceGet", ordinal)
        self._context = self._ask("cuDevicePrimaryCtxRetain", handle)
        self.enter()
        self.stream = self._ask("cuStreamCreate", int(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
        self.sm = self._compute_capability(handle)
        self.name = bytes(self._ask("cuDeviceGetName", 128, handle)).split(b"\0")[0].decode(errors="replace")
        self.free: dict[int, list[int]] = {}
        self._pinned = int(self._ask("cuMemHostAlloc", STAGE, 0))
        self._used = 0
        self.memory = CudaMemory(self)

    def _compute_capability(self, handle: Any) -> int:
        kinds = self._driver.CUdevice_attribute
        major = self._ask("cuDeviceGetAttribute", kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, handle)
        minor = self._ask("cuDeviceGetAttribute", kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, handle)
        return 10 * int(major) + int(minor)

    def enter(self) -> None:
        """Make this device the calling thread's."""
        self._ask("cuCtxSetCurrent", self._context)

    # -- memory

    def allocate(self, size: int) -> int:
        """The address of at least `size` bytes. Raises EngineError when the device is full."""
        grains = -(-max(size, 1) // GRAIN) * GRAIN
        kept = self.free.get(grains)
        if kept:
            return kept.pop()
        try:
            return int(self._ask("cuMemAlloc", grains))
        except EngineError:
            self.trim()  # what was kept for later may be just what is missing
        return int(self._ask("cuMemAlloc", grains))

    def release(self, address: int, size: int) -> None:
        """Give memory back; whatever was issued before still finds it."""
        self.free.setdefault(-(-max(size, 1) // GRAIN) * GRAIN, []).append(address)

    def trim(self) -> None:
        """Return unused memory to the driver."""
        self.synchronize()
        for addresses in self.free.values():
            while addresses:
                self._ask("cuMemFree", addresses.pop())

    # -- copies

    def upload(self, array: Array, address: int) -> None:
        """Copy a contiguous array to the device; the array may change right after."""
        if array.nbytes > STAGE:
            self._ask("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, self.stream)
            self.synchronize()
        elif array.nbytes:
            at = self._staged(array.nbytes)
            ctypes.memmove(at, array.ctypes.data, array.nbytes)
            self._ask("cuMemcpyHtoDAsync", address, at, array.nbytes, self.stream)

    def download(self, buffers: Sequence[CudaBuffer]) -> list[Array]:
        """The content of several buffers, with one wait for all."""
        arrays: list[Array] = [np.empty(buffer.shape, buffer.dtype) for buffer in buffers]
        small = sum(-(-array.nbytes // 64) * 64 for array in arrays) <= STAGE - self._used
        places = [self._staged(a.nbytes) if small else a.ctypes.data for a in arrays]
        for buffer, array, place in zip(buffers, arrays, places, strict=True):
            if array.nbytes:
                self._ask("cuMemcpyDtoHAsync", place, buffer.address, array.nbytes, self.stream)
        self.synchronize()
        for array, place in zip(arrays, places, strict=True):
            if small:
                ctypes.memmove(array.ctypes.data, place, array.nbytes)
        return arrays

    def fill_zero(self, address: int, size: int) -> None:
        """Zeros."""
        if size:
            self._ask("cuMemsetD8Async", address, 0, size, self.stream)

    def copy_pieces(
        self, source: int, source_pitch: int, target: int, target_pitch: int, width: int, count: int
    ) -> None:
        """Copy `count` pieces of `width` bytes, the next ones a pitch further on each side."""
        if not width * count:
            return
        kind = self._driver.CUmemorytype.CU_MEMORYTYPE_DEVICE
        job = self._driver.CUDA_MEMCPY2D()
        job.srcMemoryType = job.dstMemoryType = kind
        job.srcDevice, job.srcPitch, job.dstDevice, job.dstPitch = source, source_pitch, target, target_pitch
        job.WidthInBytes, job.Height = width, count
        self._ask("cuMemcpy2DAsync", job, self.stream)

    def synchronize(self) -> None:
        """Wait until everything issued has happened."""
        self._ask("cuStreamSynchronize", self.stream)
        self._used = 0

    def _staged(self, size: int) -> int:
        """A place in pinned memory; when it is used up, what is on its way there is waited for."""
        step = -(-size // 64) * 64
        if self._used + step > STAGE:
            self.synchronize()
        at, self._used = self._pinned + self._used, self._used + step
        return at

    # -- graphs of work

    def capture(self, issue: Callable[[], None]) -> Callable[[], None]:
        """Record what `issue` sends to the stream; the result sends it again, in one call."""
        self._ask(
            "cuStreamBeginCapture", self.stream, self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        )
        try:
            issue()
        finally:
            graph = self._ask("cuStreamEndCapture", self.stream)
        ready = self._ask("cuGraphInstantiate", graph, 0)
        self._ask("cuGraphDestroy", graph)
        return lambda: self._ask("cuGraphLaunch", ready, self.stream)

    # -- the driver

    def driver(self) -> str:
        """The CUDA release that the driver serves: `13.0`."""
        major, minor = divmod(int(self._ask("cuDriverGetVersion")), 1000)
        return f"{major}.{minor // 10}"

    def free_bytes(self) -> tuple[int, int]:
        """Free and total device memory."""
        free, total = self._ask("cuMemGetInfo")
        return int(free), int(total)

    def _ask(self, name: str, *arguments: Any) -> Any:
        """Call the driver. Raises EngineError with its name for what went wrong."""
        status, *values = getattr(self._driver, name)(*arguments)
        if int(status) != 0:
            raise EngineError(self._fault(name, status, arguments))
        return values[0] if len(values) == 1 else tuple(values)

    def _fault(self, name: str, status: Any, arguments: tuple[Any, ...]) -> str:
        what = getattr(status, "name", str(status))
        if what == "CUDA_ERROR_OUT_OF_MEMORY":
            asked = f" {arguments[0]:,} bytes were asked for." if name == "cuMemAlloc" else ""
            return (
                f"the GPU is out of memory.{asked} Lower the setting max_tokens, or the context that the engines are "
                "built for (a2d build, the setting context), take a smaller precision, or close other programs; "
                "`a2d plan` adds it up"
            )
        if what in ("CUDA_ERROR_NO_DEVICE", "CUDA_ERROR_INSUFFICIENT_DRIVER", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"):
            return f"the NVIDIA driver says {what}: no GPU, or a driver too old for these bindings; see `a2d doctor`"
        return f"{name}: the CUDA driver says {what}"


@dataclass(eq=False)
class CudaBuffer:
    """Memory on a device behind the Buffer protocol."""

    device: Device
    address: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    def numpy(self) -> Array:
        """A copy of the content on the host; waits for it."""
        with self.device.lock:
            self.device.enter()
            return self.device.download([self])[0]

    def __del__(self) -> None:
        with suppress(AttributeError):  # the interpreter is on its way out
            self.device.release(self.address, self.nbytes)


@dataclass(frozen=True)
class CudaMemory:
    """Memory of one device, where its buffers live; all engines of a process on that device share it."""

    device: Device
    waits: ClassVar[bool] = True

    def empty(self, shape: Sequence[int], dtype: str) -> CudaBuffer:
        """A new buffer, whatever is in it."""
        size = prod(shape) * np.dtype(dtype).itemsize
        return CudaBuffer(self.device, self.device.allocate(size), tuple(shape), dtype)

    def zeros(self, shape: Sequence[int], dtype: str) -> CudaBuffer:
        """A new buffer of zeros."""
        with self.device.lock:
            self.device.enter()
            made = self.empty(shape, dtype)
            self.device.fill_zero(made.address, made.nbytes)
            return made

    def uploaded(self, array: Array) -> CudaBuffer:
        """A new buffer with the content of an array."""
        array = np.ascontiguousarray(array) if array.ndim else array.copy()
        made = self.empty(array.shape, array.dtype.name)
        self.device.upload(array, made.address)
        return made

    def copy_rows(self, source: Buffer, start: int, count: int, target: Buffer, at: int) -> None:
        """Copy rows along the axis before the last. Raises EngineError if they are not there, or not alike."""
        old, new = self._own(source), self._own(target)
        check_rows(old, start, count, new, at)
        row = old.shape[-1] * np.dtype(old.dtype).itemsize
        with self.device.lock:
            self.device.enter()
            self.device.copy_pieces(
                old.address + start * row,
                old.shape[-2] * row,
                new.address + at * row,
                new.shape[-2] * row,
                count * row,
                prod(old.shape[:-2]),
            )

    def _own(self, buffer: Buffer) -> CudaBuffer:
        if not isinstance(buffer, CudaBuffer) or buffer.device is not self.device:
            raise EngineError(f"a {type(buffer).__name__} is not memory of cuda:{self.device.ordinal}")
        return buffer
