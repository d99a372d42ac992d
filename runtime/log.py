"""A log from footage to files: what is known is kept, what is new is read, and all forms are written together.

Everything that is wrong with a request is said before the first frame is decoded. What is wrong with a clip is that
clip's fault: it is told, and the next one is read. Knows no third party, and nothing of how clips are decoded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from ..engines.errors import RequestError
from ..engines.install import extra
from .bundle.files import MANIFEST, Bundle, sha256_of
from .bundle.profile import profile_of
from .console.lines import one_line
from .decode.options import Options, plan
from .footage.clip import Clip, Stamp
from .footage.files import RAW, absolute, check_apart, clips, raw_files
from .footage.journal import SCHEMA, Journal, publish
from .footage.pipeline import Pipeline
from .footage.reader import Reader
from .footage.sampling import Sampling
from .footage.slate import marked
from .footage.writers import WRITERS, writer
from .footage.writers.log import Log, Totals
from .load import load
from .schema import to_json

__all__ = ["LogJob", "Outcome", "Reads", "log"]

NEEDS = {"av": "reads video", "scenedetect": "finds shots", "opentimelineio": "writes timelines"}
"""Packages that only logging footage needs, and what for."""


@dataclass(frozen=True)
class LogJob:
    """A request to log footage: clips, bundle, questions, files to write."""

    sources: Sequence[Path]
    target: Path
    """Path of the files that are written, without their endings."""
    bundle: Path
    sampling: Sampling
    prompt: str | None = None
    """None asks the bundle's own question, and takes the answer for a slate."""
    options: Options = field(default_factory=Options)
    least: float = 0.0
    """Confidence under which a reading names nothing."""
    precision: str | None = None
    threads: int | None = None
    decoders: int = 2
    """Clips that are decoded at the same time, the one that is read among them."""
    together: int = 1
    """Frames of a shot's captions that are read side by side."""
    force: bool = False
    """Write over files that no log has written."""
    again: bool = False
    """Read what is known already as well."""
    quiet: bool = False

    def file(self, suffix: str) -> Path:
        """The log's file with that ending."""
        target = absolute(self.target)
        return target.with_name(f"{target.name}{suffix}")


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job."""

    read: int
    """Clips that were read; the others were known."""
    totals: Totals
    changed: tuple[Path, ...]
    """Files whose content is new."""


Reads: TypeAlias = "Callable[[LogJob, Sequence[Path]], Generator[tuple[Path, Clip, Stamp | None]]]"
"""Function that reads clips, in any order; the stamp is None where it was not the clip that kept it from being read."""


def here(job: LogJob, files: Sequence[Path]) -> Generator[tuple[Path, Clip, Stamp | None]]:
    """Read clips on this machine, in their order."""
    with closing(Pipeline(files, job.sampling, cache(lambda: _reader(job)), job.decoders, job.quiet)) as pipeline:
        yield from pipeline


def log(job: LogJob, say: Callable[[str], None] = lambda _: None, reads: Reads = here) -> Outcome:
    """Log the footage, whose clips `reads` reads, and write all forms of the log together.

    Raises RequestError or BundleError for what must be asked otherwise, OSError where files cannot be written: those of
    the log are as they were then, and what has been read is kept for the next run, as it is after an interruption.
    """
    files = _checked(job)
    journal = Journal(job.file(".state"), _question(job))
    journal.folder.mkdir(parents=True, exist_ok=True)
    new = [file for file in files if job.again or not journal.fresh(file)]
    named = {absolute(source) for source in job.sources}
    raw = [_raw(file) for file in raw_files(job.sources)]
    passing: dict[Path, Clip] = {}  # something other than themselves kept them from being read: not remembered
    with closing(reads(job, new)) as read:
        for file, clip, stamp in read:
            if stamp is None:
                journal.drop(file)
                passing[file] = clip
            else:
                journal.put(clip, stamp)
            if clip.fault is None:
                say(_told(clip, job.least))

    def known() -> Iterator[Clip]:
        found = (passing.get(file) or journal.get(file) for file in files)
        yield from (_counted(clip, named) for clip in found if clip is not None)
        yield from raw

    made = Log(job.target.name, known, Totals.of(known(), job.least), job.least)
    changed = publish({job.file(suffix): writer(suffix)(made) for suffix in WRITERS})
    journal.keep(files)
    return Outcome(len(new), made.totals, tuple(changed))


def _counted(clip: Clip, named: Container[Path]) -> Clip:
    """`clip` as it counts: a file that was `named` was meant, and is at fault if it is none."""
    return replace(clip, passed_over=False) if clip.passed_over and Path(clip.file) in named else clip


def _raw(file: Path) -> Clip:
    kind = RAW[file.suffix.lower()]
    fault = f"{file} is camera raw ({kind}), which is not read; make a proxy, and log that"
    return Clip(str(file), fault=one_line(fault), passed_over=True)


def _checked(job: LogJob) -> list[Path]:
    """The clips. Raises for everything that can be known to be wrong without decoding a frame."""
    missing = [f"{name} ({what})" for name, what in NEEDS.items() if find_spec(name) is None]
    if missing:
        raise RequestError(f"logging footage needs {', '.join(missing)}: {extra('log')}")
    bundle = Bundle.open(job.bundle)
    manifest = bundle.manifest
    if job.precision is not None:
        bundle.variant(job.precision)
    if manifest.vision is None:
        raise RequestError(f"{job.bundle} reads text only, expected a vision-language bundle to log footage with")
    if job.prompt is None and manifest.text.default_prompt is None:
        raise RequestError(
            f"{job.bundle} has no question of its own; say what to ask of each shot with the setting prompt"
        )
    _check_together(job)
    plan(manifest.decode, job.options)
    check_apart(job.sources, absolute(job.target))
    files = clips(job.sources)
    _check_target(job, files)
    return files


def _check_together(job: LogJob) -> None:
    """Raise RequestError for frames side by side of which one depends on the last: slates at a clip's end."""
    if job.together < 1:
        raise RequestError(f"together: got {job.together}, expected 1 or more frames side by side")
    if job.together > 1 and job.prompt is None:
        raise RequestError(
            f"together: got {job.together}, and whether a slate is looked for upside down depends on the frame before "
            "it; read slates one by one, or ask for captions with the setting prompt"
        )


