"""Runs what a way to decode asks for, on the engines of one session; `drive` brings the two together.

Whoever wants to see, compare or change what is run wraps a Runner. Knows requests, the backbone and the denoise graphs;
not in which order blocks are decoded, nor when an answer ends.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...engines.protocol import Buffer
from .backbone import Backbone
from .block import Block, Proposal, Step
from .cache import Cache
from .denoiser import Denoiser, Prediction, check_finite
from .forward import Ask, Burst, Decoding, Forward, Request

__all__ = ["Answer", "EngineRunner", "Runner", "Work", "drive", "steps", "told"]

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
