"""Frames with their truth, each read in several ways, in turn, so that all ways meet the same machine.

Knows how decodes are compared; not how they are shown.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...engines.errors import RequestError
from ..console.lines import Progress
from ..decode.options import Options
from ..footage.clip import Shot
from ..footage.reader import Reader
from ..footage.slate import MIN_CONFIDENCE
from ..inputs.windows import WINDOWS
from ..model import Model
from ..schema import Violations, parse
from .page import Frame, Row, fields
from .trace import Trace, trace

__all__ = ["Entry", "Way", "entries", "frames", "measure", "rows", "several", "ways"]

LONGEST = 64
"""Tokens of an answer at most: the longest has 40."""


@dataclass(frozen=True)
class Way:
    """One way to decode."""

    name: str
    options: Options


@dataclass(frozen=True)
class Entry:
    """A frame with its truth."""

    path: Path
    set: str
    truth: str


def entries(folder: Path) -> list[Entry]:
    """Frames of a folder, as its truth.json lists them. Raises RequestError."""
    file = folder / "truth.json"
    try:
        listed = parse(file.read_text(encoding="utf-8"))
        return [Entry(folder / e["file"], e["set"], e["truth"]) for e in listed]
    except OSError as error:
        raise RequestError(f"{file}: {error.strerror}; expected a folder of frames with a truth.json") from error
    except (Violations, TypeError, KeyError) as error:
        form = json.dumps([{"file": "a.png", "set": "easy", "truth": "no slate"}])
        raise RequestError(f"{file}: expected a list like {form}: {error}") from error


def ways(block: int, threshold: float) -> dict[str, Way]:
    """Ways that are compared, by key. One token a forward is the same weights with a step for each row of a block."""
    found = {"slow": Way(f"one token a forward ({block} steps per block)", Options(steps=block))}
    found |= {str(s): Way(f"{s} steps per block", Options(steps=s)) for s in (block // 2, block // 4) if s}
    found["fast"] = Way(f"all tokens above {threshold:g}", Options(threshold=threshold))
    return {key: Way(way.name, replace(way.options, max_tokens=LONGEST)) for key, way in found.items()}


def measure(
    model: Model, paths: Sequence[Path], every: Mapping[str, Way], repeats: int, quiet: bool
) -> dict[str, list[Trace]]:
    """Each frame in each way, in turn; of the repeats, the median one."""
    prompts = [model.prompt(images=[path]) for path in paths]
    for way in every.values():
        trace(model, prompts[0], way.options, lambda _: None)  # buffers and caches are warm then
    made: dict[str, list[Trace]] = {key: [] for key in every}
    with Progress("measuring", len(paths) * repeats, "rounds", quiet=quiet) as progress:
        for prompt in prompts:
            runs: dict[str, list[Trace]] = {key: [] for key in every}
            for _ in range(repeats):
                for key, way in every.items():
                    runs[key].append(trace(model, prompt, way.options, lambda _: None))
                progress.add()
            for key, some in runs.items():
                made[key].append(sorted(some, key=lambda run: run.seconds)[repeats // 2])
    return made


def several(model: Model, paths: Sequence[Path], way: Way, quiet: bool) -> list[Shot]:
    """Read each frame by several looks, taken as `a2d run` takes them."""
    reader, made = Reader(model, None, way.options), []
    with Progress("looking again", len(paths), "frames", quiet=quiet) as progress:
        for path in paths:
            first = model.generate(images=[path], options=way.options)
            made.append(reader.still(first, path, len(WINDOWS), MIN_CONFIDENCE))
            progress.add()
    return made


def frames(listed: Sequence[Entry], made: Mapping[str, Sequence[Trace]], voted: Sequence[Shot]) -> list[Frame]:
    """The frames with their readings in the chosen way, at one token a forward, and by several looks."""
    read = zip(listed, made["fast"], made["slow"], voted, strict=True)
    return [
        Frame(entry.path, entry.set, entry.truth, fast, slow, shown.text, len(shown.looks))
        for entry, fast, slow, shown in read
    ]


def rows(
    model: Model, listed: Sequence[Entry], every: Mapping[str, Way], made: Mapping[str, Sequence[Trace]]
) -> list[Row]:
    """One row for each way over all frames. `model` has seen none of them: features of pictures are remembered."""
    images = [_image_seconds(model, entry.path) for entry in listed]
    return [_row(way, key == "fast", made[key], made["slow"], listed, images) for key, way in every.items()]


def _image_seconds(model: Model, path: Path) -> float:
    """Seconds from a frame's file to its rows, all but the decoding."""
    reading = next(iter(model.each([path], options=Options(max_tokens=1))))
    return reading.seconds - (reading.result.seconds if reading.result is not None else 0.0)


def _row(
    way: Way,
    chosen: bool,
    traces: Sequence[Trace],
    slow: Sequence[Trace],
    listed: Sequence[Entry],
    images: Sequence[float],
) -> Row:
    spent = sum(t.seconds for t in traces)
    read = list(zip(traces, [entry.truth for entry in listed], strict=True))
    return Row(
        name=way.name,
        chosen=chosen,
        right=sum(t.text == truth for t, truth in read),
        fields=sum(f.right for t, truth in read for f in fields(truth, t.text)),
        rate=sum(t.useful for t in traces) / sum(t.forwards for t in traces),
        milliseconds=1000 * spent / len(traces),
        speed=sum(t.seconds for t in slow) / spent,
        whole=1000 * statistics.median(i + t.seconds for i, t in zip(images, traces, strict=True)),
    )
