"""A thread that works ahead: in order, bounded, and gone when nobody wants more."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from a2d.runtime.footage.prefetch import Ahead


def numbers(count, made, ended=None):
    try:
        for number in range(count):
            made.append(number)
            yield number
    finally:
        if ended is not None:
            ended.set()


def started(make, depth):
    ahead = Ahead(make, depth)
    ahead.start()
    return ahead


def test_items_come_in_order():
    made: list[int] = []
    assert list(started(lambda: numbers(100, made), 3).take()) == list(range(100))


def test_only_a_few_wait():
    made: list[int] = []
    ahead = started(lambda: numbers(1000, made), 3)
    items = ahead.take()
    assert next(items) == 0
    ahead.close()
    assert len(made) <= 6


def test_what_goes_wrong_is_raised_where_items_are_taken():
    def broken():
        yield 1
        raise ValueError("broken")

    items = started(broken, 2).take()
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_closing_ends_the_thread_and_the_generator():
    ended, before = threading.Event(), threading.active_count()
    ahead = started(lambda: numbers(10**9, [], ended), 2)
    next(ahead.take())
    ahead.close()
    assert ended.is_set() and threading.active_count() == before


def test_what_never_began_is_closed_at_once():
    Ahead(lambda: numbers(1, []), 1).close()


@pytest.mark.skipif(os.name == "nt", reason="is interrupted by a signal")
def test_a_close_that_was_interrupted_can_be_done_again():
    """A thread that works on while the interpreter ends may abort the process (SIGABRT)."""
    going, ended = threading.Event(), threading.Event()

    def busy():
        try:
            yield 1
        finally:
            going.wait()
            ended.set()

    def interrupt(*_):
        raise KeyboardInterrupt

    ahead = started(busy, 1)
    next(ahead.take())
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            ahead.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    threading.Timer(0.2, going.set).start()
    ahead.close()
    assert ended.is_set() and not ahead._thread.is_alive()


def test_whoever_waits_is_called_now_and_then():
    going, waited = threading.Event(), []

    def slow():
        going.wait()
        yield 1

    def waiting():
        waited.append(1)
        if len(waited) == 3:
            going.set()

    assert list(started(slow, 1).take(waiting)) == [1]
    assert len(waited) >= 3
