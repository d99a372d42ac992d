"""The process that serves: sockets, signals, the end with its parent. Knows an app, not what it answers."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

from ....engines.errors import RequestError

__all__ = ["at_port", "at_unix_socket", "serve", "until_stopped"]

BACKLOG = 512
"""Connections that the system lets wait."""

LAST_WORDS = 3
"""Seconds that running answers get when the server is asked to stop."""


def at_port(host: str, port: int) -> socket.socket:
    """A listening socket. Raises RequestError where the address cannot be had."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, number)
        if sys.platform != "win32":  # there it would let others listen at the same port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        raise RequestError(f"cannot listen at [host={host} port={port}]: {error}; choose others") from error
    return made


def at_unix_socket(path: Path) -> socket.socket:
    """A listening Unix socket that this user alone may use; one that nobody listens at any more is replaced.

    Raises RequestError where it cannot be had.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise RequestError("this system has no Unix sockets; listen at a port")
    with suppress(OSError):
        if stat.S_ISSOCK(path.lstat().st_mode) and not _answers(path):
            path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        made.bind(str(path))
        made.listen(BACKLOG)
    except OSError as error:
        raise RequestError(f"cannot listen at {path}: {error}; choose another path") from error
    finally:
        os.umask(before)
    return made


def serve(app: Callable[..., Any], listening: socket.socket) -> None:
    """Serve until a signal comes, which is raised again at the end. The app's own end comes before this returns."""
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=LAST_WORDS,
        limit_concurrency=1024,
    )
    uvicorn.Server(config).run(sockets=[listening])


class _Stopped(BaseException):
    """The signal to stop has come."""


@contextmanager
def until_stopped(exit_with_parent: bool) -> Iterator[None]:
    """Leave what stands within, by its own `finally`, when SIGTERM comes, or when the parent ends if that is asked for.

    By itself Python ends at SIGTERM without another word, and uvicorn raises the signal that ended it once more.
    """
    parent = os.getppid()
    before = signal.signal(signal.SIGTERM, _stop)
    if exit_with_parent:
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    try:
        yield
    except _Stopped:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the end
    raise _Stopped


def _watch_parent(parent: int) -> None:
    """Stop when our parent is another one: ours has ended. The system gives orphans to another process."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_WORDS + 5)
    os._exit(1)  # something held on


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0
