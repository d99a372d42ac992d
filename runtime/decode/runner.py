"""Runs what a way to decode asks for, on the engines of one session; `drive` brings the two together.

A denoising step is a forward of the backbone that keeps none of its rows, a commit keeps all, and a merged commit keeps
the first: the same graph and the same weights each time. Whoever wants to see, compare or change what is run wraps a
Runner. Knows requests, the backbone and the denoise graphs; not in which order blocks are decoded, nor when an answer
ends.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import BundleError
from ...engines.protocol import Buffer, Engine
from .block import Block, Proposal, Rows, Step, side_by_side, visibility
from .cache import Cache
from .denoiser import Denoiser, Prediction, check_finite
from .forward import Ask, Burst, Decoding, Forward, Request

__all__ = [
    "Answer",
    "Backbone",
    "EngineRunner",
    "Runner",
    "Work",
    "drive",
    "steps",
    "told",
]


class Backbone:
    """The backbone graph over one cache."""

    def __init__(self, engine: Engine, cache: Cache) -> None:
        self.cache = cache
        self.forwards = 0
        hidden = engine.outputs.get("hidden")
        if hidden is None or not isinstance(hidden.shape[-1], int):
            raise BundleError("the backbone graph has no output hidden [1, R, H]; export the checkpoint again")
        self._width = hidden.shape[-1]
        self.last = engine.memory.zeros((1, 1, self._width), hidden.dtype)
        """Hidden state `[1, 1, H]` of the last cached row, for models that predict one row ahead."""
        self.engine = engine
        self.waits = engine.memory.waits
        """Reading what a forward gives waits for a device."""
        taken = engine.inputs.get("features")
        self._feature_values = None if taken is None else int(taken.shape[-1])
        self._blank = _blank(0, self._feature_values or 0)
        self._seen: tuple[tuple[int | None, ...], NDArray[np.int64], NDArray[np.bool_]] | None = None

    def forward(self, rows: Rows, keep: int, draft: int = 0, tokens: Buffer | None = None) -> Buffer:
        """Run `rows`, which follow the cached ones; keep the first `keep` in the cache. Returns hidden `[1, R, H]`.

        The `draft` rows behind those that are kept are held as well, for `refine`, until the next rows are kept.
        `tokens [1, R]` are those of the rows, where they lie on the device.
        """
        made = self._run(rows, None, self.cache.outputs() if keep + draft else [], tokens)
        self.keep(made, 0, keep, draft)
        return made["hidden"]

    def keep(self, made: Mapping[str, Buffer], first: int, count: int, draft: int) -> None:
        """Keep `count` rows of a forward's outputs from the `first` on, and hold the `draft` rows behind them."""
        if count + draft:
            self.cache.append(made, count, draft, first)
        if count:
            self.engine.memory.copy_rows(made["hidden"], first + count - 1, 1, self.last, 0)

    def settle(self, hidden: Buffer, count: int) -> None:
        """Keep the first `count` of the drafted rows, which `hidden [1, R, H]` holds alone; forget the others."""
        self.cache.settle(count)
        self.engine.memory.copy_rows(hidden, count - 1, 1, self.last, 0)

    def refine(self, rows: Rows, at: int) -> Buffer:
        """Run `rows` in the place of the drafted ones from the `at`-th on; keeps nothing. Returns hidden `[1, R, H]`.

        They see the other drafted rows as those were when they were drafted.
        """
        return self._run(rows, at, [])["hidden"]

    def visible(self, rows: Rows, at: int | None) -> NDArray[np.bool_]:
        """The mask `[1, 1, R, C + R]` of `rows` over the C rows of this cache's slot, and over themselves."""
        cache, reach = self.cache, rows.reach
        case = (cache.length, cache.drafted, cache.capacity, at)
        if self._seen is not None and self._seen[0] == case and self._seen[1] is reach:
            return self._seen[2]  # the steps of one block see the same
        if at is None:
            mask = visibility(reach, cache.length, cache.capacity)
        else:
            mask = visibility(reach, cache.length + cache.drafted, cache.capacity, cache.length + at)
        self._seen = case, reach, mask
        return mask

    def run(
        self, rows: Rows, visible: NDArray[np.bool_], outputs: Iterable[str], tokens: Buffer | None = None
    ) -> dict[str, Buffer]:
        """Run `rows` over all of the pool, under `visible [1, 1, R, capacity + R]`. Returns `hidden` and `outputs`."""
        wanted = ["hidden", *outputs]
        feeds: dict[str, NDArray[np.generic] | Buffer] = dict(self.cache.feeds())
        feeds["tokens"] = rows.tokens[None] if tokens is None else tokens
        feeds["positions"] = rows.positions[..., None, :]
        feeds["visible"] = visible
        if self._feature_values is not None:
            feeds |= self._features(rows)
        return self.engine.run(feeds, wanted, keep=wanted)  # type: ignore[return-value]

    def _run(
        self, rows: Rows, at: int | None, outputs: Iterable[str], tokens: Buffer | None = None
    ) -> dict[str, Buffer]:
        cache, visible = self.cache, self.visible(rows, at)
        if cache.capacity != cache.pool.capacity:
            visible = side_by_side([visible], [cache.start], cache.pool.capacity)
        self.forwards += 1
        return self.run(rows, visible, outputs, tokens)

    def _features(self, rows: Rows) -> dict[str, NDArray[np.generic]]:
        if rows.features is None or rows.is_feature is None:
            count = len(rows)
            if self._blank[0].shape[1] < count:
                self._blank = _blank(count, self._feature_values or 0)
            return {"features": self._blank[0][:, :count], "is_feature": self._blank[1][:, :count]}
        return {"features": rows.features[None], "is_feature": rows.is_feature[None]}


