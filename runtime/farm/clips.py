"""A log's clips read on many machines: an actor reads a clip as one machine would, the journal stays with the caller.

Footage and bundle have the same paths on every node. Knows clips and rows; not how rows come to actors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..console.lines import Progress
from ..decode.options import Options
from ..footage.clip import Clip, Stamp
from ..footage.pipeline import Pipeline
from ..footage.reader import Reader
from ..footage.sampling import Sampling
from ..load import load
from ..log import LogJob, Reads
from ..schema import from_json, parse, to_json
from .pool import Pool, Work, pooled

__all__ = ["ClipReader", "many_machines"]


class ClipReader:
    """An actor that keeps a bundle loaded, and reads the clip of a row."""

    def __init__(
        self,
        bundle: str,
        precision: str | None,
        prompt: str | None,
        options: Options,
        sampling: Sampling,
        together: int,
        threads: int | None,
    ) -> None:
        self._reader = Reader(load(bundle, precision=precision, threads=threads), prompt, options, together)
        self._sampling = sampling

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The clip of `row["file"]`, a path as bytes, and its stamp, as JSON beside the row's own number."""
        file = Path(os.fsdecode(row["file"]))
        pipeline = Pipeline([file], self._sampling, lambda: self._reader, 1, True)
        try:
            (_, clip, stamp), *_ = pipeline
        finally:
            pipeline.close()
        nameless = to_json(clip) | {"file": ""}  # names may hold half characters, which JSON may not
        fault = clip.fault and clip.fault.encode("utf-8", "backslashreplace").decode()
        made = {"clip": nameless | {"fault": fault}, "stamp": None if stamp is None else to_json(stamp)}
        return {"number": row["number"], "made": json.dumps(made)}


def many_machines(pool: Pool = pooled) -> Reads:
    """The reading of a log's clips by the actors of `pool`, for `log`."""
    return partial(_read, pool)


def _read(pool: Pool, job: LogJob, files: Sequence[Path]) -> Generator[tuple[Path, Clip, Stamp | None]]:
    """Each clip once, as they come; a row that comes again is passed over."""
    if not files:
        return
    keywords = {"bundle": str(job.bundle), "precision": job.precision, "prompt": job.prompt}
    how = {"options": job.options, "sampling": job.sampling, "together": job.together}
    work = Work(ClipReader, {**keywords, **how}, job.threads)
    rows = [{"number": number, "file": os.fsencode(file)} for number, file in enumerate(files)]
    left = set(range(len(files)))
    with Progress("logging", len(files), "clips", quiet=job.quiet) as progress:
        for row in pool(rows, work):
            if row["number"] not in left:
                continue
            left.remove(row["number"])
            progress.add()
            with progress.aside():
                yield _read_back(files[row["number"]], row["made"])


def _read_back(file: Path, made: str) -> tuple[Path, Clip, Stamp | None]:
    data = parse(made)
    clip = replace(from_json(Clip, data["clip"]), file=str(file))
    return file, clip, None if data["stamp"] is None else from_json(Stamp, data["stamp"])
