"""An engine file behind the engine protocol, for both libraries.

An execution context belongs to one profile and is made when that is first needed. TensorRT-RTX captures a run's work as
a CUDA graph itself; for TensorRT it is done here, once a run comes again with the same sizes and addresses.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..cuda import CudaBuffer, Device
from ..cuda import device as gpu_of
from ..cuda_engine import CudaEngine
from ..errors import EngineError
from ..paths import written_whole
from ..size_profile import fitting
from .libraries import LIBRARIES, imported
from .log import Log
from .sidecar import Card

__all__ = ["TensorRTEngine", "load_rtx", "load_tensorrt"]

GRAPHS = 64
"""Captured runs that an engine remembers: a decode step comes with few sizes, and its buffers come round again."""


class TensorRTEngine(CudaEngine):
    """One engine file, deserialized on one GPU."""

    def __init__(self, library: Any, path: Path, card: Card, gpu: Device) -> None:
        describe = f"{LIBRARIES[card.library].title} {library.__version__}, {gpu.name} (sm{gpu.sm})"
        super().__init__(path.stem, card.inputs, card.outputs, gpu, describe)
        self._profiles, self._log = card.profiles, Log()
        with gpu.lock:
            gpu.enter()
            self._runtime = library.Runtime(self._log.of(library))
            self._engine = self._runtime.deserialize_cuda_engine(_content(path))
        if self._engine is None:
            raise EngineError(f"{path.name}: {describe} does not take it: {self._log.cause}. Build it again: a2d build")
        self._kernels = _Kernels(library, self._engine, path.with_suffix(".kernels"))
        self._contexts: dict[int, Any] = {}
        self._captured: OrderedDict[tuple[object, ...], Callable[[], None] | None] = OrderedDict()

    def _issue(self, feeds: Mapping[str, CudaBuffer], axes: Mapping[str, int]) -> dict[str, CudaBuffer]:
        profile = self._profile(axes)
        context = self._context(profile)
        for name, buffer in feeds.items():
            self._told(context.set_input_shape(name, buffer.shape), f"{name} {list(buffer.shape)}")
            self._told(context.set_tensor_address(name, buffer.address), name)
        made = {name: self._output(context, name) for name in self.outputs}
        for name, buffer in made.items():
            self._told(context.set_tensor_address(name, buffer.address), name)
        places = [(buffer.shape, buffer.address) for buffer in (*feeds.values(), *made.values())]
        self._execute(context, (profile, *places))
        return made

    def _profile(self, axes: Mapping[str, int]) -> int:
        found = fitting(self._profiles, axes)
        if found is None:
            asked = ", ".join(f"{axis} {size}" for axis, size in axes.items())
            built = "; ".join(
                f"{p.name}: " + ", ".join(f"{a} {r.low} to {r.high}" for a, r in p.axes.items() if a in axes)
                for p in self._profiles
            )
            raise EngineError(
                f"{self.graph}: got {asked}, the engine was built for {built}. Build it for more (a2d build, "
                "the setting context, the setting block_size), or ask for less"
            )
        return found

    def _context(self, profile: int) -> Any:
        if profile not in self._contexts:
            context = self._kernels.context()
            if context is None:
                free, total = self._gpu.free_bytes()
                raise EngineError(
                    f"{self.graph}: no execution context: {self._log.cause}; {free:,} of {total:,} bytes of device "
                    "memory are free. Build for a shorter context (a2d build, the setting context), or close other "
                    "programs"
                )
            self._told(context.set_optimization_profile_async(profile, int(self._gpu.stream)), f"profile {profile}")
            self._contexts[profile] = context
        return self._contexts[profile]

    def _output(self, context: Any, name: str) -> CudaBuffer:
        shape = tuple(int(size) for size in context.get_tensor_shape(name))
        return self.memory.empty(shape, self.outputs[name].dtype)

    def _execute(self, context: Any, key: tuple[object, ...]) -> None:
        """Run, by a captured graph where this very run has been seen before."""

        def issue() -> None:
            self._told(context.execute_async_v3(int(self._gpu.stream)), "execution")

        if self._kernels.captures:
            issue()
        elif key not in self._captured:
            issue()  # the first time also allocates and loads, which cannot be captured
            self._captured[key] = None
            if len(self._captured) > GRAPHS:
                self._captured.popitem(last=False)
        else:
            again = self._captured[key] or self._gpu.capture(issue)
            self._captured[key] = again
            self._captured.move_to_end(key)
            again()

    def _told(self, done: Any, what: str) -> None:
        if done is False:
            raise EngineError(f"{self.graph}: {what} failed: {self._log.cause}")


class _Kernels:
    """Execution contexts, with what TensorRT-RTX compiles on this machine kept in a file for the next process."""

    def __init__(self, library: Any, engine: Any, path: Path) -> None:
        self._engine, self._path = engine, path
        self._config: Any = None
        self.captures = hasattr(library, "CudaGraphStrategy")
        """The library turns a run into a CUDA graph itself."""
        if self.captures:
            self._config = engine.create_runtime_config()
            self._config.cuda_graph_strategy = library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self._cache = self._config.create_runtime_cache()
            with suppress(OSError):
                self._cache.deserialize(path.read_bytes())  # a stale one is refused, and made anew
            self._config.set_runtime_cache(self._cache)

    def context(self) -> Any:
        return self._engine.create_execution_context(*([self._config] if self.captures else []))

    def __del__(self) -> None:
        if self._config is None:
            return
        with suppress(Exception):  # a read-only folder, or an interpreter on its way out: compiled again next time
            made = bytes(self._cache.serialize())
            with written_whole(self._path) as part:
                part.write_bytes(made)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror}; build it: a2d build") from error


def load_tensorrt(path: Path, **how: Any) -> TensorRTEngine:
    """Load an engine built by TensorRT. See `_load`."""
    return _load("tensorrt", path, **how)


def load_rtx(path: Path, **how: Any) -> TensorRTEngine:
    """Load an engine built by TensorRT-RTX. See `_load`."""
    return _load("tensorrt_rtx", path, **how)


def _load(
    name: str, path: Path, *, precision: str, device: str, threads: int | None = None, spinning: bool = False
) -> TensorRTEngine:
    """Load an engine file on a GPU; `precision` is that of the engine, `threads` and `spinning` are a CPU's affair.

    Raises EngineError: the library, the driver or the GPU is missing; the engine is of another library, release or GPU.
    """
    del precision, threads, spinning
    card = Card.read(path)
    library = imported(name)
    gpu = gpu_of(device)
    lines = []
    if (card.library, card.version) != (name, library.__version__):
        lines.append(f"was built by {card.library} {card.version}, here is {name} {library.__version__}")
    if gpu.sm not in card.sms:
        lines.append(f"was built for sm{', sm'.join(map(str, card.sms))}, {gpu.name} is sm{gpu.sm}")
    if lines:
        raise EngineError(f"{path.name} {' and '.join(lines)}. Build it here: a2d build")
    return TensorRTEngine(library, path, card, gpu)
