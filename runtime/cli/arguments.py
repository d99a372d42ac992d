"""The common part of all commands: errors to messages and exit statuses, arguments to options.

0 done, 1 the machine failed (a full disk, a read-only folder), 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import Field, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from ...engines.errors import A2DError, RequestError
from ..bundle.names import BUILT_IN, located
from ..decode.contract import DecodeContract
from ..decode.options import Options
from ..deploy.placement import BUILDS, CHOICES, Placement
from ..model import Model
from ..schema import Violations, parse, setting_of

__all__ = [
    "BAD_INPUT",
    "FAILED",
    "Parser",
    "add_bundle",
    "add_options",
    "add_placement",
    "add_settings",
    "add_template_options",
    "compute_capabilities",
    "flag_of",
    "frame_size",
    "given",
    "guarded",
    "loading",
    "options_from",
    "placement_from",
    "tell_passed_over",
    "teller",
    "template_options_from",
    "token_ids",
    "worded",
]

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def teller(quiet: bool) -> Callable[[str], None]:
    """Function that a long command tells its findings to: stdout at once, or nobody."""

    def say(text: str) -> None:
        if not quiet:
            print(worded(text), flush=True)

    return say


def guarded(command: str, work: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Run `work`; turn what it raises into one message on stderr and an exit status."""
    _log_to_stderr(os.environ.get("A2D_LOG", ""))
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
        status = _say(command, worded(str(error)).strip(), BAD_INPUT)
    except KeyboardInterrupt:
        status = _say(command, interrupted, INTERRUPTED)
    except BrokenPipeError:
        status = FAILED  # whoever read our output has left: there is nobody to tell
    except MemoryError as error:
        status = _say(command, f"out of memory {error}".rstrip(), FAILED)
    except OSError as error:
        status = _say(command, f"{error}. Nothing half written was left behind.", FAILED)
    _let_go_of_streams()
    return status


def _log_to_stderr(level: str) -> None:
    """Show the package's log from `level` on (debug, info, warning); nothing where the name is none of these."""
    if level.upper() in ("DEBUG", "INFO", "WARNING"):
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("a2d").setLevel(level.upper())


FLAGS = {one.name: said.flag for one in fields(DecodeContract) if (said := setting_of(one)).flag is not None}
"""Settings whose flag has another name."""


def worded(text: str) -> str:
    """A message in the words of a command line: `the setting max_tokens` and `[context=512]` become flags."""
    valued = re.sub(r"\[(\w+=[^\[\]]*)\]", lambda found: _flags(found[1]), text)
    return re.sub(r"\bthe setting (\w+)", lambda found: _flag(found[1]), valued)


def _flags(settings: str) -> str:
    """`target=rtx sm=86,89` to flags with values."""
    pairs = (part.split("=", 1) for part in re.split(r" (?=\w+=)", settings))
    return " ".join(f"{_flag(name)} {value}" for name, value in pairs)


def _flag(name: str) -> str:
    return f"--{FLAGS.get(name) or name.replace('_', '-')}"


def _let_go_of_streams() -> None:
    """Python flushes at exit; where that must fail, what is left goes nowhere, so that our status stands."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(command: str, message: str, status: int) -> int:
    with suppress(OSError):  # where nobody can be told, the status still can
        print(f"{command}: {message}", file=sys.stderr)
    return status


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are RequestErrors, so that they are told like all others."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.register("type", Path, _path)

    def error(self, message: str) -> Any:
        """Raise instead of leaving the process."""
        usage = self.format_usage().rstrip()
        raise RequestError(f"{message}\n{usage.splitlines()[0]}\n`{self.prog} --help` explains the flags")


def _path(text: str) -> Path:
    """The path; an empty text, as of a variable that is not set, would be the working folder."""
    if not text:
        raise argparse.ArgumentTypeError("got an empty text, expected a path; was a variable not set?")
    return Path(text)


def token_ids(text: str) -> list[int]:
    """Token ids from `1,2,3`."""
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected ids like 1,2,3") from error


def _floats(text: str) -> tuple[float, ...]:
    """`400,1000` to numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers by comma, as 400,1000") from error


def frame_size(text: str) -> tuple[int, int]:
    """Height and width from `480x832`."""
    height, sign, width = text.lower().partition("x")
    if not sign or not height.isdecimal() or not width.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected height and width like 480x832")
    return int(height), int(width)


def _ids(text: str) -> tuple[int, ...]:
    return tuple(token_ids(text))


