"""OUT.html: every shot with its thumbnail, reading, confidence and time codes; one file without scripts or links."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from ...console.one_line import one_line
from ..clip import Clip, Facts
from ..slate import FIELDS, NO_SLATE
from .log import Log, Placed, label, named_by, read_text

__all__ = ["pieces"]

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --soft: #6b6b70; --line: #d8d8dc; --paper: #fff; --card: #f6f6f7;
  --high: #1f8f4e; --middle: #a97600; --low: #c0392b }
@media (prefers-color-scheme: dark) { :root { --ink: #eaeaec; --soft: #9a9aa2; --line: #3a3a40; --paper: #151517;
  --card: #1e1e21; --high: #5cc98a; --middle: #e0b040; --low: #ff7b6b } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 76rem; padding: 0 1.5rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .1rem; overflow-wrap: anywhere }
p { color: var(--soft); margin: 0 0 .8rem } .bad { color: var(--low) }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)) }
li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow: hidden }
img { display: block; width: 100%; aspect-ratio: 16 / 9; object-fit: contain; background: #000 }
li > div { padding: .5rem .8rem .7rem } b { font-size: 1.05rem } .code, td { font-variant-numeric: tabular-nums }
.code { color: var(--soft); font-size: .85rem } .text { margin: .3rem 0 0; color: inherit; overflow-wrap: anywhere }
table { border-collapse: collapse; font-size: .85rem; margin-top: .3rem } td { padding: 0 .8rem 0 0 }
td:first-child { color: var(--soft) } .high { color: var(--high) } .middle { color: var(--middle) }
.low { color: var(--low) }
""".strip()

LEVELS = ((0.9, "high"), (0.6, "middle"), (0.0, "low"))


def pieces(log: Log) -> Iterator[str]:
    """The page, shot by shot."""
    title = _text(log.name)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    yield f'<!doctype html>\n<html lang="en"><head>{head}<style>\n{STYLE}\n</style></head>\n<body>\n<h1>{title}</h1>\n'
    yield _summary(log)
    file = None
    for placed in log.shots():
        if placed.clip.file != file:
            yield ("</ol>\n" if file is not None else "") + _clip_head(placed.clip, placed.facts) + "<ol>\n"
            file = placed.clip.file
        yield _shot(placed)
    yield "</ol>\n" if file is not None else ""
    yield from (_fault(clip) for clip in (*log.totals.faults, *log.totals.passed_over))
    yield "</body></html>\n"


def _summary(log: Log) -> str:
    sums, faults = log.totals, len(log.totals.faults)
    bad = f' <span class="bad">{faults} could not be read; they stand at the end.</span>' if faults else ""
    missing = len(sums.passed_over)
    bad += f" {missing} files that are no clips were passed over; they stand at the end as well." if missing else ""
    base = log.timebase
    counted = f"{float(base.rate):.6g} frames a second{', drop-frame' if base.drop else ''}"
    counts = f"{sums.clips} clips, {sums.shots} shots, {sums.slates} slates"
    counts += sums.doubts
    return f"<p>{counts}; the timeline counts {counted}.{bad}</p>\n"


def _clip_head(clip: Clip, facts: Facts) -> str:
    path = Path(clip.file)
    begin, end = (facts.at(moment)["timecode"] for moment in (0.0, facts.seconds))
    notes = [f"{begin} to {end}", f"{float(facts.timebase.rate):.6g} fps{' drop-frame' if facts.drop else ''}"]
    notes += [*(["variable rate"] if facts.variable else []), *facts.remarks]
    notes += [] if facts.timecode else ["no time code in the file"]
    notes += [f"{facts.width}\u00d7{facts.height}", str(path.parent)]
    said = " \u00b7 ".join(notes)
    return f"<h2>{_text(path.name)}</h2>\n<p>{_text(said)}</p>\n"


def _shot(placed: Placed) -> str:
    facts, shot = placed.facts, placed.shot
    begin, end = facts.at(shot.start), facts.at(shot.end)
    picture = f'<img src="data:image/jpeg;base64,{shot.picture}" alt="shot {placed.number}" loading="lazy">'
    length = f"{end['seconds'] - begin['seconds']:.2f} s"
    code = f'<div class="code">{begin["timecode"]} \u2013 {end["timecode"]} \u00b7 {length}</div>'
    return f"<li>{picture}<div><b>{_text(label(placed))}</b>{code}{_reading(placed)}</div></li>\n"


def _reading(placed: Placed) -> str:
    shot = placed.shot
    if shot.fields:
        marked = named_by(placed)
        rows = [
            f"<tr><td>{name}</td><td>{_text(marked.get(name, '-'))}</td>{_cell(shot.certainty[name])}</tr>"
            for name in FIELDS
        ]
        return f"<table>{''.join(rows)}</table>"
    slate = placed.slate
    by = f'<p class="code">slate in shot {placed.slate_number}, {_share(slate.confidence)}</p>' if slate else ""
    sure = "" if slate and shot.text == NO_SLATE else _share(shot.confidence)
    said = f'<p class="text">{_text(read_text(placed))} {sure}</p>' if shot.text else ""
    return said + by


def _cell(confidence: float) -> str:
    return f"<td>{_share(confidence)}</td>"


def _share(confidence: float) -> str:
    level = next(name for least, name in LEVELS if confidence >= least)
    return f'<span class="{level}">{100 * confidence:.0f} %</span>'


def _fault(clip: Clip) -> str:
    return f'<h2>{_text(Path(clip.file).name)}</h2>\n<p class="bad">{_text(clip.fault or "")}</p>\n'


def _text(text: str) -> str:
    return escape(one_line(text))
