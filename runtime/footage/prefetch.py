"""An iterator whose items are made in a thread of its own, a few ahead of whoever takes them. Knows nothing of them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")

PATIENCE = 0.1
"""Seconds after which a thread that waits looks around."""


class Ahead(Generic[T]):
    """Items of `make()` in order, at most `depth` of them waiting; what it raises is raised where items are taken.

    Making begins with `start`, so that whoever has to end the thread can hold it before there is one.
    """

    def __init__(self, make: Callable[[], Generator[T, None, None]], depth: int) -> None:
        self._items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        self._closed = threading.Event()
        self._ended = threading.Event()  # an interrupted Thread.join takes its thread for ended, up to Python 3.12
        self._thread = threading.Thread(target=self._run, args=(make,), daemon=True)

    def start(self) -> None:
        """Begin to make items."""
        self._thread.start()

    def take(self, waiting: Callable[[], None] = lambda: None) -> Iterator[T]:
        """The items; `waiting` is called now and then while none is there."""
        while True:
            try:
                item, error = self._items.get(timeout=PATIENCE)
            except queue.Empty:
                waiting()
                continue
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]

    def close(self) -> None:
        """Make no more items, and wait for the thread to end; of a close that was interrupted, a second one waits on.

        A thread that is left in a decoder while the interpreter ends may abort the process.
        """
        self._closed.set()
        if self._thread.ident is not None:
            self._ended.wait()
            self._thread.join()

    def _run(self, make: Callable[[], Generator[T, None, None]]) -> None:
        try:
            self._put(None, self._work(make))
        finally:
            self._ended.set()

    def _work(self, make: Callable[[], Generator[T, None, None]]) -> BaseException:
        """Put every item, and return why that ended. What the generator holds, a decoder for one, is gone by then."""
        items = make()  # a generator: nothing runs before the first item is asked for
        try:
            for item in items:
                if not self._put(item, None):
                    break
            items.close()
        except BaseException as error:  # it is raised again where the items are taken
            return error
        return StopIteration()

    def _put(self, item: T | None, error: BaseException | None) -> bool:
        """False where nobody wants items any more."""
        while not self._closed.is_set():
            try:
                self._items.put((item, error), timeout=PATIENCE)
            except queue.Full:
                continue
            return True
        return False
