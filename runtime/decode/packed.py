"""Forwards of several sessions as one: their rows side by side, kept apart by the visibility mask.

Sessions whose caches share a pool are fed the same buffers; each has its own slot, last hidden row, options and noise.
What is asked of the rows goes to one run of each denoise graph that is asked alike; what of a block is accepted is then
decided for each by itself, by the graph's own rule, here in numpy. A mask does not stop numbers that are not finite
(zero times NaN is NaN), so where a forward gives such, nothing of it is kept and each session runs apart. Knows runners
and requests; not when an answer ends, nor who waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import A2DError, EngineError
from ...engines.protocol import Buffer
from .block import Allowed, side_by_side
from .denoiser import Query
from .forward import Forward
from .loop import PREFILL
from .runner import Answer, EngineRunner, Runner

__all__ = ["Outcome", "run_together"]

Outcome: TypeAlias = "Answer | A2DError"


def run_together(work: Sequence[tuple[Runner, Forward]]) -> list[Outcome]:
    """The answer to each runner's forward, or its error; those that share engine and pool are run as one."""
    outcomes: dict[int, Outcome] = {}
    for numbers in _batches(work):
        made = _batch([work[number] for number in numbers])
        outcomes |= dict(zip(numbers, made, strict=True))
    return [outcomes[number] for number in range(len(work))]


def _batches(work: Sequence[tuple[Runner, Forward]]) -> list[list[int]]:
    """Numbers of the forwards that are run as one: of plain runners on one pool, up to `PREFILL` rows."""
    batches: list[list[int]] = []
    newest: dict[Any, tuple[list[int], int]] = {}
    for number, (runner, request) in enumerate(work):
        rows = 0 if request.rows is None else len(request.rows)
        key = (runner.backbone.engine, runner.cache.home) if _joins(runner, request) else number  # type: ignore[attr-defined]
        batch, held = newest.get(key, ([], 0))
        if not batch or held + rows > PREFILL:
            batch, held = [], 0
            batches.append(batch)
        batch.append(number)
        newest[key] = (batch, held + rows)
    return batches


def _joins(runner: Runner, request: Forward) -> bool:
    """It can be run with others. A piece of a prompt sees nothing but its own, so it is faster over its own rows.

    Whoever wraps a runner, or runs two streams, wants to see its own forwards.
    """
    cache = runner.cache
    return type(runner) is EngineRunner and cache.home is not None and cache.sound and request.ask is not None


def _batch(work: Sequence[tuple[Runner, Forward]]) -> list[Outcome]:
    plain = [(runner, request) for runner, request in work if isinstance(runner, EngineRunner)]
    if len(plain) < 2:
        return [_apart(*one) for one in work]
    for runner, _ in plain:
        runner.cache.enter()
    lanes = _lanes(plain)
    try:
        made = _forward([lane for lane in lanes if lane.count])
    except EngineError:  # one by one takes less memory, and shows whose it is
        return [_apart(*one) for one in plain]
    if made is not None and not _is_finite(made["hidden"]):
        return [_apart(*one) for one in plain]
    for lane in lanes:
        lane.keep(made)
    return _answers(lanes, None if made is None else made["hidden"])


def _apart(runner: Runner, request: Forward) -> Outcome:
    """Run one session in a pool of its own, where it stays if its numbers are to blame."""
    runner.cache.leave()
    try:
        return runner.run(request)
    except A2DError as error:
        return error
    finally:
        if isinstance(runner, EngineRunner) and runner.cache.home is not None and runner.hidden is not None:
            runner.cache.sound = runner.cache.sound and _is_finite(runner.hidden)


def _is_finite(hidden: Buffer) -> bool:
    """All numbers are finite. A row sees itself, so keys and values of a row whose hidden state is finite are, too."""
    values = hidden.numpy()
    return bool(np.isfinite(values if values.dtype.kind == "f" else values.astype(np.float32)).all())


@dataclass(frozen=True)
class _Lane:
    """One session's part of a forward."""

    runner: EngineRunner
    request: Forward
    number: int
    first: int
    """Number of its first row among all rows."""

    @property
    def count(self) -> int:
        """Its rows."""
        return 0 if self.request.rows is None else len(self.request.rows)

    def visible(self) -> NDArray[np.bool_]:
        """Its mask over its own slot and rows."""
        assert self.request.rows is not None
        return self.runner.backbone.visible(self.request.rows, self.request.at)

    def keep(self, made: Mapping[str, Buffer] | None) -> None:
        """Keep its rows as its runner would."""
        if made is None or not self.count:
            return
        backbone, request = self.runner.backbone, self.request
        backbone.forwards += 1
        if request.at is None:
            backbone.keep(made, self.first, request.keep, request.draft)
        if request.draft:
            memory, hidden = backbone.engine.memory, made["hidden"]
            self.runner.hidden = memory.zeros((1, self.count, hidden.shape[-1]), hidden.dtype)
            memory.copy_rows(hidden, self.first, self.count, self.runner.hidden, 0)

    def query(self) -> Query | None:
        """The query for what it asks."""
        ask = self.request.ask
        return None if ask is None else self.runner.denoiser.query(ask, self.count or 1)

    def gather(self, query: Query, rows: int) -> NDArray[np.int64]:
        """The rows that predict, in [carry, all `rows` hidden rows, the last cached row of each lane]."""
        last = 1 + rows + self.number
        return np.where((query.gather == 0) | (self.count == 0), last, self.first + query.gather)


