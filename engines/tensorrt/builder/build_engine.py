"""One engine from one graph: TensorRT's copy of it, parsed, built and written.

Builds in a thread of its own, so that whoever waits can be interrupted: the library asks after every step whether to go
on. Knows a graph, GPUs and profiles; where engines are kept and what is recorded of them is not known here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import clear_frames
from typing import Any, TypeVar

from ...cuda import device
from ...errors import EngineError
from ...size_profile import Profile
from ..libraries import LIBRARIES, imported
from ..log import Log
from ..sidecar import Card
from .copy import copy_graph
from .network import census, parse, signatures

__all__ = ["Build", "build"]

T = TypeVar("T")

POLL = 0.1
"""Seconds between looks at whether somebody wants to stop."""


@dataclass(frozen=True)
class Build:
    """A request to build one engine of one graph."""

    library: str
    graph: Path
    """The graph's file in the bundle."""
    engine: Path
    """File to write."""
    profiles: tuple[Profile, ...]
    sms: tuple[int, ...] = ()
    """GPUs to build for; none means the one that is here."""
    half: bool = False
    """Products in float16, for a graph that was written in float32."""
    narrow: tuple[str, ...] = ()
    """Inputs and outputs that become float16 as well, by the beginnings of their names."""
    exact: tuple[str, ...] = ()
    """Patterns of weights whose products stay in float32 all the same."""
    timing: Path | None = None
    """Measured kernels of earlier builds, read and written; only where the library measures."""


Advance = Callable[[float], None]
"""Told how much is done, 0 to 1, from another thread."""


def build(wanted: Build, advance: Advance = lambda _: None) -> Card:
    """Write the engine and its card.

    Raises EngineError with the library's first reason; its whole log is beside the engine then. KeyboardInterrupt is
    raised once the library has stopped.
    """
    library, log = imported(wanted.library), Log()
    started = time.perf_counter()
    log_file = wanted.engine.with_suffix(".log")
    log_file.unlink(missing_ok=True)
    with TemporaryDirectory(dir=wanted.engine.parent, prefix=".copy.") as folder:
        copied = Path(folder) / wanted.graph.name
        copy_graph(wanted.graph, copied, half=wanted.half, narrow=wanted.narrow, exact=wanted.exact)
        stop = threading.Event()
        try:
            made, network = _interruptible(lambda: _engine(library, wanted, copied, log, advance, stop), stop)
        except EngineError:
            log_file.write_text(log.text(), encoding="utf-8")
            raise
    wanted.engine.write_bytes(made)
    layers, products = census(network)
    card = Card(
        wanted.library,
        library.__version__,
        wanted.sms or (device().sm,),
        *signatures(network),
        wanted.profiles,
        layers,
        products,
        time.perf_counter() - started,
    )
    card.write(wanted.engine)
    return card


def _engine(
    library: Any, wanted: Build, graph: Path, log: Log, advance: Advance, stop: threading.Event
) -> tuple[Any, Any]:
    """The serialized engine, and the network that it was built from."""
    builder = library.Builder(log.of(library))
    if builder is None or not bool(builder):
        raise EngineError(f"{LIBRARIES[wanted.library].title} has no builder on this machine: {log.cause}")
    network = parse(library, builder, graph, log)
    config = builder.create_builder_config()
    _add_profiles(builder, network, config, wanted.profiles)
    _name_gpus(library, config, wanted.sms)
    cache = _timing_cache(config, wanted.timing)
    config.progress_monitor = _monitor(library, advance, stop)
    made = builder.build_serialized_network(network, config)
    if made is None:
        raise EngineError(f"{wanted.graph.name}: {LIBRARIES[wanted.library].title} cannot build it: {log.cause}")
    if cache is not None and wanted.timing is not None:
        wanted.timing.write_bytes(cache.serialize())
    return made, network


def _add_profiles(builder: Any, network: Any, config: Any, profiles: Sequence[Profile]) -> None:
    inputs, _ = signatures(network)
    for wanted in profiles:
        profile = builder.create_optimization_profile()
        for name, signature in inputs.items():
            if any(isinstance(axis, str) for axis in signature.shape):
                profile.set_shape(name, *wanted.corners(signature.shape))
        config.add_optimization_profile(profile)


def _name_gpus(library: Any, config: Any, sms: Sequence[int]) -> None:
    if not sms:
        return
    known = {name for name in dir(library.ComputeCapability) if name.startswith("SM")}
    unknown = [f"SM{sm}" for sm in sms if f"SM{sm}" not in known]
    if unknown:
        raise EngineError(f"this release builds for {', '.join(sorted(known))}, not for {', '.join(unknown)}")
    config.num_compute_capabilities = len(sms)
    for i, sm in enumerate(sms):
        config.set_compute_capability(getattr(library.ComputeCapability, f"SM{sm}"), i)


def _timing_cache(config: Any, path: Path | None) -> Any:
    if path is None:
        return None
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    # Of another release or GPU: start anew rather than believe it.
    if not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _monitor(library: Any, advance: Advance, stop: threading.Event) -> Any:
    """The library's way to tell how far it is, and to be told to stop. A phase fills one step of the one around it."""

    class Monitor(library.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)
            self.open: dict[str, tuple[int, int]] = {}

        def phase_start(self, phase_name: str, _parent: str | None, num_steps: int) -> None:
            self.open[phase_name] = (0, max(num_steps, 1))

        def step_complete(self, phase_name: str, step: int) -> bool:
            _, steps = self.open.get(phase_name, (0, 1))
            self.open[phase_name] = (min(step + 1, steps), steps)
            advance(_share(self.open.values()))
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self.open.pop(phase_name, None)

    return Monitor()


def _share(phases: Iterable[tuple[int, int]]) -> float:
    """The share of the work that is done, 0 to 1, by (done, steps) of phases from the outermost to the innermost."""
    share = 0.0
    for done, steps in reversed([*phases]):
        share = min(1.0, (done + share) / steps)
    return share


def _interruptible(work: Callable[[], T], stop: threading.Event) -> T:
    """Do `work` in a thread; an interrupt sets `stop`, waits for the thread, and is raised then.

    The library calls back for its log and progress; an interrupt raised in there would end in its own code.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()  # an interrupted Thread.join takes its thread for ended, up to Python 3.12

    def worker() -> None:
        try:
            results.append(work())
        except BaseException as error:
            clear_frames(error.__traceback__)  # what they hold of the library must not live on until Python ends
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=worker, name="a2d build", daemon=True)
    try:
        thread.start()
        while not ended.wait(POLL):
            pass
    except BaseException:
        stop.set()
        if thread.ident is not None:
            ended.wait()
        results.clear()
        errors.clear()
        raise
    if errors:
        raise errors[0]
    return results[0]
