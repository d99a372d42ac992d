"""Rows through actors on a Ray cluster, by Ray Data: one actor a device, every row once, whatever becomes of a node.

A device is a GPU where the cluster has any, or else the processors of a node. Rows that were on a node that is lost are
given to others. Knows Ray; not what a row is, nor what the actors do with it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from ...engines import errors
from ...engines.errors import A2DError, EngineError, RequestError
from ...engines.install import extra

__all__ = ["Devices", "Pool", "Work", "connect", "devices", "places", "pooled"]

SCHEME = "ray"

_OURS = re.compile(rf"^{re.escape(errors.__name__)}\.(\w+): (.*)", re.MULTILINE | re.DOTALL)
"""An error of ours at the end of the text of a trace."""


@dataclass(frozen=True)
class Work:
    """Actors: a class, whose instances are called with rows, and its keywords."""

    kind: type
    keywords: Mapping[str, Any]
    threads: int | None = None
    """Threads of an operator on a processor; None is all that the actor was given."""


@dataclass(frozen=True)
class Devices:
    """Actors that a cluster has room for, and what each of them takes."""

    count: int
    cpus: float
    gpus: float

    def asked(self, rows: int | None = None) -> dict[str, Any]:
        """Keywords of a dataset's map for an actor on every device, or for as many as there are rows.

        An actor on a node that is lost begins anew, and its row waits for it. So processors are asked for by half:
        then it finds a place beside another actor at once. A card is asked for whole: it finds one when another actor
        has nothing left to do, which is why the pool may shrink.
        """
        from ray.data import ActorPoolStrategy  # noqa: PLC0415 - one machine needs no Ray

        count = max(1, self.count if rows is None else min(self.count, rows))
        taken = {"num_gpus": self.gpus} if self.gpus else {"num_cpus": self.cpus / 2}
        pool = ActorPoolStrategy(min_size=1, max_size=count, initial_size=count)
        return {"compute": pool, "scheduling_strategy": "SPREAD", **taken}

    @property
    def threads(self) -> int | None:
        """Threads of an operator; None where a card computes."""
        return None if self.gpus else int(self.cpus)


def connect(on: str) -> None:
    """Join the cluster that `ray` or `ray://HEAD[:PORT]` names; without a head the one that runs here, or a new one.

    Raises RequestError where the text is neither, Ray is missing or the head does not answer.
    """
    scheme, _, head = on.partition("://")
    if scheme != SCHEME or (on != SCHEME and not head):
        raise RequestError(f"on: got {on!r}, expected ray, or ray://HEAD for the cluster with that head")
    if find_spec(SCHEME) is None:
        raise RequestError(f"many machines need Ray: {extra('ray')}")
    import ray  # noqa: PLC0415 - one machine needs none

    if ray.is_initialized():
        return
    address = f"ray://{head if ':' in head else f'{head}:10001'}" if head else os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    try:
        ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        raise RequestError(f"the Ray cluster at {address or 'this machine'} does not answer: {error}") from error


def places(nodes: Sequence[Mapping[str, Any]]) -> Devices:
    """The devices of a cluster's living nodes. Raises RequestError where there is none."""
    living = [node.get("Resources", {}) for node in nodes if node.get("Alive", node.get("alive"))]
    gpus = sum(int(held.get("GPU", 0)) for held in living)
    if gpus:
        return Devices(gpus, 0, 1)
    cpus = [held["CPU"] for held in living if held.get("CPU", 0) >= 1]
    if not cpus:
        raise RequestError("the Ray cluster has neither a GPU nor a processor to give; start nodes with some")
    return Devices(sum(int(held // min(cpus)) for held in cpus), min(cpus), 0)


def devices() -> Devices:
    """The devices of the cluster that was joined."""
    import ray  # noqa: PLC0415

    return places(ray.nodes())


def pooled(rows: Sequence[Mapping[str, Any]], work: Work) -> Iterator[dict[str, Any]]:
    """An actor's answer to each row, as they come, in any order. Closing it ends the work.

    Raises what an actor raised for the request (A2DError), EngineError where the cluster gives up.
    """
    import ray  # noqa: PLC0415
    from ray.data import DataContext, from_items  # noqa: PLC0415

    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    room = devices()
    keywords = {**work.keywords, "threads": work.threads or room.threads}
    every = from_items(list(rows), override_num_blocks=len(rows))  # a block is what is done again: one row
    made = every.map(work.kind, fn_constructor_kwargs=keywords, **room.asked(len(rows)))
    try:
        yield from made.iter_rows()
    except ray.exceptions.RayError as error:
        raise _told(error) from error


def _told(error: BaseException) -> A2DError:
    """The error that an actor raised, out of Ray's wrapping."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, A2DError):
            return type(seen)(str(seen.args[0] if seen.args else seen))
        seen = getattr(seen, "cause", None) or seen.__cause__
    # Where an actor fails as it begins, Ray keeps the text of its error alone.
    found = _OURS.search(str(error))
    kind = None if found is None else getattr(errors, found[1], None)
    if found is not None and isinstance(kind, type) and issubclass(kind, A2DError):
        return kind(found[2].strip())
    return EngineError(f"the Ray cluster gave up; what has been read is kept:\n{str(error).strip().splitlines()[-1]}")


Pool = Callable[[Sequence[Mapping[str, Any]], Work], Iterator[dict[str, Any]]]
"""Function that gives rows to actors: `pooled`, or another that keeps to its contract."""