def _lanes(work: Sequence[tuple[EngineRunner, Forward]]) -> list[_Lane]:
    lanes, first = [], 0
    for number, (runner, request) in enumerate(work):
        lanes.append(_Lane(runner, request, number, first))
        first += lanes[-1].count
    return lanes


def _forward(lanes: Sequence[_Lane]) -> dict[str, Buffer] | None:
    """Outputs of one forward of all rows; None where there are none."""
    if not lanes:
        return None
    backbone = lanes[0].runner.backbone
    starts = [lane.runner.cache.start for lane in lanes]
    visible = side_by_side([lane.visible() for lane in lanes], starts, backbone.cache.pool.capacity)
    kept = any(lane.request.keep + lane.request.draft for lane in lanes)
    rows = reduce(add, [lane.request.rows for lane in lanes])
    assert rows is not None
    return backbone.run(rows, visible, backbone.cache.outputs() if kept else [])


def _answers(lanes: Sequence[_Lane], hidden: Buffer | None) -> list[Outcome]:
    outcomes: list[Outcome] = [None] * len(lanes)
    kinds: dict[tuple[Any, ...], list[tuple[_Lane, Query]]] = {}
    for lane in lanes:
        try:
            query = lane.query()
        except A2DError as error:
            outcomes[lane.number] = error
            continue
        if query is not None:
            kinds.setdefault(query.kind, []).append((lane, query))
    everything = _with_last(lanes, hidden) if kinds else None
    for asked in kinds.values():
        assert everything is not None
        rows = everything.shape[1] - len(lanes)
        queries = [query for _, query in asked]
        together = joined(queries, [lane.gather(query, rows) for lane, query in asked])
        runner = asked[0][0].runner
        made = runner.denoiser.run(together, everything, runner.last())
        for (lane, query), part in zip(asked, split(made, queries), strict=True):
            outcomes[lane.number] = _answer(lane, query, part)
    return outcomes


def _answer(lane: _Lane, query: Query, made: Mapping[str, Any]) -> Outcome:
    assert lane.request.ask is not None
    try:
        return lane.runner.denoiser.answer(lane.request.ask, query, made)
    except A2DError as error:
        return error


def _with_last(lanes: Sequence[_Lane], hidden: Buffer | None) -> Buffer:
    """Hidden rows `[1, R + N, H]`: those of the forward, then the last cached row of each of N lanes."""
    memory, like = lanes[0].runner.backbone.engine.memory, lanes[0].runner.last()
    rows = 0 if hidden is None else hidden.shape[1]
    joint = memory.zeros((1, rows + len(lanes), like.shape[-1]), like.dtype)
    if hidden is not None:
        memory.copy_rows(hidden, 0, rows, joint, 0)
    for lane in lanes:
        memory.copy_rows(lane.runner.last(), 0, 1, joint, rows + lane.number)
    return joint


ACCEPTED = ("next_tokens", "next_masked")
"""Results of the accept rule, which ranks all rows of a call."""


def joined(queries: Sequence[Query], gathers: Sequence[NDArray[np.int64]]) -> Query:
    """One query for all, of one kind; `gathers` are the rows that predict theirs in what is run together."""
    first, drawn = queries[0], [q.drawn for q in queries if q.drawn is not None]
    together = replace(drawn[0], noise=np.concatenate([d.noise for d in drawn])) if drawn else None
    return replace(
        first,
        rows=np.concatenate([q.rows for q in queries]),
        gather=np.concatenate(gathers),
        tokens=np.concatenate([q.tokens for q in queries]),
        masked=np.concatenate([q.masked for q in queries]),
        allowed=_sets([q.allowed for q in queries]),
        count=0,
        bar=2.0,
        drawn=together,
    )


def split(made: Mapping[str, Any], queries: Sequence[Query]) -> list[dict[str, NDArray[Any]]]:
    """The outputs `[1, N]` for each of the joined queries; what is accepted, for each by itself."""
    parts, first = [], 0
    for query in queries:
        rows = slice(first, first + len(query.rows))
        part = {name: made[name][:, rows] for name in query.outputs if name not in ACCEPTED}
        settled = accepted(query.masked, part["confidence"][0], query.count, query.bar)
        part["next_tokens"] = np.where(settled, part["proposed"][0], query.tokens)[None]
        part["next_masked"] = (query.masked & ~settled)[None]
        parts.append(part)
        first = rows.stop
    return parts


def accepted(masked: NDArray[np.bool_], confidence: NDArray[np.float32], count: int, bar: float) -> NDArray[np.bool_]:
    """The graph's accept rule: the `count` most confident masked rows, of equals the first, and all above the bar."""
    C = np.where(masked, confidence, np.float32(-1))
    rows = np.float32(bar) < C
    rows[np.argsort(-C, kind="stable")[:count]] = True
    return rows & masked


def _sets(all_of: Sequence[Allowed]) -> Allowed:
    """The sets of all, equal tables of masks once."""
    masks: list[NDArray[np.uint8]] = []
    at: dict[bytes, int] = {}
    by, size = [], 0
    for allowed in all_of:
        key = allowed.masks.tobytes()
        if key not in at:
            at[key] = size
            masks.append(allowed.masks)
            size += len(allowed.masks)
        by.append(allowed.by + at[key])
    return Allowed(np.concatenate(masks), np.concatenate(by))
