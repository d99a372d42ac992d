"""A list of shots as people write it: CSV, JSON, or an OpenTimelineIO timeline. It is checked as a whole.

Knows names, seconds and prompts; not how they are filmed.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engines.errors import RequestError

__all__ = ["COLUMNS", "LISTS", "ListedShot", "shot_list"]

COLUMNS = {
    "id": "name of the shot and of its clip: letters, digits, '.', '_' and '-'",
    "seconds": "length in the cut",
    "prompt": "what the shot shows",
    "seed": "seed of its noise; may be left out",
    "image": "its first frame, a path beside the list; may be left out",
}
"""Columns of a CSV file, and keys of a JSON object."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

MOST = 10_000
"""Shots of a list at most."""


@dataclass(frozen=True)
class ListedShot:
    """One shot that is wanted."""

    id: str
    seconds: float
    prompt: str
    seed: int | None = None
    image: Path | None = None


def shot_list(path: Path) -> list[ListedShot]:
    """The shots of a list, by its ending. Raises RequestError that names every row that is wrong."""
    ending = path.suffix.lower()
    if ending not in LISTS:
        raise RequestError(f"{path}: got the ending {ending!r}, expected one of {', '.join(LISTS)}")
    if not path.is_file():
        raise RequestError(f"{path}: no such file, expected a list of shots")
    try:
        rows = LISTS[ending](path)
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error, RecursionError) as error:
        raise RequestError(f"{path} cannot be read as {ending[1:].upper()} in UTF-8: {error}") from error
    if not 1 <= len(rows) <= MOST:
        raise RequestError(f"{path}: holds {len(rows)} shots, expected 1 to {MOST}")
    return _checked(path, rows)


def _checked(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[ListedShot]:
    lines: list[str] = []
    made = [_shot(path, number, row, lines) for number, row in enumerate(rows, 1)]
    counts = Counter(str(row.get("id", "")).strip().lower() for row in rows)
    lines += [f"id {name!r} stands {n} times, expected once: it names the clip" for name, n in counts.items() if n > 1]
    if lines:
        raise RequestError("\n".join([f"{path}:", *(f"  {line}" for line in lines[:20])]))
    return made


def _shot(path: Path, number: int, row: Mapping[str, Any], lines: list[str]) -> ListedShot:
    """One row; what is wrong with it is added to `lines`."""
    name, prompt = (str(row.get(key) or "").strip() for key in ("id", "prompt"))
    where = f"shot {number} ({name[:40]!r})"
    unknown = [str(key) for key in row if key not in COLUMNS]
    lines += [f"{where}: unknown {', '.join(unknown)}; known are {', '.join(COLUMNS)}"] if unknown else []
    if not _NAME.fullmatch(name):
        lines.append(f"{where}: id: expected up to 64 letters, digits, '.', '_' and '-'")
    if not prompt:
        lines.append(f"{where}: prompt: missing")
    seconds = _number(row.get("seconds"), float)
    if seconds is None or not 0 < seconds <= 3600:
        lines.append(f"{where}: seconds: got {row.get('seconds')!r}, expected a number up to 3600")
    seed = _number(row.get("seed"), int) if row.get("seed") not in (None, "") else None
    if row.get("seed") not in (None, "") and (seed is None or not 0 <= seed < 2**64):
        lines.append(f"{where}: seed: got {row.get('seed')!r}, expected a whole number from 0 on")
    image = str(row["image"]).strip() if row.get("image") else ""
    board = path.parent / image if image else None
    if board is not None and not board.is_file():
        lines.append(f"{where}: image: there is no file {board}")
    return ListedShot(name, seconds or 0.0, prompt, None if seed is None else int(seed), board)


def _number(value: Any, kind: type[float]) -> float | None:
    try:
        made = kind(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return made if math.isfinite(made) else None


def _csv(path: Path) -> list[dict[str, Any]]:
    """Rows of a file as programs save it: by comma, semicolon or tab, the last two with decimal commas."""
    raw = path.read_bytes()
    text = raw.decode("utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    head = text.partition("\n")[0]
    mark = max(",;\t", key=head.count)
    cells = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True, skipinitialspace=True)
    names = [name.strip().lower() for name in next(cells, [])]
    return [_row(names, row, mark) for row in cells if any(cell.strip() for cell in row)]


def _row(names: Sequence[str], cells: Sequence[str], mark: str) -> dict[str, Any]:
    """Cells by their columns; empty ones beyond the columns, and below no name, are none."""
    made: dict[str, Any] = dict(zip(names, cells, strict=False))
    if "" in made and not any(cell for name, cell in zip(names, cells, strict=False) if not name):
        del made[""]
    if any(cells[len(names) :]):
        made["more cells than columns"] = cells[len(names) :]
    if mark != "," and made.get("seconds"):
        made["seconds"] = made["seconds"].replace(",", ".")
    return made


def _json(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8-sig"))
    rows = found.get("shots") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RequestError(f'{path}: expected a list of {{"id": ..., "seconds": ..., "prompt": ...}}')
    return rows


def _otio(path: Path) -> list[dict[str, Any]]:
    from .otio_shots import rows  # noqa: PLC0415 - only this form needs OpenTimelineIO

    return rows(path)


LISTS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    ".csv": _csv, ".tsv": _csv, ".json": _json, ".otio": _otio, ".otioz": _otio,
}  # fmt: skip
"""Ending of a list to the function that reads its rows."""
