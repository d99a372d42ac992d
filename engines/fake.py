"""An engine without a network: a Python function behind the protocol. Public, for tests of whatever uses engines.

>>> engine = FakeEngine({"x": Signature("float32", ("n",))}, {"y": Signature("float32", ("n",))},
...                     lambda feeds: {"y": feeds["x"] * 2})
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .errors import EngineError
from .host import HostBuffer, HostMemory, checked, on_host
from .protocol import Array, Buffer, Feeds, Signature

__all__ = ["FakeEngine", "Script"]

Script = Callable[[dict[str, Array]], Mapping[str, Array]]
"""From all inputs as arrays to all outputs as arrays."""


class FakeEngine:
    """Runs `script` and records what it was fed."""

    def __init__(
        self,
        inputs: Mapping[str, Signature],
        outputs: Mapping[str, Signature],
        script: Script,
        graph: str = "fake",
    ) -> None:
        self.inputs, self.outputs = dict(inputs), dict(outputs)
        self.memory = HostMemory()
        self.describe = "fake engine on the host"
        self.busy_seconds = 0.0
        self.calls: list[dict[str, Array]] = []
        self._script, self._graph = script, graph
        self._lock = threading.Lock()

    def run(
        self, feeds: Feeds, outputs: Sequence[str] | None = None, keep: Sequence[str] = ()
    ) -> dict[str, Array | Buffer]:
        """See `Engine.run`."""
        wanted = checked(self._graph, self, feeds, outputs, keep)
        arrays = {name: on_host(feed) for name, feed in feeds.items()}
        self.calls.append({name: array.copy() for name, array in arrays.items()})
        made = self._call(arrays, wanted)
        return {name: HostBuffer(a) if name in keep else a for name, a in zip(wanted, made, strict=True)}

    def _call(self, arrays: dict[str, Array], wanted: Sequence[str]) -> list[Array]:
        started = time.perf_counter()
        try:
            made = self._script(arrays)
            return [np.array(made[name]) for name in wanted]  # copies: a script may return what it was fed
        except Exception as error:
            raise EngineError(f"{self._graph}: the script failed: {type(error).__name__}: {error}") from error
        finally:
            with self._lock:
                self.busy_seconds += time.perf_counter() - started
