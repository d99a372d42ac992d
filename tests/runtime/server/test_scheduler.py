"""Turns and places: fair between clients, bounded, and nobody waits behind one who does not read."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from itertools import count

import pytest

from a2d.runtime.server.request.refusal import Refusal
from a2d.runtime.server.work.scheduler import Scheduler


class Script:
    """A ticket of so many turns, which writes down when it had them."""

    def __init__(self, client: str, turns: int, log: list[str], name: str = "", gate: threading.Event | None = None):
        self.client, self.left, self.log, self.name = client, turns, log, name or client
        self.gate, self.ready, self.cancelled = gate, True, False
        self.over = threading.Event()

    def cancel(self) -> None:
        self.cancelled = True
        self.ready = True

    def turn(self) -> bool:
        if self.gate is not None:
            assert self.gate.wait(10)
        self.log.append(self.name)
        self.left -= 1
        going = self.left > 0 and not self.cancelled
        if not going:
            self.over.set()
        return going


@pytest.fixture
def log() -> list[str]:
    return []


def turn(tickets: Sequence[Script]) -> list[Script]:
    return [ticket for ticket in tickets if not ticket.turn()]


def scheduled(together: int, waiting: int = 100, turn=turn, at_a_time: int = 1) -> Scheduler:
    ticks = count()
    return Scheduler(turn, together, at_a_time, waiting, clock=lambda: float(next(ticks)))


def test_turns_go_round(log):
    gate = threading.Event()
    scheduler = scheduled(together=3)
    tickets = [Script(client, 4, log, gate=gate) for client in "abc"]
    for ticket in tickets:
        scheduler.submit(ticket)
    gate.set()
    assert all(ticket.over.wait(10) for ticket in tickets)
    scheduler.close()
    assert sorted(log) == sorted("abc" * 4)
    ends = [max(i for i, name in enumerate(log) if name == client) for client in "abc"]
    assert min(ends) >= 8  # nobody ended before the others had most of theirs


def test_a_newcomer_gets_the_place_that_is_kept_free(log):
    gate = threading.Event()
    scheduler = scheduled(together=2)
    greedy = [Script("greedy", 50, log, f"greedy{i}", gate) for i in range(5)]
    for ticket in greedy:
        scheduler.submit(ticket)
    while scheduler.running == 0:
        pass
    assert (scheduler.running, scheduler.waiting) == (1, 4)
    late = Script("late", 1, log, gate=gate)
    scheduler.submit(late)
    gate.set()
    assert late.over.wait(10)
    assert not greedy[0].over.is_set() or log.index("late") < 60
    scheduler.close()


def test_one_that_does_not_read_stops_nobody(log):
    scheduler = scheduled(together=2)
    deaf = Script("deaf", 5, log)
    deaf.ready = False
    scheduler.submit(deaf)
    other = Script("other", 20, log)
    scheduler.submit(other)
    assert other.over.wait(10)
    assert "deaf" not in log
    deaf.ready = True
    scheduler.poke()
    assert deaf.over.wait(10)
    scheduler.close()


def test_too_many_are_refused_with_a_time(log):
    gate = threading.Event()
    scheduler = scheduled(together=1, waiting=2)
    held = [Script(client, 1, log, gate=gate) for client in "abc"]
    scheduler.submit(held[0])
    while scheduler.running == 0:
        pass
    scheduler.submit(held[1])
    scheduler.submit(held[2])
    with pytest.raises(Refusal, match="2 requests wait already") as refused:
        scheduler.submit(Script("d", 1, log))
    assert refused.value.status == 429
    assert refused.value.headers["retry-after"].isdigit()
    gate.set()
    assert all(ticket.over.wait(10) for ticket in held)
    scheduler.close()


def test_one_client_cannot_fill_the_queue(log):
    gate = threading.Event()
    scheduler = scheduled(together=1, waiting=8)
    refused = 0
    for _ in range(20):
        try:
            scheduler.submit(Script("greedy", 1, log, gate=gate))
        except Refusal:
            refused += 1
    assert refused >= 11
    modest = Script("modest", 1, log, gate=gate)
    scheduler.submit(modest)
    gate.set()
    assert modest.over.wait(10)
    scheduler.close()


def test_who_leaves_the_queue_frees_its_place_at_once(log):
    gate = threading.Event()
    scheduler = scheduled(together=1, waiting=1)
    scheduler.submit(Script("a", 1, log, gate=gate))
    while scheduler.running == 0:
        pass
    gone = Script("b", 3, log)
    scheduler.submit(gone)
    gone.cancel()
    gate.set()
    scheduler.poke()
    assert gone.over.wait(10)
    scheduler.close()
    assert log.count("b") == 1


def test_closing_ends_all(log):
    scheduler = scheduled(together=1)
    tickets = [Script("a", 10**9, log) for _ in range(3)]
    for ticket in tickets:
        scheduler.submit(ticket)
    scheduler.close()
    assert all(ticket.over.is_set() for ticket in tickets)
    with pytest.raises(Refusal, match="stopping"):
        scheduler.submit(Script("b", 1, log))


def test_clients_have_equal_shares_of_the_turns(log):
    gate, shared = threading.Event(), []

    def together(tickets: Sequence[Script]) -> list[Script]:
        assert gate.wait(10)
        shared.append(Counter(ticket.client for ticket in tickets))
        return turn(tickets)

    scheduler = scheduled(together=4, turn=together, at_a_time=4)
    tickets = [Script("greedy", 30, log, f"greedy{i}") for i in range(5)] + [Script("modest", 30, log)]
    for ticket in tickets:
        scheduler.submit(ticket)
    gate.set()
    assert all(ticket.over.wait(10) for ticket in tickets)
    scheduler.close()
    both = [turn for turn in shared if turn["modest"]]
    assert len(both) == 30
    assert {turn["greedy"] for turn in both[1:]} == {2}
    assert max(turn.total() for turn in shared) == 3
    assert {turn["greedy"] for turn in shared if not turn["modest"]} <= {1, 2, 3}
