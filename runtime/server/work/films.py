"""Films as jobs: a request that takes minutes, its progress, and the file at its end.

One is made at a time. Knows a Filmmaker by its protocol, not how a film is made.
"""

from __future__ import annotations

import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..request.limits import Limits
from ..request.pictures import Pixels
from ..request.refusal import Refusal, refusal_of

__all__ = ["FRAMES", "VARIANTS", "VIDEO", "FilmJob", "FilmJobs", "FilmRequest", "Filmmaker", "Progress"]

VIDEO, FRAMES = "film.mp4", "frames.zip"
"""Files of a film: a movie, and its frames without loss."""

VARIANTS = {"video": (VIDEO, "video/mp4"), "frames": (FRAMES, "application/zip")}
"""Name of what can be fetched to its file and type."""

OVER = ("completed", "failed", "cancelled")
"""States after which nothing follows."""


@dataclass(frozen=True)
class FilmRequest:
    """One film, as it is asked for."""

    model: str
    prompt: str
    seconds: float | None = None
    """Length; None leaves it to the bundle."""
    width: int | None = None
    height: int | None = None
    seed: int = 0
    steps: int | None = None
    picture: Pixels | None = None
    """First frame."""


@dataclass(frozen=True)
class Progress:
    """The progress of a film."""

    done: int
    total: int
    """Steps of all blocks."""
    block: int
    blocks: int
    step: int
    steps: int
    """Steps of this block."""


class Filmmaker(Protocol):
    """One bundle that films."""

    def check(self, wanted: FilmRequest) -> None:
        """Raise RequestError for what can be known to be wrong before anything is made."""

    def film(
        self, wanted: FilmRequest, folder: Path, told: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> None:
        """Write `VIDEO` and `FRAMES` into `folder`, and tell after each step how far it is.

        Ends early once `cancelled` is true; what lies in the folder then is thrown away.
        """


@dataclass
class FilmJob:
    """One film on its way."""

    wanted: FilmRequest
    path: Path
    """Folder of its files."""
    id: str
    created: int
    status: str = "queued"
    """`queued`, `in_progress`, `completed`, `failed` or `cancelled`."""
    progress: Progress | None = None
    """The last step; None before the first."""
    error: BaseException | None = None
    completed: int | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        """Nothing changes any more."""
        return self.status in OVER

    @property
    def facts(self) -> dict[str, Any]:
        """OpenAI's video object."""
        w, p = self.wanted, self.progress
        share = 100 if self.status == "completed" else 0 if p is None else min(100 * p.done // p.total, 99)
        at = None if p is None else {"block": p.block, "blocks": p.blocks, "step": p.step, "steps": p.steps}
        return {
            "id": self.id,
            "object": "video",
            "created_at": self.created,
            "completed_at": self.completed,
            "expires_at": None,
            "model": w.model,
            "prompt": w.prompt,
            "progress": share,
            "seconds": None if w.seconds is None else f"{w.seconds:g}",
            "size": None if w.width is None else f"{w.width}x{w.height}",
            "status": self.status,
            "remixed_from_video_id": None,
            "a2d": at,
            "error": None if self.error is None else refusal_of(self.error).body["error"],
        }


class FilmJobs:
    """The jobs of one server, and the thread that makes films."""

    def __init__(self, makers: Mapping[str, Filmmaker], folder: Path, limits: Limits) -> None:
        """`makers`: by the names that clients use. `folder` gets the films."""
        self.makers, self._folder, self._limits = dict(makers), folder, limits
        self._jobs: dict[str, FilmJob] = {}
        self._todo: queue.SimpleQueue[FilmJob | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="a2d-films", daemon=True)
        if makers:
            self._thread.start()

    def submit(self, wanted: FilmRequest) -> FilmJob:
        """Queue a film. Raises Refusal (404, 429) and RequestError."""
        self.maker(wanted.model).check(wanted)
        with self._lock:
            if sum(not job.over for job in self._jobs.values()) >= self._limits.waiting:
                raise Refusal(
                    429, "as many films wait as may; ask again when one is done", "too_many_requests", retry_after=30
                )
            if len(self._jobs) >= self._limits.files or self._kept() > self._limits.kept:
                raise Refusal(413, "there is no room for another film; delete some: DELETE /v1/videos/ID", "no_room")
            number = f"video_{secrets.token_hex(16)}"
            job = FilmJob(wanted, self._folder / number, number, int(time.time()))
            self._jobs[number] = job
        self._todo.put(job)
        return job

    def maker(self, name: str) -> Filmmaker:
        """The filmmaker of a name. Raises Refusal (404)."""
        if name not in self.makers:
            known = ", ".join(self.makers) or "no bundle that films"
            raise Refusal(404, f"no model {name[:60]!r} films; this server has {known}", "model_not_found", "model")
        return self.makers[name]

    def get(self, number: str) -> FilmJob:
        """The job of an id. Raises Refusal (404)."""
        with self._lock:
            if number not in self._jobs:
                raise Refusal(404, f"no film {number[:60]!r}; ask for one: POST /v1/videos", "video_not_found")
            return self._jobs[number]

    def all(self) -> list[FilmJob]:
        """All jobs, the newest first."""
        with self._lock:
            return list(self._jobs.values())[::-1]

    def drop(self, number: str) -> FilmJob:
        """Cancel a job, and forget it with its film. Raises Refusal (404)."""
        job = self.get(number)
        job.cancelled.set()
        with self._lock:
            self._jobs.pop(number, None)
        shutil.rmtree(job.path, ignore_errors=True)
        return job

    def close(self) -> None:
        """End all jobs and the thread."""
        for job in self.all():
            job.cancelled.set()
        self._todo.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _kept(self) -> int:
        files = (job.path / name for job in self._jobs.values() for name in (VIDEO, FRAMES))
        return sum(file.stat().st_size for file in files if file.is_file())

    def _serve(self) -> None:
        while (job := self._todo.get()) is not None:
            self._make(job)

    def _make(self, job: FilmJob) -> None:
        def told(progress: Progress) -> None:
            job.progress = progress

        part = job.path.with_suffix(".partial")
        try:
            if not job.cancelled.is_set():
                job.status = "in_progress"
                part.mkdir()
                self.maker(job.wanted.model).film(job.wanted, part, told, job.cancelled.is_set)
                part.replace(job.path)
                job.completed, job.status = int(time.time()), "completed"
        except Exception as error:  # whatever befalls one film, the next one is made
            job.error, job.status = error, "failed"
        finally:
            if job.cancelled.is_set():
                job.status = "cancelled"
                shutil.rmtree(job.path, ignore_errors=True)
            shutil.rmtree(part, ignore_errors=True)
