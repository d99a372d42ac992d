"""OUT.html: every shot with its thumbnail, reading, confidence and time codes; one file without scripts or links.

The form is in log.html.jinja, on the page that other pages of shots use as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...console.lines import one_line
from ..clip import Clip
from ..slate import FIELDS, NO_SLATE
from .log import Log, label, named_by, read_text

__all__ = ["pages", "pieces"]

HERE = Path(__file__).parent
LEVELS = ((0.9, "high"), (0.6, "middle"), (0.0, "low"))


def pages(*folders: Path) -> Environment:
    """Templates of `folders` that extend page.html.jinja; `line` makes one line of a stranger's text."""
    loader = FileSystemLoader([*folders, HERE])
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["line"] = one_line
    return made


def pieces(log: Log) -> Iterator[str]:
    """The page, shot by shot."""
    made = pages()
    made.filters |= {"label": label, "level": _level, "name": _name, "named_by": named_by, "notes": _notes}
    made.filters["read_text"] = read_text
    page = made.get_template("log.html.jinja")
    yield from page.generate(title=log.name, log=log, fields=FIELDS, no_slate=NO_SLATE)


def _level(confidence: float) -> str:
    return next(name for least, name in LEVELS if confidence >= least)


def _name(file: str) -> str:
    return Path(file).name


def _notes(clip: Clip) -> str:
    """A line about a clip: its time codes, rate, peculiarities, size and folder."""
    facts = clip.facts
    assert facts is not None, "a clip with shots was read"
    begin, end = (facts.at(moment)["timecode"] for moment in (0.0, facts.seconds))
    notes = [f"{begin} to {end}", f"{float(facts.timebase.rate):.6g} fps{' drop-frame' if facts.drop else ''}"]
    notes += [*(["variable rate"] if facts.variable else []), *facts.remarks]
    notes += [] if facts.timecode else ["no time code in the file"]
    return " \u00b7 ".join([*notes, f"{facts.width}\u00d7{facts.height}", str(Path(clip.file).parent)])
