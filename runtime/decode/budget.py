"""Answers in time: a plan that fits a budget by this machine's measured times, and a clock that holds an answer to it.

The plan lowers the steps of a block until all blocks fit. The clock watches the decoding at work from outside: where
the next forward does not fit any more, what is left of a block is accepted at once, and an answer that would go on is
cut. No forward begins behind the deadline. Knows times and blocks; neither measures a machine nor runs a forward.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError
from .block import Block, Proposal, Step
from .forward import Forward, Request
from .options import Plan
from .rules import RULES
from .runner import Answer, Work

__all__ = [
    "ENDED",
    "STALE",
    "Budgeted",
    "Clock",
    "Early",
    "Lately",
    "Slowness",
    "Times",
    "Timing",
    "check_budget",
    "within",
]

CAUTION = 0.9
"""Quantile of late steps by which it is judged whether the next one still fits; of what cannot be cut, the slowest."""

STALE = 10.0
"""Seconds after which a forward is less of a measure of what does not fit."""

ENDED = "budget"
"""Reason for which an answer ends that is cut."""


@dataclass(frozen=True)
class Times:
    """Measured times of one machine, engine and precision, in seconds."""

    step: float
    """A denoising forward with `near` rows in the cache: median."""
    step_far: float
    """The same with `far` rows."""
    commit: float
    """A forward that caches a finished block and denoises the next, with `near` rows: median."""
    row: float
    """A row of the prompt, while the prompt is read."""
    near: int
    far: int
    picture: float = 0.0
    """A feature of a picture, while the picture is read; 0 where none is."""
    measured: str = ""
    """Day, machine and load under which this was measured, for people."""

    def at(self, cached: int, commits: bool = False) -> float:
        """A forward with so many rows in the cache."""
        slope = max(0.0, (self.step_far - self.step) / max(1, self.far - self.near))
        plain = self.step + slope * max(0, cached - self.near)
        return plain * max(1.0, self.commit / self.step) if commits else plain


class Lately:
    """Seconds of the last few forwards of one kind over the measured ones: 2 is half as fast."""

    def __init__(self, most: int, quantile: float = 1.0, now: Callable[[], float] = time.perf_counter) -> None:
        """`most`: forwards that are remembered. `quantile`: share of them that `cautious` is to cover."""
        self._ratios, self._quantile = deque[float](maxlen=most), quantile
        self._now, self._last = now, now()

    def add(self, ratio: float) -> None:
        """Remember a forward."""
        self._ratios.append(ratio)
        self._last = self._now()

    def relax(self) -> None:
        """Expect a little less, for a forward was not run for want of time, and none has been for a while.

        Otherwise a machine that was busy once would be thought so for ever.
        """
        if self._now() - self._last > STALE:
            self._last = self._now()
            self._ratios = deque((0.8 * ratio for ratio in self._ratios), self._ratios.maxlen)

    @property
    def usual(self) -> float:
        """Factor by which to expect a forward to be slower than measured."""
        return float(np.median(self._ratios)) if self._ratios else 1.0

    @property
    def cautious(self) -> float:
        """Factor that few forwards exceed."""
        return float(np.quantile(self._ratios, self._quantile, method="higher")) if self._ratios else 1.0


@dataclass(frozen=True)
class Slowness:
    """The process of late, in all its answers: a machine that was busy for the last one is for the next one as well.

    Long forwards apart from short ones: among busy neighbours a short one is often let through, a long one never.
    """

    steps: Lately = field(default_factory=lambda: Lately(16, CAUTION))
    prompts: Lately = field(default_factory=lambda: Lately(8))
    pictures: Lately = field(default_factory=lambda: Lately(8))


class Timing(Protocol):
    """A machine's times by plan."""

    @property
    def slowness(self) -> Slowness:
        """Factor by which the machine has been slower of late."""

    def __call__(self, plan: Plan) -> Times:
        """The times for a plan, measured if they have to be."""


@dataclass(frozen=True)
class Early:
    """Tokens of one block that were accepted because no further step would have fitted."""

    block: int
    tokens: tuple[int, ...]
    """Their places among the answer's tokens, from 0."""


