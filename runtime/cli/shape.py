"""Flags for answers of a given shape."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...engines.errors import RequestError
from ..decode.sequence import FREE, Form
from ..model import Model

__all__ = ["add_shape", "form_from", "is_shaped"]


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Add --template, --choices and --schema, one of which may be given."""
    group = parser.add_argument_group(
        "answers of a given shape", 'one of these; needs pip install "a2d-runtime[shapes]"'
    )
    shape = group.add_mutually_exclusive_group()
    shape.add_argument(
        "--template", metavar="TEXT", help="text with values: 'scene {scene:[0-9]+[A-Z]*} take {take:int}'"
    )
    shape.add_argument("--choices", action="extend", nargs="+", metavar="TEXT", help="one of these texts")
    shape.add_argument("--schema", type=Path, metavar="FILE", help="JSON that is valid under a JSON schema")


def is_shaped(arguments: argparse.Namespace) -> bool:
    """Return whether a shape is asked for."""
    return any(one is not None for one in (arguments.template, arguments.choices, arguments.schema))


def form_from(model: Model, arguments: argparse.Namespace) -> Form:
    """The shape that is asked for. Raises RequestError: it cannot be read, is not supported, or cannot be written."""
    if not is_shaped(arguments):
        return FREE
    schema = None if arguments.schema is None else _read(arguments.schema)
    return model.shape(arguments.template, arguments.choices, schema)


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"--schema {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"--schema {path} is not JSON: {error}") from error
