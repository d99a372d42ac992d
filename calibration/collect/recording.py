"""Recording: samples decoded by the real loop on the real engine, while an observer takes statistics.

A recording is a value that can be written down: half of one is resumed, a whole one is kept in the bundle and found
again by its key, the hash of all that it depends on. Knows samples and statistics; not what they are for.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import ContextFullError, RequestError
from ...engines.paths import written_whole
from ...runtime.console.lines import Progress
from ...runtime.decode.options import Options
from ...runtime.model import Model
from ..source.smoothquant import factors
from ..source.source import Source
from .histogram import Histogram
from .observer import Channels, ObservedModel, Observer
from .samples import Data, Sample

__all__ = ["Recording", "key_of", "record"]

VERSION = 1
SAVE_SECONDS = 5.0
FIRST = 8
"""One sample in so many is decoded before, to learn the channels' ranges that smoothing wants."""


@dataclass
class Recording:
    """Statistics of a run, so far or whole."""

    key: str
    samples: int = 0
    """Decoded; those that did not fit are counted too."""
    left_out: list[str] = field(default_factory=list)
    factors: dict[float, Channels] = field(default_factory=dict)
    """Strength of smoothing to the factors of each product's channels."""
    seen: dict[float, dict[str, dict[str, Histogram]]] = field(default_factory=dict)
    """Strength, weight name, stratum."""

    def plain(self) -> dict[str, Any]:
        """The statistics as an object of JSON."""
        return {
            "version": VERSION,
            "key": self.key,
            "samples": self.samples,
            "left_out": self.left_out,
            "factors": {str(a): {n: _listed(v) for n, v in c.items()} for a, c in self.factors.items()},
            "seen": {
                str(a): {n: {s: h.to_json() for s, h in strata.items()} for n, strata in by.items()}
                for a, by in self.seen.items()
            },
        }

    def dumps(self) -> str:
        """The recording as JSON."""
        return json.dumps(self.plain(), separators=(",", ":"))

    @staticmethod
    def loads(text: str) -> Recording | None:
        """The inverse of `dumps`; None for what is no recording of this version."""
        try:
            return Recording.of(json.loads(text))
        except ValueError:
            return None

    @staticmethod
    def of(raw: Any) -> Recording | None:
        """The inverse of `plain`; None for what is no recording of this version."""
        try:
            if raw["version"] != VERSION:
                return None
            made = Recording(raw["key"], int(raw["samples"]), list(raw["left_out"]))
            for a, channels in raw["factors"].items():
                made.factors[float(a)] = {n: np.asarray(v, np.float32) for n, v in channels.items()}
            for a, by in raw["seen"].items():
                made.seen[float(a)] = {
                    n: {s: Histogram.from_json(h) for s, h in strata.items()} for n, strata in by.items()
                }
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return None
        return made


def _listed(vector: NDArray[np.float32]) -> list[float]:
    """Nine digits give a float32 back as it was."""
    return [float(f"{x:.9g}") for x in vector]


def key_of(hashes: Mapping[str, str], data: Data, options: Options, strengths: tuple[float, ...]) -> str:
    """The hash of everything that a recording depends on: graphs and weights, samples, how they are decoded."""
    parts = {"version": VERSION, "files": dict(hashes), "data": data.digest, "smooth": strengths}
    return hashlib.sha256(json.dumps(parts | {"options": asdict(options)}, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Kept:
    """A recording in the making on the disk."""

    path: Path

    def load(self, key: str) -> Recording | None:
        """The recording that an interrupted run with the same key left."""
        if not self.path.is_file():
            return None
        found = Recording.loads(self.path.read_text(encoding="utf-8"))
        return found if found is not None and found.key == key else None

    def save(self, recording: Recording) -> None:
        """Replace the file at once."""
        with written_whole(self.path) as part:
            part.write_text(recording.dumps(), encoding="utf-8")

    def remove(self) -> None:
        """It is not needed any more."""
        self.path.unlink(missing_ok=True)


def record(
    model: ObservedModel,
    source: Source,
    data: Data,
    options: Options,
    start: Recording,
    strengths: tuple[float, ...],
    kept: Kept,
    quiet: bool,
    say: Callable[[str], None],
) -> Recording:
    """Decode what is left of the samples. Raises NumericsError, RequestError; what was done until then is kept."""
    if not start.factors:
        start.factors = _factors(model, source, data, options, strengths, quiet)
        kept.save(start)
    observer = model.watch(start.factors)
    observer.seen = start.seen
    if start.samples:
        say(f"going on after {start.samples} of {len(data.samples)} samples")
    saved = time.monotonic()
    with Progress("calibrating", len(data.samples), "samples", quiet) as progress:
        progress.add(start.samples)
        for sample in data.samples[start.samples :]:
            # Interrupted here, the file holds what was seen before this sample: half of one would count twice.
            start.left_out += decode(model, sample, options, observer)
            start.samples += 1
            if time.monotonic() - saved > SAVE_SECONDS:
                kept.save(start)
                saved = time.monotonic()
            progress.add()
    if not start.seen or all(not by for by in start.seen.values()):
        raise RequestError(
            f"none of the {len(data.samples)} samples fits the context of {model.manifest.model.max_context} rows; "
            f"first: {start.left_out[0]}. Give shorter ones"
        )
    return start


def decode(model: Model, sample: Sample, options: Options, observer: Observer) -> list[str]:
    """One sample, to the end; its name if it does not fit the context, and then nothing was observed of it."""
    observer.sample = sample.name
    prompt = sample.rows(model)
    observer.place.prompt, observer.place.step = len(prompt), 0
    try:
        generation = model.session().stream(prompt, options)
    except ContextFullError:
        return [f"{sample.name} ({len(prompt)} rows)"]
    for step in generation:
        observer.place.step = 0 if step.final else step.index + 1
    return []


def _factors(
    model: ObservedModel, source: Source, data: Data, options: Options, strengths: tuple[float, ...], quiet: bool
) -> dict[float, Channels]:
    """The channels' ranges, from one sample in FIRST, and the factors that they ask for."""
    channels: Channels = {}
    if any(strengths):
        observer = model.watch({})
        some = data.samples[::FIRST]
        with Progress("channel ranges", len(some), "samples", quiet) as progress:
            for sample in some:
                decode(model, sample, options, observer)
                progress.add()
        channels = observer.channels
    return {strength: factors(source, channels, strength) for strength in strengths}