@dataclass(frozen=True)
class Budgeted:
    """The account of an answer in time."""

    seconds: float
    """Budget."""
    spent: float
    """Seconds from when the budget began to count to the last step."""
    steps: int
    """Steps a block that this machine's times allow, of those that were asked for."""
    step_seconds: float
    """Measured time of a step, by which they were chosen."""
    measured: str
    """Day, machine and load under which it was measured."""
    early: tuple[Early, ...]
    """Tokens that were accepted early, block by block; empty where nothing was cut within a block."""
    cut: str = ""
    """Part of the work at which the time was spent: `pictures`, `prompt` or `answer`; empty where all was done."""

    @property
    def over(self) -> float:
        """Seconds by which the budget was missed."""
        return max(0.0, self.spent - self.seconds)


def check_budget(budget: float, needed: float, what: str, times: Times) -> None:
    """Raise RequestError where `what`, which is `needed` seconds of work, does not fit."""
    if budget < needed:
        raise RequestError(
            f"budget: got {1e3 * budget:.4g} ms, expected {1e3 * needed:.4g} ms or more: {what} on this machine "
            f"({times.measured}). Allow more time, or take a faster precision or a smaller model"
        )


class Clock:
    """The time of one answer. Made before its prompt is read; `begin` gives the plan that fits."""

    def __init__(
        self,
        times: Times,
        budget: float,
        since: float,
        now: Callable[[], float] = time.perf_counter,
        slowness: Slowness | None = None,
    ) -> None:
        """`since`: moment of `now` from which the budget counts. `slowness`: the process's."""
        self.times, self.budget, self.since, self.now = times, budget, since, now
        self.end = since + budget
        self.plan: Plan | None = None
        self._early: NDArray[np.intp] = np.empty(0, np.intp)
        self._began = since
        self._slowness = slowness or Slowness()
        self._reading = self._pictures = self._spent = 0.0
        self._last = self._cached = 0
        self.cut = ""
        """Part of the work at which the answer was cut; see `Budgeted.cut`."""

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return self.now() - self.since

    def may_read(self, features: int) -> bool:
        """There is time for a picture of so many features, which stand in the prompt, and a step behind it.

        Raises RequestError where the budget is shorter than these, whatever else the machine does.
        """
        taken = self.times.picture * features
        self._pictures += taken
        behind = self.times.row * features + self.times.at(features)
        said = f"pictures take {1e3 * self._pictures:.4g} ms, and their rows and a step {1e3 * behind:.4g} ms"
        check_budget(self.budget, self._pictures + behind, said, self.times)
        needed = taken * self._slowness.pictures.cautious + behind * self._slowness.prompts.cautious
        if not self.cut and self.end - self.now() < needed:
            self._cut("pictures")
            self._slowness.pictures.relax()
            self._slowness.prompts.relax()
        return not self.cut

    def note_picture(self, features: int, seconds: float) -> None:
        """Learn from a picture that was read."""
        if self.times.picture > 0:
            self._slowness.pictures.add(seconds / (self.times.picture * features))

    def _cut(self, part: str) -> None:
        self.cut, self._spent = part, self.spent

    def begin(self, plan: Plan, unread: int, start: int, last: int) -> Plan:
        """`plan` with the steps that fit: `unread` rows of the prompt come first, then rows `start` to `last`.

        Raises RequestError where not even the prompt and one step fit.
        """
        reading, left, first = self.times.row * unread, self.end - self.now(), self.times.at(start)
        said = f"the prompt's {unread} rows take {1e3 * reading:.4g} ms and a step {1e3 * first:.4g} ms"
        said += f", behind pictures of {1e3 * self._pictures:.4g} ms" if self._pictures else ""
        check_budget(self.budget, self._pictures + reading + first, said, self.times)
        self._last, self._cached = last, start
        self._reading = reading
        slow, blocks, middle = self._slowness.steps.usual, max(1, -(-(last - start) // plan.block)), (start + last) // 2
        # A block's first forward also caches the last block; apart, that is a forward of its own.
        opening = self.times.at(middle, commits=True) if plan.merged else 2 * self.times.at(middle)
        share = (left / slow - reading) / blocks
        fitting = 1 + int(max(0.0, share - opening) / self.times.at(middle))
        self.plan = replace(plan, steps=max(1, min(plan.steps, fitting)), accept=self.accepting(plan))
        return self.plan

    def accepting(self, plan: Plan) -> Callable[[Block, Proposal, int, Plan], NDArray[np.bool_]]:
        """The plan's rule, and all that is left where it is time."""
        rule = RULES[plan.options.rule]

        def accept(block: Block, proposal: Proposal, count: int, plan: Plan) -> NDArray[np.bool_]:
            accepted = rule(block, proposal, count, plan)
            if not self.due(block, plan):
                return accepted
            self._early = np.union1d(self._early, np.flatnonzero(block.masked & ~accepted))
            return block.masked

        return accept

    def due(self, block: Block, plan: Plan) -> bool:
        """No further step of this block fits, into the budget or into the block's share of what is left of it."""
        now, needed = self.now(), self.expected()
        if self.end - now < needed:
            return True
        later = max(0, -(-(self._last - block.start - len(block)) // plan.block))
        share = (self.end - self._began) / (1 + later)
        return later > 0 and now - self._began + needed > share

    def expected(self, commits: bool = False) -> float:
        """Seconds that the next forward takes, if it is as slow as the slower ones of late."""
        return self.times.at(self._cached, commits) * self._slowness.steps.cautious

    def ends(self, step: Step) -> bool:
        """The forward behind `step` does not fit any more. A draft is nothing before it is verified."""
        speculative = self.plan is not None and self.plan.speculative
        if step.ended or (speculative and not step.final):
            return False
        if self.end - self.now() < self.expected(commits=step.final) * (2 if speculative else 1):
            self._cut("answer")
        return bool(self.cut)

    def fits(self, request: Forward) -> bool:
        """A forward may begin; the first one only where all of the prompt and a step fit."""
        if self.cut:
            return False
        left, self._reading, reading = self.end - self.now(), 0.0, self._reading
        piece = 0 if request.rows is None or request.ask is not None else len(request.rows)
        ahead = (reading + self.times.at(self._cached)) if reading else self.times.row * piece
        lately = self._slowness.prompts if reading or piece else self._slowness.steps
        if left <= 0 or left < ahead * lately.cautious:
            lately.relax()
            self._cut("prompt" if reading or piece else "answer")
        return not self.cut

    def note(self, request: Request, seconds: float) -> None:
        """Learn from a forward: one that reads the prompt, or a step."""
        if not isinstance(request, Forward) or request.rows is None:
            return
        asks = request.ask is not None
        read = max(0, request.keep - (self._block if asks else 0))
        plain = asks * self.times.at(self._cached, request.keep > 0) + self.times.row * read
        if plain > 0:
            (self._slowness.prompts if read else self._slowness.steps).add(seconds / plain)

    @property
    def _block(self) -> int:
        return 1 if self.plan is None else self.plan.block

    def turn(self, step: Step) -> tuple[int, ...]:
        """Go on to the next block; rows of the finished one that were accepted early."""
        early, self._early = self._early, np.empty(0, np.intp)
        self._spent = self.spent
        self._began, self._cached = self.now(), self._cached + len(step.tokens)
        return tuple(int(row) for row in early)

    def account(self, early: tuple[Early, ...]) -> Budgeted:
        """The account of the answer."""
        steps, step = 0 if self.plan is None else self.plan.steps, self.times.at(self._cached)
        return Budgeted(self.budget, self._spent, steps, step, self.times.measured, early, self.cut)


def within(work: Work, clock: Clock) -> Work:
    """`work` until the budget is spent: no forward is begun that does not fit, and the last step says so."""
    answer: Answer = None
    error: Exception | None = None
    try:
        while True:
            item = work.send(answer) if error is None else work.throw(error)
            answer, error = None, None
            if isinstance(item, Step):
                over = clock.ends(item)
                yield replace(item, final=True, ended=ENDED) if over else item
                if over:
                    return
                continue
            began = clock.now()
            if isinstance(item, Forward) and not clock.fits(item):
                return
            try:
                answer = yield item
                clock.note(item, clock.now() - began)
            except Exception as raised:
                error = raised
    except StopIteration:
        return
    finally:
        work.close()
