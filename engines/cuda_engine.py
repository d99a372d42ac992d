"""The common part of engines on an NVIDIA GPU: feeds to the device, one run in the stream's order, outputs back.

Feeds that are buffers are used where they lie and kept outputs stay there; a run waits for the device only if it
returns arrays. How a graph is run, the backend's own file knows.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from .cuda import CudaBuffer, CudaMemory, Device
from .host import checked
from .protocol import Array, Buffer, Feeds, Signature

__all__ = ["CudaEngine"]


class CudaEngine(ABC):
    """One graph on one GPU. A backend gives `_issue`."""

    def __init__(
        self,
        graph: str,
        inputs: Mapping[str, Signature],
        outputs: Mapping[str, Signature],
        gpu: Device,
        describe: str,
    ) -> None:
        self.graph, self.inputs, self.outputs, self.describe = graph, inputs, outputs, describe
        self.memory: CudaMemory = gpu.memory
        self.busy_seconds = 0.0
        self._gpu = gpu
        self._lock = threading.Lock()

    @abstractmethod
    def _issue(self, feeds: Mapping[str, CudaBuffer], axes: Mapping[str, int]) -> dict[str, CudaBuffer]:
        """Send one run to the stream; `axes` are the sizes of the dynamic axes. Returns every output."""

    def run(
        self, feeds: Feeds, outputs: Sequence[str] | None = None, keep: Sequence[str] = ()
    ) -> dict[str, Array | Buffer]:
        """See `Engine.run`."""
        wanted = checked(self.graph, self, feeds, outputs, keep)
        back = [name for name in wanted if name not in keep]
        started = time.perf_counter()
        try:
            with self._gpu.lock:
                self._gpu.enter()
                made = self._issue({name: self._on_device(feed) for name, feed in feeds.items()}, self._axes(feeds))
                arrays = self._gpu.download([made[name] for name in back]) if back else []
        finally:
            with self._lock:
                self.busy_seconds += time.perf_counter() - started
        got: dict[str, Array] = dict(zip(back, arrays, strict=True))
        return {name: made[name] if name in keep else got[name] for name in wanted}

    def _on_device(self, feed: Array | Buffer) -> CudaBuffer:
        if isinstance(feed, CudaBuffer) and feed.device is self._gpu:
            return feed
        return self.memory.uploaded(feed if isinstance(feed, np.ndarray) else feed.numpy())

    def _axes(self, feeds: Feeds) -> dict[str, int]:
        return {
            axis: size
            for name, feed in feeds.items()
            for axis, size in zip(self.inputs[name].shape, feed.shape, strict=True)
            if isinstance(axis, str)
        }
