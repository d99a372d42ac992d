"""One clip while it is made: the loop brought together with the network and the decoder, block after block.

Knows times, cancelling and snapshots at the borders of blocks; not how a prompt became keys and values, nor files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import NumericsError, RequestError
from ...engines.protocol import Buffer
from .cache import KeptFrames
from .clip import Block, Clip
from .loop import Commit, Finished, Predict, Script, Step
from .loop import film as made_of
from .network import FrameNetwork, Part
from .pixels import PixelStream, in_bytes
from .result import PixelsResult, Seconds
from .towers import TowerNetwork

__all__ = ["Film", "FilmBlock", "Snapshot"]


@dataclass(frozen=True)
class FilmBlock:
    """The frames of a block, or of a part of one that is long."""

    block: Block
    """Latent frames that these are made of; a part has the index of its block."""
    first: int
    """Number of its first pixel frame, from 0."""
    frames: NDArray[np.uint8]
    """`[n, H, W, 3]`"""
    pixels: NDArray[np.float32]
    """The same in 0 to 1."""
    latents: NDArray[np.float32]
    """`[C, F, h, w]`, normalised."""


@dataclass(frozen=True)
class Snapshot:
    """A film as it stood behind a block; any number of films may go on from it."""

    block: Block
    clip: Clip
    prompt: str
    opening: int
    cache: KeptFrames
    pending: Part
    recent: tuple[Part, ...]
    """Clean blocks that the next one sees, oldest first, without `pending`."""
    states: Mapping[str, Buffer] | None
    draft: bool = False
    """The states are those of the decoder for drafts."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes besides the film's own."""
        sizes = [np.prod(b.shape) * np.dtype(b.dtype).itemsize for b in self.cache.buffers.values()]
        return int(sum(sizes))


