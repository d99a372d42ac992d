"""Measured times kept in a file for each bundle, engine and setting of this machine; a later process finds them.

A file that cannot be read, or speaks of something else, is measured anew; a folder that cannot be written to keeps
nothing, which is no error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ...engines.cpu import this_cpu
from ...engines.paths import written_whole
from ...engines.protocol import Engine
from ..bundle.files import MANIFEST, Bundle, sha256_of
from ..bundle.kept_folder import kept_folder
from ..decode.block import Prompt
from ..decode.budget import Slowness, Times
from ..decode.options import Plan
from ..decode.session import Session
from ..schema import Violations, from_json, parse, to_json
from .measured import measured, picture_seconds, random_tokens

__all__ = ["KeptTimes"]

LOG = logging.getLogger("a2d")

SCHEMA = 2

NOTHING = Times(0.0, 0.0, 0.0, 0.0, 0, 0)
"""Times of an entry that is asked for."""


@dataclass(frozen=True)
class Entry:
    """A kept measurement, and everything that it depends on."""

    schema: int
    bundle: str
    """SHA-256 of the manifest."""
    where: tuple[str, ...]
    """Engine, precision, threads, processor and host."""
    block: int
    drawn: bool
    """Tokens are drawn: another graph."""
    guided: bool
    """Two forwards a step."""
    times: Times


class Decodes(Protocol):
    """A loaded bundle."""

    bundle: Bundle
    placement: Any

    @property
    def engine(self) -> Callable[[str], Engine]:
        """The engine of one graph."""

    @property
    def session(self) -> Callable[[], Session]:
        """A new session."""

    @property
    def prompt(self) -> Callable[..., Prompt]:
        """The rows of token ids."""


class KeptTimes:
    """Times of a loaded bundle by plan; each is measured once, in this process or an earlier one."""

    def __init__(self, model: Decodes) -> None:
        self._model, self._lock = model, threading.Lock()
        self._known: dict[Path, Times] = {}

    @cached_property
    def slowness(self) -> Slowness:
        """Slowness of this process against the measured times, of late."""
        return Slowness()

    def __call__(self, plan: Plan, again: bool = False) -> Times:
        """The times for a plan; `again` measures in any case. Measured ones are kept in a file."""
        entry = self._asked(plan)
        path = _path(entry)
        with self._lock:
            if again or path not in self._known:
                self._known[path] = self._found(entry, path, plan, again)
            return self._known[path]

    def _asked(self, plan: Plan) -> Entry:
        model = self._model
        engine, precision, threads = (
            model.engine("backbone").describe,
            model.placement.precision,
            model.placement.threads,
        )
        place = (engine, precision, f"{threads} threads", this_cpu().name, platform.node())
        asked = (plan.block, plan.temperature > 0, plan.options.guidance > 0)
        return Entry(SCHEMA, sha256_of(model.bundle.path / MANIFEST), place, *asked, NOTHING)

    def _found(self, entry: Entry, path: Path, plan: Plan, again: bool) -> Times:
        kept, manifest = None if again else _read(path), self._model.bundle.manifest
        if manifest.vision is not None:
            self._model.engine("vision")  # whoever asks in time does not wait for it to be loaded
        if kept is not None and replace(kept, times=NOTHING) == entry:
            self._warm(plan)
            return kept.times

        def rows(count: int) -> Prompt:
            return self._model.prompt(random_tokens(manifest, count))

        times = replace(measured(self._model.session, rows, plan), measured=_now())
        if (vision := manifest.vision) is not None:
            token = vision.image_token_id
            times = replace(times, picture=picture_seconds(lambda picture: self._model.prompt([token], [picture])))
        said = [f"{1e3 * value:.4g} ms" for value in (times.step, times.step_far, times.row)]
        LOG.info("measured: a step %s, with %d rows %s, a row of the prompt %s; kept in %s",
                 said[0], times.far, *said[1:], path)  # fmt: skip
        _write(path, replace(entry, times=times))
        return times

    def _warm(self, plan: Plan) -> None:
        """Load the graphs that decode, which the first answer of a process would otherwise wait for."""
        options = replace(plan.options, budget=None, max_tokens=plan.block, steps=None)
        self._model.session().generate(self._model.prompt(random_tokens(self._model.bundle.manifest, 1)), options)


def _now() -> str:
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"measured {time.strftime('%Y-%m-%d %H:%M')}, {this_cpu().name}{load}"


def _path(entry: Entry) -> Path:
    key: dict[str, Any] = to_json(entry)
    del key["times"]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return kept_folder() / "times" / f"{digest[:32]}.json"


def _read(path: Path) -> Entry | None:
    try:
        return from_json(Entry, parse(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, Violations):
        return None


def _write(path: Path, entry: Entry) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as part:
            part.write_text(json.dumps(to_json(entry), indent=1), encoding="utf-8")
