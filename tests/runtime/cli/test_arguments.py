"""Exit statuses and messages of commands, flags to options; where a process matters, in a process."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from a2d.engines.errors import BundleError, EngineError, NumericsError, RequestError
from a2d.runtime.cli.arguments import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    Parser,
    add_options,
    guarded,
    options_from,
    token_ids,
)
from a2d.runtime.decode.options import Options


def raising(error: BaseException):
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize("status", [0, 1, 3])
def test_a_status_is_passed_on(status, capsys):
    assert guarded("a2d try", lambda: status) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RequestError("steps: got 0"), BAD_INPUT, "a2d try: steps: got 0\n"),
        (BundleError("no bundle"), BAD_INPUT, "a2d try: no bundle\n"),
        (EngineError("no engine"), BAD_INPUT, "a2d try: no engine\n"),
        (NumericsError("not finite"), BAD_INPUT, "a2d try: not finite\n"),
        (KeyboardInterrupt(), INTERRUPTED, "a2d try: interrupted\n"),
        (BrokenPipeError(), FAILED, ""),
        (MemoryError(), FAILED, "a2d try: out of memory\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x.bin"),
            FAILED,
            "a2d try: [Errno 28] No space left on device: 'x.bin'. Nothing half written was left behind.\n",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), FAILED, "a2d try: [Errno 13] Permission denied. Nothing"),
    ],
)
def test_errors_become_one_message_and_a_status(error, status, message, capsys):
    assert guarded("a2d try", raising(error)) == status
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(message)


def test_what_nobody_foresaw_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        guarded("a2d try", raising(ZeroDivisionError()))


HEAD = "import sys\nfrom a2d.runtime.cli.arguments import guarded\n"


def run(code: str, stdout) -> tuple[int, str]:
    made = subprocess.run([sys.executable, "-c", HEAD + code], stdout=stdout, stderr=subprocess.PIPE, check=False)
    return made.returncode, made.stderr.decode()


@pytest.mark.parametrize("size", [1, 10**6], ids=["flushed at the end", "flushed at once"])
def test_a_reader_who_has_left_is_no_error_message(size):
    ours, theirs = os.pipe()
    os.close(ours)
    assert run(f"sys.exit(guarded('a2d try', lambda: print('x' * {size}) or 0))", theirs) == (FAILED, "")
    os.close(theirs)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_stdout_is_told():
    with Path("/dev/full").open("w") as full:
        status, message = run("sys.exit(guarded('a2d try', lambda: print('x') or 0))", full)
    assert status == FAILED
    assert message.startswith("a2d try: [Errno 28]") and "Traceback" not in message


def test_characters_that_the_terminal_lacks_are_replaced():
    code = "sys.exit(guarded('a2d try', lambda: print('\\u65e5x') or 0))"
    made = subprocess.run(
        [sys.executable, "-c", HEAD + code], capture_output=True, env={"PYTHONIOENCODING": "ascii"}, check=False
    )
    assert (made.returncode, made.stdout, made.stderr) == (0, b"?x\n", b"")


def parser() -> Parser:
    made = Parser(prog="a2d try")
    add_options(made)
    return made


def test_flags_that_are_not_given_leave_the_choice_to_the_bundle():
    assert options_from(parser().parse_args([])) == Options()


def test_every_option_has_a_flag():
    flags = {
        "max_tokens": 3, "block_size": 8, "steps": 2, "threshold": 0.5, "rule": "confidence", "entropy_bound": 0.1,
        "remask_below": 0.2, "replace_above": 0.9, "revise_steps": 4, "temperature": 0.7, "top_k": 5, "top_p": 0.8,
        "seed": 9, "commit": "separate", "sub_block_size": 4, "block_cache": True,
        "decode": "diffusion", "factor": 1.5, "confidence": "tempered", "comparison": "at-least", "fallback": "top-1",
        "stop": "reached", "stop_repeats": 20, "guidance": 1.5, "guidance_keep": (1, 2),
        "stop_texts": ("User:", "(end)"), "budget": "200 ms",
    }  # fmt: skip
    assert set(flags) == set(Options.__dataclass_fields__)
    valued = {name: value for name, value in flags.items() if value is not True and name != "stop_texts"}
    given = [part for name, value in valued.items() for part in (f"--{name.replace('_', '-')}", str(value).strip("()"))]
    texts = [part for text in flags["stop_texts"] for part in ("--stop-texts", text)]
    assert options_from(parser().parse_args([*given, "--block-cache", *texts])) == Options(**flags)


def test_the_help_says_defaults():
    text = " ".join(parser().format_help().split())
    assert "generated tokens at most (256)" in text and "0 takes the most probable token" in text
    assert "more draws at random (the bundle)" in text and "how a finished block is cached. merged" in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--steps", "two"], "argument --steps: invalid int value: 'two'"),
        (["--rule", "luck"], "argument --rule: invalid choice: 'luck'"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
        (["--steps"], "argument --steps: expected one argument"),
    ],
)
def test_bad_flags_are_request_errors_with_the_usage(given, message):
    with pytest.raises(RequestError, match="usage: a2d try") as caught:
        parser().parse_args(given)
    assert message in str(caught.value)


@pytest.mark.parametrize(("text", "ids"), [("1,2,3", [1, 2, 3]), ("1 2", [1, 2]), ("7", [7]), ("", []), ("-1", [-1])])
def test_token_ids(text, ids):
    assert token_ids(text) == ids


@pytest.mark.parametrize("text", ["a", "1,b", "1.5", "1;2"])
def test_what_is_no_token_id(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected ids like 1,2,3"):
        token_ids(text)
