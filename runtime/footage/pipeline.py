"""Clips in order, each read by the model while the next ones are decoded. Remembers none of them."""

from __future__ import annotations

import base64
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import ClipError, ImageError, NumericsError, SoundOnlyError
from ..console.lines import Progress, one_line
from ..inputs.patches import fitted, reduced
from ..inputs.windows import NEARER, WINDOWS, windowed
from .clip import Clip, Look, Shot, Stamp
from .prefetch import Ahead
from .reader import Reader
from .sampling import Sampling
from .sights import Fit, Meter, Sight, Survey
from .slate import in_part, unsure

__all__ = ["Pipeline"]

FAULTS = (ClipError, ImageError, NumericsError)
"""Errors that one clip can be to blame for; anything else would meet the next clip as well."""

DEPTH = 4
"""Frames of a clip that wait for the model at most."""

SURE = 0.5
"""Confidence from which on a slate is not looked for upside down any more. Of 600 rendered boards that were read the
wrong way round, 7 came above it; of 569 the right way was the surer one.
"""

Seen: TypeAlias = "tuple[Look, bytes]"
"""A frame's reading and its thumbnail."""


@dataclass(frozen=True)
class _View:
    """One picture that was given to the reader."""

    sight: Sight
    turned: bool = False
    part: bool = False


class _Study:
    """A clip that is being decoded in a thread of its own."""

    def __init__(self, file: Path, stamp: Stamp | None, sampling: Sampling, fit: Fit) -> None:
        from .scan import study  # noqa: PLC0415 - a log in which nothing is new decodes nothing

        self.file, self.stamp = file, stamp
        self.read = 0.0
        """Share of its frames that were read."""
        self._meter = Meter()
        self._ahead = Ahead[Survey | Sight](lambda: study(file, sampling, fit, self._meter), DEPTH)
        self.start, self.take = self._ahead.start, self._ahead.take

    @property
    def size(self) -> int:
        """In bytes."""
        return 0 if self.stamp is None else self.stamp.size

    @property
    def done(self) -> float:
        """Bytes that count as done: half of a clip is finding its shots, the other half reading them."""
        return self.size * (self._meter.share + self.read) / 2

    def cancel(self) -> None:
        """Ask the thread to end."""
        self._meter.cancelled = True

    def close(self) -> None:
        """Wait until it has."""
        self.cancel()
        self._ahead.close()


class Pipeline:
    """An iterator of files with their clips; `close` ends its threads.

    `reader` is asked for once there is something to read. `decoders` clips are decoded at the same time, the one
    that is read among them.
    """

    def __init__(
        self, files: Sequence[Path], sampling: Sampling, reader: Callable[[], Reader], decoders: int, quiet: bool
    ) -> None:
        self._waiting = deque((file, _stamp(file)) for file in files)
        self._sampling, self._reader, self._decoders = sampling, reader, decoders
        self._studies: deque[_Study] = deque()
        self._finished = 0
        total = sum(stamp.size for _, stamp in self._waiting if stamp is not None)
        self._progress = Progress("logging", total, "bytes", quiet=quiet or not files)

    def __iter__(self) -> Iterator[tuple[Path, Clip, Stamp | None]]:
        """In the order of the files. The stamp is None where it was not the clip that kept it from being read."""
        with self._progress:
            while self._filled():
                study = self._studies[0]
                clip, stamp = self._clip(study)
                study.close()
                self._studies.popleft()  # now: interrupted above, it is still there to be waited for
                self._finished += study.size
                self._tick()
                with self._progress.aside():
                    yield study.file, clip, stamp

    def close(self) -> None:
        """End the threads."""
        for study in self._studies:
            study.cancel()
        for study in self._studies:
            study.close()

    def _filled(self) -> bool:
        """Start as many studies as there may be; false where none is left."""
        while self._waiting and len(self._studies) < self._decoders:
            spec = self._reader().model.words.vision
            assert spec is not None  # a bundle without vision never came here
            fit = partial(reduced, spec=spec, times=NEARER) if self._looks > 1 else partial(fitted, spec=spec)
            self._studies.append(_Study(*self._waiting.popleft(), self._sampling, fit))
            self._studies[-1].start()
        return bool(self._studies)

    def _clip(self, study: _Study) -> tuple[Clip, Stamp | None]:
        try:
            return self._read(study), study.stamp
        except SoundOnlyError as error:
            return Clip(str(study.file), fault=one_line(str(error)), passed_over=True), study.stamp
        except FAULTS as error:
            return Clip(str(study.file), fault=one_line(str(error))), study.stamp
        except OSError as error:
            fault = f"{study.file} cannot be read: {error.strerror or error}; run this again when it can"
            return Clip(str(study.file), fault=one_line(fault)), None

    def _read(self, study: _Study) -> Clip:
        items = study.take(self._tick)
        survey = next(items)
        assert isinstance(survey, Survey)
        found: dict[int, list[Seen]] = defaultdict(list)
        views: deque[_View] = deque()
        pictures = _pictures(items, self._looks, views, found)
        for count, look in enumerate(self._reader().looks(pictures), 1):
            view = views.popleft()
            sight = view.sight
            seen = replace(in_part(look) if view.part else look, turned=view.turned)
            found[sight.shot].append((seen, sight.thumbnail))
            study.read = min(1.0, count / survey.sights)
            self._tick()
        judge = self._reader().judge
        shots = (_shown(judge(*ends, [look for look, _ in found[i]]), found[i]) for i, ends in enumerate(survey.shots))
        return Clip(str(study.file), survey.facts, tuple(shots))

    @property
    def _looks(self) -> int:
        """Looks at a picture that shows a slate; 0 where no slates are looked for."""
        return self._sampling.looks if self._reader().prompt is None else 0

    def _tick(self) -> None:
        done = self._finished + sum(study.done for study in self._studies)
        self._progress.add(done - self._progress.done)


