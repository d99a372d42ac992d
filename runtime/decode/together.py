"""Generations of several sessions side by side: a turn runs one forward of each, as one where they can be.

Generations join and leave between any two turns. Each has the tokens that it would have alone. Does not know who asked,
nor how many may wait.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import NamedTuple

from ...engines.errors import A2DError
from .block import Step
from .forward import Forward, Request
from .packed import Outcome, run_together
from .runner import Runner
from .session import Generation

__all__ = ["Event", "Together"]


class Event(NamedTuple):
    """A step of one generation; without a step, its end."""

    generation: Generation
    step: Step | None = None
    error: Exception | None = None
    """Error that ended it; None where it ended by itself, or was cancelled."""


@dataclass
class _Lane:
    generation: Generation
    runner: Runner
    request: Forward | None = None
    """Forward that it waits for; None before its first."""
    outcome: Outcome = None


class Together:
    """Generations that run side by side."""

    def __init__(self) -> None:
        self._lanes: list[_Lane] = []

    def __len__(self) -> int:
        return len(self._lanes)

    def join(self, generation: Generation) -> None:
        """Run `generation` from the next turn on, until its end. Nobody else may iterate over it."""
        self._lanes.append(_Lane(generation, generation.runner()))

    def leave(self, generation: Generation) -> None:
        """End `generation` where it stands: no event tells of it."""
        self._lanes = [lane for lane in self._lanes if lane.generation is not generation]
        generation.close()

    def turn(self, resting: Collection[Generation] = ()) -> list[Event]:
        """Run the forward that each generation waits for, but for those that rest, and go on to the next of each.

        An error of one generation is its event. Raises what no generation alone is to blame for; whoever took part
        should `leave` then.
        """
        started = time.perf_counter()
        going = [lane for lane in self._lanes if lane.generation.cancelled or lane.generation not in resting]
        waiting = [lane for lane in going if lane.request is not None and not lane.generation.cancelled]
        outcomes = run_together([(lane.runner, lane.request) for lane in waiting if lane.request is not None])
        spent = time.perf_counter() - started
        for lane, outcome in zip(waiting, outcomes, strict=True):
            lane.outcome = outcome
            lane.generation.spend(spent)
        return [event for lane in going for event in self._go_on(lane)]

    def _go_on(self, lane: _Lane) -> Generator[Event, None, None]:
        """Steps of one generation, up to the next forward that it waits for."""
        work, generation = lane.generation.work, lane.generation
        error: Exception | None = None
        try:
            if generation.cancelled:
                work.close()
            item = self._resumed(lane)
            while not isinstance(item, Forward):
                if isinstance(item, Step):
                    generation.tally(item)
                    yield Event(generation, item)
                    item = next(work)
                else:
                    item = self._own(lane, item)
            lane.request = item
            return
        except StopIteration:
            pass
        except Exception as raised:  # whatever befalls one generation, the others go on
            error = raised
        self._lanes.remove(lane)
        yield Event(generation, None, error)

    def _resumed(self, lane: _Lane) -> Request | Step:
        """The next item behind the forward that was run."""
        work, outcome, lane.outcome = lane.generation.work, lane.outcome, None
        if lane.request is None:
            return next(work)
        lane.request = None
        return work.throw(outcome) if isinstance(outcome, A2DError) else work.send(outcome)

    def _own(self, lane: _Lane, request: Request) -> Request | Step:
        """The next item behind a request that concerns one session alone."""
        try:
            answer = lane.runner.run(request)
        except A2DError as error:
            return lane.generation.work.throw(error)
        return lane.generation.work.send(answer)
