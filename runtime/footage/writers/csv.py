"""OUT.csv: one row for each shot, as RFC 4180 wants it, in UTF-8."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from ..slate import FIELDS
from .log import Log, Placed, named_by, read_text

__all__ = ["HEADS", "pieces"]

PLACE = ("file", "shot", "start", "end", "start timecode", "end timecode", "rate")
HEADS = (*PLACE, *FIELDS, "slate seen in shot", "confidence", "text")


def pieces(log: Log) -> Iterator[str]:
    """The file, row by row. Scene, take and the rest are those of the slate that names the shot."""
    yield _row(HEADS)
    for placed in log.shots():
        yield _row(_cells(placed))


def _cells(placed: Placed) -> list[str]:
    start, end = (placed.facts.at(moment) for moment in (placed.shot.start, placed.shot.end))
    fields, namer = named_by(placed), placed.slate or placed.shot
    cells = [placed.clip.file, str(placed.number), str(start["seconds"]), str(end["seconds"])]
    cells += [start["timecode"], end["timecode"], placed.facts.rate, *(fields.get(name, "") for name in FIELDS)]
    return [*cells, str(placed.slate_number or ""), f"{namer.confidence:.4f}", read_text(placed)]


def _row(cells: Sequence[str]) -> str:
    row = io.StringIO()
    csv.writer(row).writerow(cells)
    return row.getvalue()