@dataclass
class Film:
    """An iterator of FilmBlocks; `result` says what came of it."""

    network: FrameNetwork | TowerNetwork
    stream: PixelStream
    script: Script
    clip: Clip
    prompt: str
    fps: float
    remarks: tuple[str, ...] = ()
    """Sentences about what was done differently from what was asked."""
    on_step: Callable[[Step], None] = lambda _: None
    """Called after each step of denoising."""
    on_block: Callable[[FilmBlock], None] = lambda _: None
    """Called with each block before it is given."""
    seconds: Seconds = field(default_factory=Seconds)
    recent: tuple[Part, ...] = ()
    most: int | None = None
    """Latent frames whose pixels are held at once; None is a block's, which is all that a snapshot goes on behind."""
    overlap: bool = False
    """A finished block is committed while another thread decodes its pixels; frames are the same."""

    def __post_init__(self) -> None:
        self._cancelled = threading.Event()
        self._finished: Finished | None = None
        self._steps = self._count = self._frames = 0
        self._first_block = 0.0
        self._blocks = self._made()

    def __iter__(self) -> Iterator[FilmBlock]:
        return self

    def __next__(self) -> FilmBlock:
        started = time.perf_counter()
        try:
            block = next(self._blocks)
        finally:
            self.seconds.total += time.perf_counter() - started
        self._count, self._frames = self._count + 1, self._frames + len(block.frames)
        self._first_block = self._first_block or self.seconds.total
        self.on_block(block)
        return block

    def cancel(self) -> None:
        """End before the next step. May be called from any thread."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Somebody has ended it."""
        return self._cancelled.is_set()

    @property
    def forwards(self) -> int:
        """Forwards of the network so far."""
        return self.network.forwards

    @property
    def result(self) -> PixelsResult:
        """The outcome as of now."""
        whole = self._count == len(self.script.blocks)
        return PixelsResult(
            stop_reason="length" if whole else "cancelled" if self.cancelled else "unfinished",
            forwards=self.forwards,
            steps=self._steps,
            blocks=self._count,
            seconds=self.seconds.total,
            first_block_seconds=self._first_block,
            frames=self._frames,
            height=self.clip.height,
            width=self.clip.width,
            fps=self.fps,
            parts=replace(self.seconds),
            remarks=self.remarks,
        )

    def snapshot(self) -> Snapshot:
        """The state behind the block that came last: see `Studio.film`. Raises RequestError before the first block.

        Keys and values are copied; the decoder's states are shared, since nobody writes to them.
        """
        if self._finished is None:
            raise RequestError("a snapshot is taken between blocks: take a block from the film first")
        done = self._finished
        pending = Part(done.block, done.latents, self.script.commit_timestep)
        kept, recent = self.network.kept(), self.recent
        if recent and recent[-1].block == done.block:  # it has been committed ahead: whoever goes on does so again
            kept, recent = replace(kept, held=None), recent[:-1]
        return Snapshot(
            done.block,
            self.clip,
            self.prompt,
            self.script.opening,
            kept,
            pending,
            recent,
            self.stream.states,
            self.stream.draft,
        )

    def _made(self) -> Iterator[FilmBlock]:
        decoding = made_of(self.script)
        request = _next(decoding)
        while request is not None and not self.cancelled:
            if not isinstance(request, Finished):
                request = _next(decoding, ANSWERS[type(request)](self, request))
            elif self.overlap and not self.script.merged and self.most is None:
                following = _next(decoding)
                block, failed = self._both(request, following)
                yield block
                if failed is not None:
                    raise failed
                request = _next(decoding) if isinstance(following, Commit) else following
            else:
                self._finished = request
                yield from self._decoded(request)
                request = _next(decoding)

    def _both(self, done: Finished, following: Any) -> tuple[FilmBlock, Exception | None]:
        """A block's pixels, and meanwhile its commit, if that comes next; what is wrong with it is the next block's."""
        failed = None
        with ThreadPoolExecutor(1, "a2d-pixels") as beside:
            decoded = beside.submit(self._shown, done.block, done.latents)
            if isinstance(following, Commit):
                try:
                    self._commit(following)
                except Exception as error:
                    failed = error
            block = decoded.result()
        self._finished = done
        return block, failed

    def _predict(self, request: Predict) -> NDArray[np.float32]:
        self._begin(request.clean)
        started = time.perf_counter()
        velocity = self.network.velocity(request.noisy, request.clean)
        self.seconds.denoise += time.perf_counter() - started
        if not np.isfinite(velocity).all():
            raise NumericsError(
                f"block {request.noisy.block.index}, step {request.step}: the velocity is not finite; decode in a "
                "wider precision (fp32), and report it if that does not help"
            )
        return velocity

    def _commit(self, request: Commit) -> None:
        self._begin(request.clean)
        started = time.perf_counter()
        self.network.commit(request.clean)
        self.seconds.commit += time.perf_counter() - started

    def _step(self, step: Step) -> None:
        self._finished = None
        self._steps += 1
        self.on_step(step)

    def _begin(self, clean: Part | None) -> None:
        """A clean block becomes one of the recent ones, of which those out of sight are forgotten."""
        self._finished = None
        if clean is not None:
            self.recent = (*self.recent, clean)
            oldest = self.clip.window.frames
            if oldest is not None:
                least = clean.block.end - oldest
                self.recent = tuple(part for part in self.recent if part.block.end > least)

    def _decoded(self, done: Finished) -> Iterator[FilmBlock]:
        """The block's frames, as they are decoded; each part is forgotten here once it is given."""
        for part in parts(done.block, self.most):
            if self.cancelled:
                return
            yield self._shown(part, done.latents[:, part.start - done.block.start : part.end - done.block.start])

    def _shown(self, part: Block, latents: NDArray[np.float32]) -> FilmBlock:
        started = time.perf_counter()
        pixels = np.concatenate(list(self.stream.decode(part, latents)))
        frames = in_bytes(pixels)
        self.seconds.pixels += time.perf_counter() - started
        return FilmBlock(part, self.network.contract.pixel_frames(part.start), frames, pixels, latents)


def parts(block: Block, most: int | None) -> list[Block]:
    """A block in parts of at most so many latent frames."""
    starts = range(block.start, block.end, most or len(block))
    return [replace(block, start=start, end=min(start + starts.step, block.end)) for start in starts]


def _next(decoding: Generator[Any, Any, None], answer: Any = None) -> Any:
    """The next request of a decode, None at its end."""
    try:
        return decoding.send(answer)
    except StopIteration:
        return None


ANSWERS: Mapping[type[Any], Callable[[Film, Any], Any]] = {
    Predict: Film._predict,
    Commit: Film._commit,
    Step: Film._step,
}
"""Kind of request to the method that answers it."""
