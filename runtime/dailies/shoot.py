"""A shot list to clips: one file a shot, a timeline, a cut list and a contact sheet; a second run makes what changed.

What is wrong with the list is said before the first frame. What goes wrong with one shot is that shot's fault: it is
told, and the next one is made. Knows no codec and no form of lists.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...engines.errors import A2DError, RequestError
from ..bundle.files import MANIFEST, sha256_of
from ..film.clip import clip_of
from ..film.film import Film
from ..film.options import FilmOptions, settled
from ..footage.journal import publish
from ..footage.timecode import Timebase, nearest_rate
from ..inputs.images import load_image, thumbnail
from ..model import Model
from ..schema import from_json, parse, to_json
from .contact_sheet import SheetShot
from .contact_sheet import pieces as sheet
from .cut_list import Cut
from .cut_list import pieces as cut_list
from .facts import facts, said
from .shot_list import ListedShot
from .writing import ENDINGS, opened

__all__ = ["FORMATS", "ShootJob", "ShotTaken", "shoot"]

FORMATS = {"mp4": ".mp4", "mov": ".mov", "png": ""}
"""Forms of clips, with the ending of their paths."""

JOURNAL, SCHEMA = "shots.json", 1

THUMBNAIL = 240
"""Pixels of a small picture's longer side."""


@dataclass(frozen=True)
class ShotTaken:
    """A shot whose clip is there."""

    id: str
    key: str
    """Sum of everything that its frames depend on."""
    file: str
    frames: int
    """Frames of the clip."""
    length: int
    """Frames in the cut; what follows them is its handle."""
    prompt: str
    seed: int
    pictures: tuple[str, ...]
    """Small JPEGs of its first, middle and last frame in the cut."""


@dataclass(frozen=True)
class Taken:
    """The journal of a folder."""

    schema: int
    shots: tuple[ShotTaken, ...] = ()


@dataclass(frozen=True)
class ShootJob:
    """Shots that are wanted, and where they go."""

    name: str
    shots: Sequence[ListedShot]
    folder: Path
    form: str = "mp4"
    handles: int = 4
    """Frames behind each cut, at least."""
    options: FilmOptions = field(default_factory=FilmOptions)
    watch: Callable[[ListedShot, Film], None] = lambda _shot, _film: None
    """Called with each film before it is made."""
    told: Callable[[ListedShot, str], None] = lambda _shot, _line: None
    """Called with what became of each shot."""

    def clip(self, shot: ListedShot) -> Path:
        """Path of a shot's clip."""
        return self.folder / f"{shot.id}{FORMATS[self.form]}"


def shoot(model: Model, job: ShootJob) -> tuple[list[ShotTaken], dict[str, str]]:
    """Make what is missing or has changed, then the files about all shots. Returns the shots, and faults by id.

    Raises RequestError for a list that cannot be filmed; OSError where files cannot be written: clips that are whole
    stay, and the next run goes on from there.
    """
    _check(model, job)
    known = {shot.id: shot for shot in _journal(job.folder).shots}
    wanted = {shot.id: _key(model, job, shot) for shot in job.shots}
    new = [s for s in job.shots if not _is_there(job, known.get(s.id), wanted[s.id])]
    for shot in new:
        model.studio.prepare(shot.prompt)
    model.unload("text")
    faults: dict[str, str] = {}
    for shot in job.shots:
        if shot not in new:
            job.told(shot, "unchanged")
            continue
        known.pop(shot.id, None)
        _remember(job.folder, known.values())  # its clip is about to be written over
        try:
            known[shot.id] = _taken(model, job, shot, wanted[shot.id])
            job.told(shot, f"{known[shot.id].frames} frames")
            _remember(job.folder, known.values())
        except A2DError as error:
            faults[shot.id] = str(error)
            job.told(shot, str(error))
    taken = [known[shot.id] for shot in job.shots if shot.id in known]
    _remember(job.folder, taken)
    _publish(model, job, taken, faults)
    return taken, faults


def _check(model: Model, job: ShootJob) -> None:
    """Raise RequestError for everything that can be known to be wrong without a forward."""
    if job.form not in FORMATS:
        raise RequestError(f"format: got {job.form!r}, expected one of {', '.join(FORMATS)}")
    contract = model.studio.contract
    for shot in job.shots:
        made = settled(contract, _options(model, job, shot))
        clip_of(contract, made.frames, made.height, made.width, shot.image is not None, made.window)
        if shot.image is not None:
            load_image(shot.image)
    strange = job.folder.is_dir() and any(job.folder.iterdir()) and not (job.folder / JOURNAL).is_file()
    if strange or job.folder.is_file():
        raise RequestError(f"{job.folder} holds something that no shot list has written; choose an empty folder")
    job.folder.mkdir(parents=True, exist_ok=True)


