"""What every command does alike: errors to messages and exit statuses, arguments to options.

0 done, 1 the machine failed (a full disk, a read-only folder), 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...engines.errors import A2DError, RequestError
from ..decode.contract import DEFAULTS
from ..decode.options import COMMITS, DECODES, RULES, Options
from ..deploy.placement import BUILDS, CHOICES
from ..model import Model, PlacementFields
from ..schema import Violations, parse

__all__ = [
    "BAD_INPUT",
    "Parser",
    "add_options",
    "add_placement",
    "add_template_options",
    "compute_capabilities",
    "guarded",
    "options_from",
    "placement_from",
    "tell_passed_over",
    "teller",
    "template_options_from",
    "token_ids",
]

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def teller(quiet: bool) -> Callable[[str], None]:
    """What a long command tells its findings to: stdout at once, or nobody."""

    def say(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    return say


def guarded(command: str, work: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Run `work`; turn what it raises into one message on stderr and an exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper) and "utf" not in sys.stdout.encoding.lower():
        sys.stdout.reconfigure(errors="replace")  # a character that the terminal lacks is no reason to stop
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # nor is the name of a folder that is not UTF-8
    # Pillow's word on large images; ours, with what to do, is an error that follows at once.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit", module=r"PIL\..*")
    try:
        status = work()
        sys.stdout.flush()
    except A2DError as error:
        status = _say(command, str(error), BAD_INPUT)
    except KeyboardInterrupt:
        status = _say(command, interrupted, INTERRUPTED)
    except BrokenPipeError:
        status = FAILED  # whoever read our output has left: there is nobody to tell
    except MemoryError as error:
        status = _say(command, f"out of memory {error}".rstrip(), FAILED)
    except OSError as error:
        status = _say(command, f"{error}. Nothing half written was left behind.", FAILED)
    _let_go_of_stdout()
    return status


def _let_go_of_stdout() -> None:
    """Python flushes at exit; where that must fail, what is left goes nowhere, so that our status stands."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(command: str, message: str, status: int) -> int:
    print(f"{command}: {message}", file=sys.stderr)
    return status


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are RequestErrors, so that they are told like all others."""

    def error(self, message: str) -> Any:
        """Raise instead of leaving the process."""
        raise RequestError(f"{message}\n{self.format_usage().rstrip()}")


def token_ids(text: str) -> list[int]:
    """Token ids from `1,2,3`."""
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected ids like 1,2,3") from error


def _ids(text: str) -> tuple[int, ...]:
    return tuple(token_ids(text))


def compute_capabilities(text: str) -> tuple[int, ...]:
    """GPUs from `86,89,120`, or `sm86,8.9`: each once."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.replace("sm", "").replace(".", "").split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected compute capabilities like 86,89,120") from error


_FLAGS: dict[str, tuple[Callable[[str], Any], str]] = {
    "max_tokens": (int, "generated tokens at most"),
    "block_size": (int, "tokens per block"),
    "steps": (int, "forwards per block"),
    "threshold": (float, "accept every token whose confidence is above this (0..1)"),
    "entropy_bound": (float, "summed entropy in nats that a step may accept, for --rule entropy and joint-entropy"),
    "factor": (float, "for --rule factor: the larger, the more tokens a step accepts"),
    "stop_repeats": (int, "end when the answer's last piece, of whatever length, comes so many times in a row"),
    "guidance": (
        float,
        "classifier-free guidance: away from what the model says without the prompt",
    ),
    "remask_below": (float, "mask an accepted token again when belief in it falls below this"),
    "replace_above": (float, "replace an accepted token when belief in another rises above this"),
    "revise_steps": (int, "forwards for replacing after a block's last mask is gone"),
    "temperature": (float, "0 takes the most probable token, more draws at random"),
    "top_k": (int, "draw among the k most probable tokens; 0 is all"),
    "top_p": (float, "draw among the fewest tokens with this much probability"),
    "seed": (int, "seed of the random numbers"),
    "sub_block_size": (int, "denoise a block in parts of so many rows, from left to right"),
    "guidance_keep": (_ids, "token ids, 1,2,3, of the prompt that guidance does not take away"),
}

_CHOICES = {"rule": RULES, "commit": COMMITS, "decode": DECODES, **DEFAULTS}
"""Options that are names of a table."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Flags for every field of Options; what is not given is left to the bundle."""
    group = parser.add_argument_group("decoding")
    for name, (kind, help_text) in _FLAGS.items():
        group.add_argument(
            f"--{name.replace('_', '-')}", type=kind, metavar=kind.__name__.strip("_").upper(), help=help_text
        )
    for name, table in _CHOICES.items():
        meanings = "; ".join(f"{n}: {what}" for n, what in table.items())
        group.add_argument(f"--{name}", choices=list(table), help=meanings)
    group.add_argument(
        "--block-cache",
        action="store_true",
        default=None,
        help="run only the sub-block at hand: less work, and tokens may differ",
    )


def add_placement(parser: argparse.ArgumentParser) -> None:
    """Flags for where and in which precision a bundle runs; what is not given is left to this machine."""
    group = parser.add_argument_group("machine")
    group.add_argument("--precision", metavar="NAME", help="one that the bundle holds, or that engines were built in")
    group.add_argument("--engine", metavar="NAME", help="; ".join(f"{e} on {d}" for e, d in CHOICES))
    group.add_argument("--device", metavar="NAME", help="cpu, cuda, or cuda:N")
    group.add_argument("--engines", type=Path, metavar="DIR", help="built engines; default: engines in the bundle")
    group.add_argument("--build", choices=list(BUILDS), default="never", help=_rows(BUILDS))


def add_template_options(parser: argparse.ArgumentParser) -> None:
    """The flag that gives variables to a chat template."""
    parser.add_argument(
        "--template-option",
        action="append",
        type=_template_option,
        metavar="NAME=VALUE",
        help="a variable for the chat template, as enable_thinking=false; repeatable; VALUE is JSON, or else a text",
    )


def template_options_from(arguments: argparse.Namespace) -> dict[str, Any]:
    """Variables for the chat template from the flags of `add_template_options`."""
    return dict(arguments.template_option or ())


def _template_option(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME=VALUE like enable_thinking=false")
    try:
        return name, parse(value)
    except Violations:
        return name, value


def placement_from(arguments: argparse.Namespace) -> PlacementFields:
    """Keywords of `load` from the flags of `add_placement`."""
    a = arguments
    return {"precision": a.precision, "engine": a.engine, "device": a.device, "engines": a.engines, "build": a.build}


def tell_passed_over(command: str, model: Model) -> None:
    """Say on stderr why better engines were not taken, where somebody has built some."""
    for reason in model.target.passed_over:
        print(f"{command}: not used: {reason}", file=sys.stderr)


def _rows(table: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in table.items())


def options_from(arguments: argparse.Namespace) -> Options:
    """Options from the flags of `add_options`."""
    names = [*_FLAGS, *_CHOICES, "block_cache"]
    return Options(**{n: value for n in names if (value := getattr(arguments, n)) is not None})
