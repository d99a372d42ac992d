"""One generation in a session: an iterator of steps, and what has come of them so far.

Knows its session's cache and runner; not how prompts are written or shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .block import Prompt, Step
from .budget import ENDED, Clock, Early, within
from .forward import Decoding
from .loop import decode as diffuse
from .options import Plan
from .pipelined import decode_ahead, is_known
from .result import TextResult
from .runner import Runner, Work, steps, told
from .sequence import FREE, Form, Sequence
from .speculative import speculate

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Generation", "until"]

DECODES = {"diffusion": diffuse, "speculative": speculate}
"""Name in Options to what decodes."""


@dataclass
class _Count:
    """Tally of a running generation."""

    steps: int = 0
    blocks: int = 0
    seconds: float = 0.0
    first_block: float = 0.0
    ended: str = ""
    """Why, if the answer has ended."""
    over: bool = False
    """No step is left."""


class Generation:
    """An iterator of Steps; when it ends, or is cancelled, `result` is there."""

    def __init__(
        self,
        session: Session,
        prompt: Prompt,
        plan: Plan,
        detokenize: Callable[[list[int]], str],
        form: Form = FREE,
        clock: Clock | None = None,
    ) -> None:
        self._session, self._contract, self._clock = session, session.contract, clock
        self._detokenize, self._form = detokenize, form
        self._count = _Count()
        self._cancelled = threading.Event()
        self._tokens: list[int] = []
        self._confidence: list[float] = []
        self._tail: list[int] = []
        self._prompt = prompt
        self._sequence = session.enter(prompt, plan, form)
        self._plan = plan = plan if clock is None else session.timed(plan, clock, self._sequence)
        self._early: list[Early] = []
        self._before = session.backbone.forwards
        work = _owning(session, self._sequence, plan)
        self.work = work if clock is None else within(work, clock)
        """The decoding at work, for whoever runs several side by side instead of iterating over one."""
        self._steps = _driven(self.work, session, self._sequence, plan)

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        started = time.perf_counter()
        try:
            if self.cancelled:
                self._steps.close()
            step = next(self._steps)
        except StopIteration:
            self._count.over = True
            raise
        finally:
            self.spend(time.perf_counter() - started)
        self.tally(step)
        return step

    def runner(self) -> Runner:
        """A runner for the requests of `work`."""
        return self._session.runner(self._sequence, self._plan)

    @property
    def cancelled(self) -> bool:
        """Somebody has asked for the end."""
        return self._cancelled.is_set()

    def spend(self, seconds: float) -> None:
        """Count time that was spent generating."""
        self._count.seconds += seconds

    def cancel(self) -> None:
        """End before the next step. May be called from any thread."""
        self._cancelled.set()

    @property
    def tokens(self) -> list[int]:
        """Tokens of all finished blocks so far, then those of the current one, masks left out."""
        return [*self._tokens, *self._tail][: self._plan.options.max_tokens]

    @property
    def text(self) -> str:
        """Text of `tokens`, up to a stop token or text; with a form that makes JSON of it, that once it is whole."""
        return self._form.text(self._written(self.tokens), self._whole)

    @property
    def settled_text(self) -> str:
        """Text of the finished blocks, up to a stop token or text."""
        return self._form.text(self._written(self._tokens), self._whole)

    @property
    def _whole(self) -> bool:
        """No token of a finished block is followed by another one."""
        ended = any(stop in self._tokens for stop in self._contract.stop_token_ids)
        return ended or len(self._tokens) >= self._plan.options.max_tokens or self._count.ended == "context"

    def _written(self, tokens: list[int]) -> str:
        return _before(self._words(tokens[: self._plan.options.max_tokens]), self._plan.options.stop_texts)

    def _words(self, tokens: list[int]) -> str:
        return self._detokenize(until(tokens, self._contract.stop_token_ids))

    def close(self) -> None:
        """End now, and free the session. Dropping the last reference does the same."""
        self._steps.close()
        self.work.close()

    def run(self) -> TextResult:
        """Take all steps that are left."""
        for _ in self:
            pass
        return self.result

    @property
    def result(self) -> TextResult:
        """The outcome as of now."""
        written = self._written(self.tokens)
        text = self._form.text(written, self._whole)
        return TextResult(
            tokens=tuple(self._tokens[: self._plan.options.max_tokens]),
            text=text,
            written=None if written == text else written,
            stop_reason=self._stop_reason(),
            forwards=self._session.backbone.forwards - self._before,
            steps=self._count.steps,
            blocks=self._count.blocks,
            prompt_tokens=len(self._prompt),
            cached_tokens=self._sequence.cached,
            seconds=self._count.seconds,
            first_block_seconds=self._count.first_block,
            confidence=tuple(self._confidence[: self._plan.options.max_tokens]),
            budget=None if self._clock is None else self._clock.account(tuple(self._early)),
        )

    def _stop_reason(self) -> str:
        if self._count.ended:
            return self._count.ended
        if self._clock is not None and self._clock.cut:
            return ENDED
        if self._cancelled.is_set():
            return "cancelled"
        return "context" if self._count.over or self._tokens else "unfinished"

    def _check_texts(self) -> None:
        """End before the next step where a stop text has been written."""
        stops = self._plan.options.stop_texts
        if stops and not self._count.ended and any(stop in self._words(self._tokens) for stop in stops):
            self._count.ended = "stop"
            self._cancelled.set()

    def tally(self, step: Step) -> None:
        """Count a step that was taken."""
        masked = step.masked[step.prompt :]
        held = step.tokens[step.prompt :]
        self._tail = held[~masked].tolist()
        self._count.steps += 1
        self._count.ended = step.ended
        if step.final:
            written = int(np.argmax(masked)) if masked.any() else len(held)  # an early stop leaves masks behind it
            self._tokens += held[:written].tolist()
            self._confidence += [round(float(p), 6) for p in step.confidence[step.prompt :][:written]]
            self._tail = []
            if self._clock is not None:
                self._cut(step, len(self._tokens) - written, self._clock)
            self._count.blocks += 1
            self._count.first_block = self._count.first_block or self._count.seconds
            self._check_texts()

    def _cut(self, step: Step, first: int, clock: Clock) -> None:
        """Note the tokens of a finished block that were accepted early; its first is the answer's token `first`."""
        places = (first + row - step.prompt for row in clock.turn(step))
        if kept := tuple(place for place in places if place < min(len(self._tokens), self._plan.options.max_tokens)):
            self._early.append(Early(step.block, kept))


def _owning(session: Session, sequence: Sequence, plan: Plan) -> Work:
    """The decode loop, owning the session meanwhile. Free of the Generation, so that dropping that one ends it."""
    ahead = session.backbone.waits and sequence.chooser.free and is_known(session.contract, plan)
    # A burst is one session's, and cannot be cut where a budget ends.
    ahead = ahead and session.backbone.cache.home is None and plan.accept is None
    decode: Callable[..., Decoding] = decode_ahead if ahead else DECODES[plan.options.decode]
    with session.running(sequence, fresh=plan.options.guidance > 0):
        yield from told(decode(sequence, session.contract, plan))


def _driven(work: Work, session: Session, sequence: Sequence, plan: Plan) -> Generator[Step, None, None]:
    """The steps of one session alone."""
    yield from steps(work, session.runner(sequence, plan))


def _before(text: str, stops: Iterable[str]) -> str:
    """The text before the first of `stops` that stands in it."""
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def until(tokens: list[int], stops: tuple[int, ...]) -> list[int]:
    """The tokens before the first stop token."""
    ends = [i for i, token in enumerate(tokens) if token in stops]
    return tokens[: ends[0]] if ends else tokens
