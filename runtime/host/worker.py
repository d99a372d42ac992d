"""The process that decodes for a host program: `python -m a2d.runtime.host.worker`, frames in on stdin, out on stdout.

One thread reads frames, so that a cancellation is heard and a ping answered while a step is computed; the other loads
the bundle and decodes, one generation after the other in the order in which they came. Nothing but frames is ever
written to the pipe: whatever else is printed goes to stderr. When the host closes its end, or dies, this process is
gone at once.

Knows the messages, and what each asks of a Model. docs/embedding.md is written for those who speak to it.
"""

from __future__ import annotations

import argparse
import io
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engines.errors import (
    A2DError,
    BundleError,
    ContextFullError,
    ContractError,
    EngineError,
    ImageError,
    NumericsError,
    RequestError,
)
from ...engines.install import DISTRIBUTION
from ..decode.block import Step
from ..decode.session import Generation, Session, TextResult, until
from ..load import load
from ..model import Model
from .messages import Failed, FilmAsked, Generate, Open, Opened, StepTaken, Summary
from .request import SharedFile, options_of, pictures_of, prompt_of, turn_of
from .wire import Frame, Kind, Readable, WireError, pack, read_frame, unpack

if TYPE_CHECKING:
    from ..film.film import Film

__all__ = ["STATUSES", "Worker", "main"]

STATUSES: dict[type[BaseException], int] = {
    ContextFullError: -24,
    ImageError: -23,
    RequestError: -22,
    NumericsError: -25,
    EngineError: -21,
    BundleError: -20,
    ContractError: -20,
    MemoryError: -4,
    WireError: -12,
}
"""Exceptions to statuses of a2d.h, subclasses first; anything else is INTERNAL."""

INTERNAL = -26

LATER = {"sample", "text", "frames_merged", "encode_first", "pixels_first_draft", "pixels_next_draft"}
"""Graphs that are loaded when a request first wants them: few do, or they are let go of after each."""


def failed(error: BaseException) -> Failed:
    """An exception as it is told to the host."""
    status = next((number for kind, number in STATUSES.items() if isinstance(error, kind)), INTERNAL)
    if isinstance(error, (A2DError, WireError)):
        return Failed(status, str(error))
    what = "out of memory" if isinstance(error, MemoryError) else "an error in a2d itself"
    return Failed(status, f"{what}: {type(error).__name__}: {error}")