def _pictures(
    items: Iterator[Survey | Sight], looks: int, views: deque[_View], found: Mapping[int, Sequence[Seen]]
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Pictures to read, each noted in `views`; `looks` is 0 where no slates are looked for.

    An end board is held upside down, so that nobody takes it for the next take's: pictures of a clip's tail are read
    both ways until one is read surely as it stands. While a shot is unsure of its slate, windows of it are read.
    """
    for sight in items:
        assert isinstance(sight, Sight)
        before = len(found[sight.shot])
        views.append(_View(sight))
        yield sight.seconds, sight.picture
        if looks and sight.tail and not any(_sure(look) for some in found.values() for look, _ in some):
            views.append(_View(sight, turned=True))
            yield sight.seconds, np.rot90(sight.picture, 2)
        for view, picture in _nearer(sight, looks, found[sight.shot], before):
            views.append(view)
            yield sight.seconds, picture


def _nearer(sight: Sight, looks: int, found: Sequence[Seen], before: int) -> Iterator[tuple[_View, NDArray[np.uint8]]]:
    """Windows of a picture that shows a slate, the way up in which it does, while its shot is unsure.

    `found` grows by what is read; looks at this picture begin at `before`. Each look of a shot has another window.
    """
    best = max((look for look, _ in found[before:] if look.fields), key=lambda look: look.confidence, default=None)
    if best is None:
        return
    picture = np.rot90(sight.picture, 2) if best.turned else sight.picture
    for _ in range(looks - 1):
        if not unsure([look for look, _ in found if look.fields]):
            return
        number = 1 + len(found) % (len(WINDOWS) - 1)
        yield _View(sight, best.turned, WINDOWS[number].part), windowed(picture, number)


def _sure(look: Look) -> bool:
    return bool(look.fields) and not (look.turned or look.part) and look.confidence >= SURE


def _shown(shot: Shot, found: Sequence[Seen]) -> Shot:
    """A shot with its thumbnail: the slate that is read best, or the shot's middle."""
    if not found:
        return shot
    slates = [pair for pair in found if pair[0].fields and shot.fields]
    _, thumbnail = max(slates, key=lambda pair: pair[0].confidence) if slates else found[len(found) // 2]
    return replace(shot, picture=base64.b64encode(thumbnail).decode())


def _stamp(file: Path) -> Stamp | None:
    try:
        return Stamp.of(file)
    except OSError:
        return None