def _blank(rows: int, values: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features of rows that have none, and which rows have some."""
    return np.zeros((1, rows, values), np.float32), np.zeros((1, rows), np.bool_)


Answer = Proposal | Prediction | Block | Iterator[tuple[Block, NDArray[np.float32]]] | None


Work: TypeAlias = "Generator[Request | Step, Answer, None]"
"""A way to decode at work, seen by whoever runs it: requests, whose answers it is sent, and steps."""


class Runner(Protocol):
    """Runs requests in the order in which they come."""

    @property
    def cache(self) -> Cache:
        """Keys and values of the rows kept so far."""

    def run(self, request: Request) -> Answer:
        """Run it. Raises NumericsError if what was asked for is not finite."""


def told(decoding: Decoding) -> Work:
    """The requests and steps of `decoding`; the last step says why the answer ended.

    The step that finishes a block is given once it is known whether another block follows. No row is run for that.
    """
    answer: Answer = None
    step: Step | None = None
    try:
        while True:
            request = decoding.send(answer)
            if step is not None:
                yield step
            step, answer = None, None
            if not isinstance(request, Step):
                answer = yield request
            elif request.final:
                step = request
            else:
                yield request
    except StopIteration as end:
        if step is not None:
            yield replace(step, ended=end.value)
    finally:
        decoding.close()


def steps(work: Work, runner: Runner) -> Generator[Step, None, None]:
    """The steps of `work`, whose requests `runner` runs."""
    try:
        item = next(work)
        while True:
            if isinstance(item, Step):
                yield item
                item = next(work)
            else:
                item = _resumed(work, item, runner)
    except StopIteration:
        pass
    finally:
        work.close()


def _resumed(work: Work, request: Request, runner: Runner) -> Request | Step:
    try:
        answer = runner.run(request)
    except Exception as error:
        return work.throw(error)
    return work.send(answer)


def drive(decoding: Decoding, runner: Runner) -> Generator[Step, None, None]:
    """The steps of `decoding`, whose requests `runner` runs; the last one says why the answer ended."""
    return steps(told(decoding), runner)


class EngineRunner:
    """The backbone over one cache, and the denoise graphs."""

    def __init__(self, backbone: Backbone, denoiser: Denoiser) -> None:
        self.backbone, self.denoiser = backbone, denoiser
        self.hidden: Buffer | None = None
        """Hidden rows of the last forward, for the Accept that may follow."""

    @property
    def cache(self) -> Cache:
        """See `Runner.cache`."""
        return self.backbone.cache

    def run(self, request: Request) -> Answer:
        """See `Runner.run`."""
        if isinstance(request, Forward):
            self.hidden = hidden = self.forward(request)
            return None if request.ask is None else self._answer(request.ask, hidden)
        if isinstance(request, Burst):
            return self._read(request.block, self._burst(request), request.index)
        assert self.hidden is not None, "Accept follows the forward that drafted"
        self.backbone.settle(self.hidden, request.count)
        return None

    def last(self) -> Buffer:
        """Hidden state `[1, 1, H]` of the last cached row."""
        return self.backbone.last

    def forward(self, request: Forward) -> Buffer:
        """Hidden rows `[1, R, H]` of a forward; of one without rows, the last cached one."""
        if request.rows is None:
            return self.last()
        if request.at is not None:
            return self.backbone.refine(request.rows, request.at)
        return self.backbone.forward(request.rows, request.keep, request.draft)

    def _answer(self, ask: Ask, hidden: Buffer) -> Answer:
        query = self.denoiser.query(ask, hidden.shape[1])
        return self.denoiser.answer(ask, query, self.denoiser.run(query, hidden, self.last()))

    def _burst(self, burst: Burst) -> list[Mapping[str, Buffer]]:
        """Issue all forwards; what one settles is fed to the next where it lies."""
        rows, pending = burst.rows.holding(burst.block.tokens), burst.pending
        issued: list[Mapping[str, Buffer]] = []
        tokens = masked = None
        for step, number in enumerate(burst.counts):
            hidden = self.backbone.forward(pending + rows, keep=len(pending), tokens=tokens)
            pending = pending[:0]
            at = (burst.index, step)
            made = self.denoiser.propose_async(hidden, self.last(), burst.block, number, at, tokens, masked)
            issued.append(made)
            tokens, masked = made["next_tokens"], made["next_masked"]
        return issued

    def _read(
        self, block: Block, issued: list[Mapping[str, Buffer]], index: int
    ) -> Iterator[tuple[Block, NDArray[np.float32]]]:
        """The block after each step, and its confidences. The first read waits, the others find all done."""
        for step, made in enumerate(issued):
            tokens, masked, sure = (made[name].numpy()[0] for name in ("next_tokens", "next_masked", "confidence"))
            rows = np.flatnonzero(block.masked)
            check_finite(rows, sure[rows], self.denoiser.graph, (index, step))
            confidence = np.where(block.masked, sure, block.confidence).astype(np.float32)
            kept = np.where(block.masked & ~masked, confidence, block.confidence).astype(np.float32)
            block = replace(block, tokens=tokens, masked=masked, confidence=kept)
            yield block, confidence
