"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from a2d.runtime.console.lines import Progress, size, span


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (4e12, "4000.0 GB")]
)
def test_size(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (200, "3:20"), (3723, "1:02:03")])
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_estimate() -> None:
    clock = Clock()
    progress = Progress("weights", 1000, stream=io.StringIO(), clock=clock)
    clock.now += 3
    progress.add(250)
    assert progress.line() == "weights:  25%  250 B of 1.0 kB  9.0 s left"


def test_a_terminal_has_one_line() -> None:
    clock, stream = Clock(), Terminal()
    with Progress("checks", 100, "checks", stream=stream, clock=clock) as progress:
        for _ in range(100):
            clock.now += 0.05
            progress.add()
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert 30 <= text.count("\r") <= 52
    assert text.rsplit("\r", 1)[1].startswith("\x1b[Kchecks: 100%  100 of 100 checks")


def test_elsewhere_lines_are_sparse() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("checks", 100, "checks", stream=stream, clock=clock) as progress:
        for _ in range(100):
            clock.now += 0.25
            progress.add()
    assert len(stream.getvalue().splitlines()) == 3


def test_quiet_and_empty() -> None:
    stream = io.StringIO()
    with Progress("nothing", 0, stream=stream, quiet=True) as progress:
        progress.add(0)
    assert stream.getvalue() == ""
    assert "100%" in progress.line()


def test_an_error_does_not_claim_to_be_done() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress("weights", 10, stream=stream) as progress:
        progress.add(5)
        raise KeyboardInterrupt
    assert " 50%" in stream.getvalue()