@dataclass
class QueuedGeneration:
    """One generation, from the moment it is asked for."""

    id: int
    kind: Kind
    request: bytes
    """The payload of a GENERATE or a FILM, not looked at yet: reading it is the decoding thread's work."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    generation: Generation | Film | None = None

    def cancel(self) -> None:
        """End it before its next step."""
        self.cancelled.set()
        if self.generation is not None:
            self.generation.cancel()

    def begin(self, generation: Generation | Film) -> None:
        """It is this one from now on."""
        self.generation = generation
        if self.cancelled.is_set():  # just before the line above
            generation.cancel()


class Worker:
    """One host's worker: a stream of frames in, a function that sends them out."""

    def __init__(
        self,
        stream: Readable,
        send: Callable[[bytes], None],
        pixels: io.FileIO | None = None,
        loader: Callable[..., Model] = load,
    ) -> None:
        """`pixels`: the file that host and worker share. `loader`: as `a2d.load`."""
        self._stream, self._loader = stream, loader
        self._pixels = None if pixels is None else SharedFile(pixels)
        self._send_bytes = send
        self._sending, self._jobs_lock = threading.Lock(), threading.Lock()
        self._jobs: dict[int, QueuedGeneration] = {}
        self._opening: queue.SimpleQueue[Open | None] = queue.SimpleQueue()
        self._todo: queue.SimpleQueue[QueuedGeneration | None] = queue.SimpleQueue()
        self._asked = False

    def listen(self) -> bool:
        """Read frames, in a thread of its own: true when the host is done, false when it cannot be understood."""
        understood = True
        try:
            while (frame := read_frame(self._stream)) is not None and frame.kind != Kind.CLOSE:
                _HEARD[frame.kind](self, frame)
        except (WireError, RequestError) as error:
            self.send(Kind.FAILED, 0, failed(error))
            understood = False
        except OSError:
            pass  # the host is gone
        self._opening.put(None)
        self._todo.put(None)
        return understood

    def work(self) -> bool:
        """Load and decode until the host is done: true; or until the bundle cannot be opened: false."""
        try:
            if (wanted := self._opening.get()) is not None:
                model = self._open(wanted)
                session = None if model.manifest.words is None else model.session(exact=True)
                while (job := self._todo.get()) is not None:
                    self._run(job, model, session)
        except BrokenPipeError:
            pass  # the host is gone
        except Exception as error:
            self.send(Kind.FAILED, 0, failed(error))
            return False
        return True

    def send(self, kind: Kind, number: int = 0, message: Any = None) -> None:
        """One frame to the host, whole."""
        frame = Frame(kind, number, b"" if message is None else pack(message)).encode()
        with self._sending:
            self._send_bytes(frame)

    def on_open(self, frame: Frame) -> None:
        """The first frame, and no other."""
        if self._asked:
            raise WireError("got a second OPEN; a worker opens one bundle")
        self._asked = True
        self._opening.put(unpack(Open, frame.payload))

    def on_request(self, frame: Frame) -> None:
        """A generation is queued."""
        job = QueuedGeneration(frame.id, frame.kind, frame.payload)
        with self._jobs_lock:
            if frame.id in self._jobs or frame.id == 0 or not self._asked:
                name = f"{frame.kind.name} {frame.id}"
                raise WireError(f"got {name}, expected a number of its own, from 1, and OPEN before it")
            self._jobs[frame.id] = job
        self._todo.put(job)

    def on_cancel(self, frame: Frame) -> None:
        """A generation is cancelled; one that is over already, or was never heard of, is nobody's concern."""
        with self._jobs_lock:
            job = self._jobs.get(frame.id)
        if job is not None:
            job.cancel()

    def on_ping(self, _: Frame) -> None:
        """A sign of life is asked for."""
        self.send(Kind.PONG)

    def on_nonsense(self, frame: Frame) -> None:
        """A frame that only a worker sends."""
        raise WireError(f"got a {frame.kind.name}, which a worker sends and a host does not")

    def _open(self, wanted: Open) -> Model:
        chosen = {"precision": wanted.precision, "engine": wanted.engine, "device": wanted.device}
        given = {name: value for name, value in chosen.items() if value is not None}
        model = self._loader(wanted.path, threads=wanted.threads or None, **given)
        for graph in set(model.variant.graphs) - LATER:
            model.engine(graph)  # now and not within the first generation
        self.send(Kind.OPENED, 0, _opened(model))
        return model

    def _run(self, job: QueuedGeneration, model: Model, session: Session | None) -> None:
        try:
            if job.kind == Kind.FILM:
                self._film(job, model)
            else:
                self.send(Kind.DONE, job.id, self._decode(job, model, session))
        except BrokenPipeError:
            raise
        except Exception as error:  # whatever befalls one generation, the next one is decoded
            self.send(Kind.FAILED, job.id, failed(error))
        finally:
            with self._jobs_lock:
                self._jobs.pop(job.id, None)

    def _decode(self, job: QueuedGeneration, model: Model, session: Session | None) -> Summary:
        if session is None:
            raise BundleError(f"{model.manifest.name} films and writes no words; ask it for a film")
        if job.cancelled.is_set():
            return Summary("cancelled", 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, "", (), ())
        request = unpack(Generate, job.request)
        options = options_of(request)
        asked, pictures, turn = prompt_of(request), pictures_of(request, self._pixels), turn_of(request)
        clock = session.clock(options)  # a budget counts from before the pictures are read
        prompt = model.prompt(asked, pictures, request.prompt_format == "raw", **turn, clock=clock)
        generation = session.stream(prompt, options, clock=clock)
        job.begin(generation)
        for step in generation:
            self.send(Kind.STEP, job.id, _step(step, generation))
        return _summary(generation.result, model)

    def _film(self, job: QueuedGeneration, model: Model) -> None:
        from .films import NOT_BEGUN, denoised, film_of, pixel_frames, summary_of  # noqa: PLC0415 - few hosts film

        if job.cancelled.is_set():
            return self.send(Kind.FILMED, job.id, NOT_BEGUN)
        film = film_of(model, unpack(FilmAsked, job.request), self._pixels)
        job.begin(film)
        film.on_step = lambda step: self.send(Kind.DENOISED, job.id, denoised(step, film.result.frames))
        for block in film:
            for part in pixel_frames(block):
                self.send(Kind.PIXELS, job.id, part)
        return self.send(Kind.FILMED, job.id, summary_of(film.result))