def _fps(model: Model, job: ShootJob) -> float:
    return job.options.fps or model.studio.contract.fps


def _length(model: Model, job: ShootJob, shot: ListedShot) -> int:
    """Frames of a shot in the cut."""
    return max(1, round(shot.seconds * _fps(model, job)))


def _options(model: Model, job: ShootJob, shot: ListedShot) -> FilmOptions:
    """Options of one shot: its length with its handle, made up to what the decoder makes."""
    step = model.studio.contract.latent.temporal
    frames = 1 + -(-(_length(model, job, shot) + job.handles - 1) // step) * step
    seed = job.options.seed if shot.seed is None else shot.seed
    return replace(job.options, frames=frames, seconds=None, seed=seed)


def _key(model: Model, job: ShootJob, shot: ListedShot) -> str:
    image = None if shot.image is None else sha256_of(shot.image)
    manifest = sha256_of(model.bundle.file(MANIFEST))
    asked = [
        SCHEMA,
        manifest,
        model.placement.precision,
        shot.prompt,
        image,
        to_json(_options(model, job, shot)),
        job.form,
    ]
    return hashlib.sha256(json.dumps([*asked, _length(model, job, shot)]).encode()).hexdigest()


def _is_there(job: ShootJob, taken: ShotTaken | None, key: str) -> bool:
    return taken is not None and taken.key == key and (job.folder / taken.file).exists()


def _taken(model: Model, job: ShootJob, shot: ListedShot, key: str) -> ShotTaken:
    """Make one clip."""
    options = _options(model, job, shot)
    film = model.film(shot.prompt, image=shot.image, options=options)
    job.watch(shot, film)
    path, length = job.clip(shot), _length(model, job, shot)
    writer = opened(
        path, film.clip.height, film.clip.width, film.fps, said(facts(model, film, options) | {"shot": shot.id})
    )
    kept = dict.fromkeys((0, length // 2, length - 1), "")
    try:
        for block in film:
            writer.add(block.frames)
            here = [at for at in kept if block.first <= at < block.first + len(block.frames)]
            kept |= {at: b64encode(thumbnail(block.frames[at - block.first], THUMBNAIL)).decode() for at in here}
        writer.close()
    except BaseException:
        writer.keep()
        raise
    return ShotTaken(shot.id, key, path.name, writer.written, length, shot.prompt, options.seed, tuple(kept.values()))


def _journal(folder: Path) -> Taken:
    """Shots that were taken; none where the journal is damaged or of another version."""
    try:
        found = from_json(Taken, parse((folder / JOURNAL).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return Taken(SCHEMA)
    return found if found.schema == SCHEMA else Taken(SCHEMA)


def _remember(folder: Path, shots: Any) -> None:
    publish({folder / JOURNAL: [json.dumps(to_json(Taken(SCHEMA, tuple(shots))), indent=1), "\n"]})


def _publish(model: Model, job: ShootJob, taken: Sequence[ShotTaken], faults: dict[str, str]) -> None:
    """The files about all shots, together."""
    from .timeline import pieces as timeline  # noqa: PLC0415 - needs OpenTimelineIO

    base = Timebase(nearest_rate(Fraction(_fps(model, job)).limit_denominator(100_000)))
    begin = base.frame("01:00:00:00")
    cuts = [Cut(shot.id, shot.file, 0, shot.length, shot.prompt) for shot in taken]
    publish(
        {
            job.folder / "timeline.otio": timeline(job.name, base, begin, job.folder, taken),
            job.folder / "timeline.edl": cut_list(job.name, base, begin, cuts),
            job.folder / "index.html": sheet(job.name, _summary(base, taken, faults), list(_sheet(job, taken, faults))),
        }
    )


def _summary(base: Timebase, taken: Sequence[ShotTaken], faults: dict[str, str]) -> str:
    seconds = float(sum(shot.length for shot in taken) / base.rate)
    missing = f"; {len(faults)} could not be made" if faults else ""
    return f"{len(taken)} shots, {seconds:.1f} s at {float(base.rate):.6g} frames a second{missing}"


def _sheet(job: ShootJob, taken: Sequence[ShotTaken], faults: dict[str, str]) -> Iterator[SheetShot]:
    made = {shot.id: shot for shot in taken}
    for shot in job.shots:
        one = made.get(shot.id)
        notes = "" if one is None else f"{one.length} of {one.frames} frames, seed {one.seed}, {one.file}"
        pictures = () if one is None else one.pictures
        yield SheetShot(shot.id, pictures, shot.prompt, notes, faults.get(shot.id, ""))


assert set(FORMATS.values()) <= set(ENDINGS)
