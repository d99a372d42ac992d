"""Slates as many productions write them: broad values, labels of several countries, more dates, other entries.

The drawing paths that know no renderer take their texts from here; `fields` keeps the evaluation sets' own, narrower
ones. Knows no pixels.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from random import Random
from string import digits

from .fields import FIELDS, FIRST_DAY, LAST_DAY, LETTERS, MONTHS, RATES, Slate

__all__ = ["OTHER", "STRANGE", "Entry", "draw_broad_slate", "draw_entries", "draw_name", "draw_title"]

OTHER = "other"

LABELS = {
    "scene": (
        *("SCENE", "SCENE", "SCENE", "SC", "SC.", "SCN", "SLATE", "SLATE", "SZENE", "SCENA", "ESCENA", "SCENE NO."),
        *("SCENE #", "SLATE NO."),
    ),
    "take": ("TAKE", "TAKE", "TAKE", "TAKE", "TK", "TK.", "T", "PRISE", "TOMA", "TAKE NO.", "TAKE #"),
    "roll": (
        *("ROLL", "ROLL", "ROLL", "REEL", "REEL", "MAG", "CARD", "ROLLE", "BOBINE", "RL.", "CAM ROLL", "CAM. ROLL"),
        *("CAMERA ROLL", "ROLL NO."),
    ),
    "date": ("DATE", "DATE", "DATE", "DATE", "DATE", "DATUM", "FECHA", "DATA", "SHOOT DATE"),
    "fps": ("FPS", "FPS", "FPS", "F.P.S.", "F.P.S", "RATE", "B/S", "F/S", "FRAME RATE", "FRAME RATE", "FRAMES/S"),
}
"""As often as they stand here."""

LONG_MONTHS = (
    *("JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE"),
    *("JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER"),
)
PEOPLE = (
    *("DIRECTOR", "DIR.", "DIR", "REGIE", "REGIA", "CAMERA", "KAMERA", "D.O.P.", "DOP", "DP", "CAMERAMAN", "CAM OP"),
    *("CINEMATOGRAPHER", "PRODUCER", "A.D.", "SOUND MIXER"),
)
TITLES = ("PROD.", "PRODUCTION", "TITLE", "SHOW", "FILM", "PROJECT", "PROD", "PROD. CO.", "EPISODE TITLE")
SMALL = (
    ("LENS", ("32mm", "50mm", "85mm", "T2.8", "35", "24-70", "18MM", "100 MACRO", "65mm T2")),
    ("FILTER", ("ND.6", "ND 9", "POLA", "CLEAR", "85", "IRND", "1/8 BPM", "NONE")),
    ("STOP", ("T2.8", "T4", "5.6", "T1.5", "8 1/2")),
    ("ISO", ("800", "400", "1280", "320", "EI 500")),
    ("WB", ("5600K", "3200", "4300K")),
    ("SHUTTER", ("180", "172.8", "1/50", "90")),
    ("SOUND", ("SYNC", "MOS", "S004", "SR 12", "WILD")),
    ("SOUND ROLL", ("4", "12", "S03", "007")),
    ("EP", ("104", "3", "212", "1", "6")),
    ("UNIT", ("2ND", "MAIN", "B", "SPLINTER", "1")),
    ("CAM", ("A", "B", "C", "D")),
    ("DAY", ("4", "12 OF 30", "21", "7")),
    ("T.C.", ("14:22", "09:41:07", "00:12")),
    ("NOTES", ("PICK UP", "INSERT", "VFX PLATE", "TAIL SLATE", "NO GOOD", "48 HRS")),
)
SWITCHES = (("INT", "EXT"), ("DAY", "NITE"), ("SYNC", "MOS"), ("DAY", "NIGHT"), ("DAWN", "DUSK"), ("INT.", "EXT."))
SYLLABLES = (
    *("an", "ar", "bel", "bo", "ca", "co", "da", "den", "do", "el", "en", "fa", "fi", "ga", "ha", "hol", "in", "ja"),
    *("ka", "ki", "la", "len", "lo", "ma", "mi", "mor", "na", "ni", "no", "ol", "or", "pa", "pe", "ra", "ri", "ro"),
    *("sa", "se", "so", "ta", "te", "ti", "tor", "un", "va", "ver", "vi", "wa", "win", "ya", "yo", "ze", "zu"),
)

STRANGE = 0.15
"""Share of training's scenes and rolls that are any digits and letters: a reader that knows what is usual reads what is
usual. The validation sets have none.
"""


@dataclass(frozen=True)
class Entry:
    """One thing that is written on a board."""

    field: str
    """One of FIELDS, or OTHER."""
    label: str
    value: str
    choices: tuple[str, ...] = ()
    """Printed words of which one is circled; such an entry has neither label nor value."""


def draw_broad_slate(rng: Random, strange: float = 0.0) -> Slate:
    """Values for one slate, a share `strange` of scenes and rolls unlike any. Two in five lack something; two fields at
    least are there.
    """
    values = {
        "scene": _any(rng, 1, 5) if strange and rng.random() < strange else _scene(rng),
        "take": _take(rng),
        "roll": _any(rng, 2, 5) if strange and rng.random() < strange else _roll(rng),
        "date": FIRST_DAY + datetime.timedelta(days=rng.randint(0, (LAST_DAY - FIRST_DAY).days)),
        "fps": rng.choice(RATES),
    }
    if rng.random() < 0.4:
        for name in rng.sample(FIELDS, rng.choice((1, 1, 1, 2, 2, 3))):
            values[name] = None
    return Slate(**values)  # type: ignore[arg-type]


def draw_entries(rng: Random, slate: Slate) -> list[Entry]:
    """The entries of a board, the asked ones first; a field that is missing has an empty cell or none."""
    case = rng.choice((str.upper, str.upper, str.upper, str.title, str.title, str.lower))
    colon = ":" if rng.random() < 0.15 else ""
    entries = []
    for name in FIELDS:
        value = _written(rng, slate, name)
        if value or rng.random() < 0.5:
            label = case(rng.choice(LABELS[name])) if rng.random() > 0.1 else str(rng.choice(LABELS[name]))
            entries.append(Entry(name, label + colon, value))
    rng.shuffle(entries)
    entries.extend(_other(rng, case, colon) for _ in range(rng.choice((0, 1, 2, 2, 3, 3, 4, 5))))
    return entries


def draw_title(rng: Random) -> str:
    """A made-up title."""
    words = [_word(rng) for _ in range(rng.choice((1, 2, 2, 3)))]
    return _cased(rng, " ".join((["The"] if rng.random() < 0.2 else []) + words))


def draw_name(rng: Random) -> str:
    """A made-up name."""
    first = f"{rng.choice(LETTERS)}." if rng.random() < 0.5 else _word(rng)
    return _cased(rng, f"{first} {_word(rng)}")


def _other(rng: Random, case: object, colon: str) -> Entry:
    kind = rng.random()
    if kind < 0.3:
        label, value = rng.choice(PEOPLE), draw_name(rng)
    elif kind < 0.5:
        label, value = rng.choice(TITLES), draw_title(rng)
    elif kind < 0.75:
        label, values = rng.choice(SMALL)
        value = rng.choice(values) if rng.random() < 0.8 else ""
    else:
        words = [word for pair in rng.sample(SWITCHES, rng.choice((1, 1, 2))) for word in pair]
        return Entry(OTHER, "", "", tuple(words))
    return Entry(OTHER, case(label) + colon, value)  # type: ignore[operator]


def _scene(rng: Random) -> str:
    number = str(rng.choice((rng.randint(1, 9), rng.randint(1, 99), rng.randint(1, 199), rng.randint(100, 999))))
    kind, letter = rng.random(), rng.choice(LETTERS)
    if kind < 0.36:
        return number
    if kind < 0.76:
        return number + letter
    if kind < 0.84:
        return number + letter + rng.choice(LETTERS)
    if kind < 0.88:
        return letter + number
    if kind < 0.96:
        return f"{rng.randint(1, 399)}-{rng.randint(1, 19)}{rng.choice(('', letter))}"
    return f"{letter}{number}{rng.choice(LETTERS)}"


def _take(rng: Random) -> str:
    return str(
        rng.choice((rng.randint(1, 5), rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 24), rng.randint(1, 60)))
    )


def _any(rng: Random, least: int, most: int) -> str:
    return "".join(rng.choice(rng.choice((digits, digits, LETTERS))) for _ in range(rng.randint(least, most)))


def _roll(rng: Random) -> str:
    kind = rng.random()
    letter = rng.choice("ABCD") if rng.random() < 0.5 else rng.choice(LETTERS)
    number = rng.randint(1, 999) if rng.random() < 0.4 else rng.randint(1, 60)
    if kind < 0.55:
        return f"{letter}{number:03}"
    if kind < 0.75:
        return f"{letter}{number % 100:02}"
    if kind < 0.85:
        return f"{number:03}"
    if kind < 0.9:
        return str(number)
    if kind < 0.96:
        return f"{letter}{number:03}C{rng.randint(1, 30):03}"
    return f"{letter}{rng.choice(LETTERS)}{number % 100:02}" if kind < 0.98 else f"{letter}{number % 10}"


def _written(rng: Random, slate: Slate, name: str) -> str:
    """How the value stands on the board; empty where there is none."""
    value = getattr(slate, name)
    if value is None:
        return ""
    if name == "fps":
        return f"{value} {rng.choice(('FPS', 'fps'))}" if rng.random() < 0.06 else str(value)
    return _date(rng, value) if name == "date" else str(value)


def _date(rng: Random, date: datetime.date) -> str:
    """In any form that is not ambiguous: see the README for which number is the month."""
    day, month, year, short = date.day, date.month, date.year, date.year % 100
    kind = rng.random()
    if kind < 0.22:
        separator = rng.choice("----/.")
        return f"{year}{separator}{month:02}{separator}{day:02}"
    if kind < 0.42:
        return rng.choice(
            (f"{day:02}.{month:02}.{year}", f"{day}.{month}.{short:02}", f"{day:02}.{month:02}.{short:02}")
        )
    if kind < 0.64:
        first, second = (day, month) if day > 12 and rng.random() < 0.5 else (month, day)
        form = rng.choice(("{:02}/{:02}/{}", "{}/{}/{}", "{:02}/{:02}/{}"))
        return form.format(first, second, year if rng.random() < 0.5 else f"{short:02}")
    return _named(rng, date)


def _named(rng: Random, date: datetime.date) -> str:
    """With the month's name."""
    name = LONG_MONTHS[date.month - 1] if rng.random() < 0.12 else MONTHS[date.month - 1]
    name = name if rng.random() < 0.6 else name.capitalize()
    year = date.year if rng.random() < 0.6 else f"{date.year % 100:02}"
    kind = rng.random()
    if kind < 0.4:
        separator = rng.choice("  -")
        return separator.join((str(date.day), name, str(year)))
    if kind < 0.55:
        return f"{date.day:02}-{name}-{year}"
    return f"{name} {date.day}{rng.choice((',', ''))} {date.year}"


def _word(rng: Random) -> str:
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((1, 2, 2, 3)))).capitalize()


def _cased(rng: Random, text: str) -> str:
    return text.upper() if rng.random() < 0.4 else text