_HEARD: dict[Kind, Callable[[Worker, Frame], None]] = dict.fromkeys(Kind, Worker.on_nonsense) | {
    Kind.OPEN: Worker.on_open,
    Kind.GENERATE: Worker.on_request,
    Kind.FILM: Worker.on_request,
    Kind.CANCEL: Worker.on_cancel,
    Kind.PING: Worker.on_ping,
}


def _opened(model: Model) -> Opened:
    words, film = model.manifest.words, model.manifest.film
    return Opened(
        version(DISTRIBUTION),
        model.manifest.name,
        model.placement.precision,
        model.engine(model.manifest.stepped).describe,
        0 if words is None else words.decode.block_size,
        0 if words is None else words.model.max_context,
        words is not None and words.vision is not None,
        film is not None,
        *((0, 0, 0, 0.0) if film is None else (film.frames, film.height, film.width, film.fps)),
    )


def _mean(values: list[float]) -> float:
    return float(np.clip(np.mean(values), 0, 1)) if values else 0.0


def _step(step: Step, generation: Generation) -> StepTaken:
    settled = step.accepted[(step.accepted >= step.prompt) & ~step.masked[step.accepted]]
    return StepTaken(
        step.block,
        step.index,
        len(step.accepted),
        int(step.masked.sum()),
        len(generation.tokens),
        step.final,
        _mean(step.confidence[settled].tolist()),
        generation.text,
    )


def _summary(result: TextResult, model: Model) -> Summary:
    shown = len(until(list(result.tokens), model.manifest.decode.stop_token_ids))
    return Summary(
        result.stop_reason,
        result.forwards,
        result.steps,
        result.blocks,
        result.prompt_tokens,
        result.cached_tokens,
        _mean(list(result.confidence[:shown])),
        result.seconds,
        result.first_block_seconds,
        result.text,
        result.tokens,
        tuple(min(max(p, 0.0), 1.0) for p in result.confidence),
    )


# -- the process


def main(argv: list[str] | None = None) -> int:
    """Serve one host; returns the exit status: 0 the host is done, 3 the bundle cannot be opened."""
    parser = argparse.ArgumentParser(prog="python -m a2d.runtime.host.worker", description="Decode for a host program.")
    parser.add_argument("--pixels", type=int, metavar="N", help="descriptor (Windows: handle) of the shared file")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the host, which then lets go of us
    pixels = None if arguments.pixels is None else _shared_file(arguments.pixels)
    stream, send = _take_pipe()
    worker = Worker(stream, send, pixels)
    threading.Thread(target=_listen, args=(worker,), daemon=True).start()
    return 0 if worker.work() else 3


def _listen(worker: Worker) -> None:
    """When the host is done, or makes no sense, so are we, whatever is being computed."""
    os._exit(0 if worker.listen() else 3)


def _shared_file(number: int) -> io.FileIO:
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - only there

        number = msvcrt.open_osfhandle(number, os.O_RDONLY | os.O_BINARY)
    else:
        # Whatever else the host had open is not for us, nor for what we might start.
        os.closerange(3, number)
        os.closerange(number + 1, os.sysconf("SC_OPEN_MAX"))
        os.set_inheritable(number, False)
    return io.FileIO(number, "rb")


def _take_pipe() -> tuple[Readable, Callable[[bytes], None]]:
    """Take stdin and stdout for frames alone; what anybody prints from now on goes to stderr, what
    they read is empty.
    """
    source, sink = os.dup(0), os.dup(1)
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - only there

        msvcrt.setmode(source, os.O_BINARY)
        msvcrt.setmode(sink, os.O_BINARY)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def send(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(sink, view) :]

    return io.FileIO(source, "rb"), send


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # nothing is left to be done, and the host waits for our end