def _check_target(job: LogJob, files: Sequence[Path]) -> None:
    touched = [str(file) for file in files if file in {job.file(suffix) for suffix in WRITERS}]
    if touched:
        raise RequestError(f"-o {job.target} would be written over {', '.join(touched)}; choose another name")
    if job.target.suffix in WRITERS:
        raise RequestError(f"-o {job.target}: expected a name without an ending: -o {job.target.with_suffix('')}")
    strange = [str(job.file(suffix)) for suffix in WRITERS if job.file(suffix).exists()]
    if strange and not job.force and not job.file(".state").is_dir():
        raise RequestError(
            f"{', '.join(strange)} exists already, and no log that can be gone on with; choose another name, or "
            "replace it with the setting force"
        )


def _question(job: LogJob) -> str:
    """A sum that is another one whenever a clip might be read otherwise."""
    asked = [SCHEMA, sha256_of(job.bundle / MANIFEST), job.precision, job.prompt]
    asked += [to_json(job.options), to_json(job.sampling)]
    profile = profile_of(Bundle.open(job.bundle))
    asked += [] if profile is None else [profile.steps, profile.threshold]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _reader(job: LogJob) -> Reader:
    model = load(job.bundle, precision=job.precision, threads=job.threads)
    return Reader(model, job.prompt, job.options, job.together)


def _told(clip: Clip, least: float) -> str:
    """A clip in a line."""
    slates = [f"{marked(shot, least)} ({shot.confidence:.2f})" for shot in clip.shots if shot.has_slate(least)]
    remarks = () if clip.facts is None else clip.facts.remarks
    counted = f"{clip.file}: {len(clip.shots)} shot{'s' * (len(clip.shots) != 1)}"
    return one_line(", ".join([counted, *slates, *remarks]))