def compute_capabilities(text: str) -> tuple[int, ...]:
    """GPUs from `86,89,120`, or `sm86,8.9`: each once."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.replace("sm", "").replace(".", "").split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected compute capabilities like 86,89,120") from error


def add_settings(group: Any, kind: type[Any], parsers: Mapping[str, Any] | None = None, defaults: bool = False) -> None:
    """A flag for each declared field of the dataclass `kind`. `parsers`: keywords of `add_argument` by type's name.

    `defaults`: the help says them.
    The destination is the field's name, and the default None: not given.
    """
    hints, how = get_type_hints(kind), PARSERS | dict(parsers or {})
    for one in fields(kind):
        said = setting_of(one)
        keywords = how["choice" if said.choices is not None else _form(hints[one.name], said.tokens)]
        listed = {"choices": list(said.choices)} if said.choices is not None and not keywords else {}
        text = said.help if said.choices is None else f"{said.help}. {_rows(said.choices)}"
        text += _default(one) if defaults else ""
        group.add_argument(
            flag_of(one), dest=one.name, default=None, help=text.replace("%", "%%"), **keywords, **listed
        )


def _default(one: Field[Any]) -> str:
    """The default of an option in brackets; nothing for a switch and an empty list."""
    if one.default is None:
        return f" ({'the bundle' if one.name in OF_BUNDLES else 'none'})"
    return "" if one.default is False or one.default == () else f" ({one.default})"


OF_BUNDLES = {one.name for one in fields(DecodeContract)}
"""Options that the bundle decides where nobody else does."""


def flag_of(one: Field[Any]) -> str:
    """The flag of a declared field."""
    return _flag(one.name)


def given(arguments: argparse.Namespace, kind: type[Any]) -> dict[str, Any]:
    """Field to value, of the fields of `kind` whose flags were given."""
    found = {one.name: value for one in fields(kind) if (value := getattr(arguments, one.name)) is not None}
    return {name: tuple(value) if name in REPEATED else value for name, value in found.items()}


REPEATED = ("stop_texts",)
"""Options whose flags are given once for each text."""


PARSERS: dict[str, dict[str, Any]] = {
    "int": {"type": int, "metavar": "INT"},
    "float": {"type": float, "metavar": "FLOAT"},
    "ids": {"type": _ids, "metavar": "IDS"},
    "texts": {"action": "append", "metavar": "TEXT"},
    "floats": {"type": _floats, "metavar": "LIST"},
    "str": {"metavar": "TEXT"},
    "bool": {"action": "store_true"},
    "choice": {},
}
"""Keywords by which argparse reads a field, by its type; a choice whose keywords are empty takes its names alone."""


def _form(hint: Any, tokens: bool) -> str:
    """The name of a field's type in PARSERS, whether or not it may be None."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    inner = next(kind for kind in kinds if kind is not type(None))
    listed = {int: "ids", float: "floats", str: "texts"}
    form = listed[get_args(inner)[0]] if get_origin(inner) is tuple else str(inner.__name__)
    return {"ids": "tokens", "int": "token"}[form] if tokens else form


def add_bundle(parser: argparse.ArgumentParser, **more: Any) -> None:
    """The positional argument that names a bundle."""
    said = "a folder that a2d-export wrote, or a built-in model: "
    said += ", ".join(f"{one.name} ({one.does})" for one in BUILT_IN.values())
    parser.add_argument("bundle", type=located, metavar="BUNDLE", help=said, **more)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Flags for every field of Options; what is not given is left to the bundle."""
    add_settings(parser.add_argument_group("decoding", "defaults in brackets"), Options, defaults=True)


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


def placement_from(arguments: argparse.Namespace) -> Placement:
    """The placement that the flags of `add_placement` and `--threads` ask for."""
    a = arguments
    return Placement(a.engine or "", a.device or "", a.precision or "", a.engines, a.build, a.threads)


@contextmanager
def loading(bundle: Path) -> Iterator[None]:
    """A line on a terminal while a bundle is loaded, which takes seconds for a large one."""
    watched = sys.stderr.isatty()
    if watched:
        print(f"loading {bundle} ...", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if watched:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def tell_passed_over(command: str, model: Model) -> None:
    """Say on stderr why better engines were not taken, where somebody has built some, and which profile is used."""
    if model.profile is not None:
        print(f"{command}: {model.profile.said(model.bundle.path)}", file=sys.stderr)
    for reason in model.placement.passed_over:
        print(f"{command}: not used: {worded(reason)}", file=sys.stderr)


def _rows(table: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in table.items())


def options_from(arguments: argparse.Namespace) -> Options:
    """Options from the flags of `add_options`."""
    return Options(**given(arguments, Options))
