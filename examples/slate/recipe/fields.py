"""What stands on a slate: values, the many ways to write them, and the one answer. Knows no pixels."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from random import Random

__all__ = [
    "FIELDS",
    "LONGEST_VALUE",
    "MISSING",
    "NO_SLATE",
    "VALUES",
    "Slate",
    "answer",
    "draw_label",
    "draw_slate",
    "parse",
    "served",
    "written",
]

FIELDS = ("scene", "take", "roll", "date", "fps")
NO_SLATE = "no slate"
MISSING = "-"
LONGEST_VALUE = 10
"""Characters of the longest value in an answer: a date."""

VALUES = {
    "scene": "[A-Z]{0,2}[0-9]{1,4}(-[0-9]{1,3})?[A-Z]{0,3}",
    "take": "[0-9]{1,3}",
    "roll": "[A-Z]{0,2}[0-9]{1,4}(C[0-9]{1,4})?",
    "date": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "fps": "[0-9]{1,3}([.][0-9]{1,3})?",
}
"""Regular expressions of values as answers have them, of these slates and of broad ones."""

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""No I and no O: film sets skip them, since they look like 1 and 0."""

RATES = ("24", "24", "24", "23.976", "23.98", "25", "25", "29.97", "30", "48", "50", "59.94", "60", "96", "100", "120")

LABELS = {
    "scene": ("SCENE", "SC", "SCN", "SC.", "SCENE NO"),
    "take": ("TAKE", "TK", "T", "TAKE NO"),
    "roll": ("ROLL", "REEL", "CAM ROLL", "MAG", "ROLL NO"),
    "date": ("DATE", "DATE", "SHOT ON", "DAY"),
    "fps": ("FPS", "RATE", "FRAME RATE", "F/S"),
}
"""The first one is the plain one: easy slates mostly carry it."""

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

FIRST_DAY, LAST_DAY = datetime.date(2010, 1, 1), datetime.date(2035, 12, 31)


@dataclass(frozen=True)
class Slate:
    """The truth of one slate; None where a field is not on it."""

    scene: str | None
    take: str | None
    roll: str | None
    date: datetime.date | None
    fps: str | None


def answer(slate: Slate | None) -> str:
    """The text that a reader should give."""
    if slate is None:
        return NO_SLATE
    return " ".join(f"{name} {_shown(getattr(slate, name))}" for name in FIELDS)


def parse(text: str) -> dict[str, str] | None:
    """The fields of an answer by name; None for `no slate` and for anything that is not an answer."""
    words = text.split()
    if len(words) != 2 * len(FIELDS) or tuple(words[::2]) != FIELDS:
        return None
    return dict(zip(FIELDS, words[1::2], strict=True))


def draw_slate(rng: Random) -> Slate:
    """Values for one slate. One in three lacks something; two fields at least are there."""
    values = {
        "scene": _scene(rng),
        "take": _take(rng),
        "roll": _roll(rng),
        "date": _date(rng),
        "fps": rng.choice(RATES),
    }
    if rng.random() < 1 / 3:
        for name in rng.sample(FIELDS, rng.choice((1, 1, 1, 2, 2, 3))):
            values[name] = None
    return Slate(**values)  # type: ignore[arg-type]


def draw_label(rng: Random, name: str, variety: float) -> str:
    """A label of this field: the plain one, or with probability `variety` any, in capitals or not."""
    label = rng.choice(LABELS[name]) if rng.random() < variety else LABELS[name][0]
    return label.capitalize() if rng.random() < 0.3 * variety else label


def written(rng: Random, slate: Slate, name: str, variety: float) -> str:
    """How the value stands on the board; empty where there is none."""
    value = getattr(slate, name)
    if value is None:
        return ""
    if name == "date":
        return rng.choice(DATE_FORMS)(value) if rng.random() < variety else value.isoformat()
    if name == "fps" and rng.random() < 0.2 * variety:
        return f"{value} FPS"
    return str(value)


def served(name: str, text: str) -> list[tuple[int, ...]]:
    """For each character of a written value, the characters of its value in the answer that it decides."""
    if not text:
        return []
    if name == "date":
        return _served_date(text)
    length = len(text.split(maxsplit=1)[0])  # "24 FPS" answers 24
    return [(i,) if i < length else () for i in range(len(text))]


def _served_date(text: str) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()] * len(text)
    groups = list(re.finditer(r"\d+|[A-Za-z]+", text))
    for match, part in zip(groups, _order(groups, text), strict=True):
        places, count = _PLACES[part], len(match.group())
        for i in range(count):
            # A name, or a number without its zero, decides all of its part; a short year's first digit the century too.
            if count == 1 or match.group().isalpha():
                found[match.start() + i] = places
            else:
                missing = len(places) - count
                found[match.start() + i] = places[: missing + 1] if i == 0 else (places[i + missing],)
    return found


_PLACES = {"year": (0, 1, 2, 3), "month": (5, 6), "day": (8, 9)}
"""Where the parts of an ISO date stand."""


def _order(groups: list[re.Match[str]], text: str) -> tuple[str, str, str]:
    first = groups[0].group()
    if first.isdigit() and len(first) == 4:
        return "year", "month", "day"
    # A number above 12 is no month: slashes around it put the day first.
    month_first = first.isalpha() or ("/" in text and int(first) <= 12)
    return ("month", "day", "year") if month_first else ("day", "month", "year")


def _shown(value: str | datetime.date | None) -> str:
    if value is None:
        return MISSING
    return value.isoformat() if isinstance(value, datetime.date) else value


def _scene(rng: Random) -> str:
    number = str(rng.choice((rng.randint(1, 9), rng.randint(1, 99), rng.randint(1, 199))))
    letters = rng.choices(("", rng.choice(LETTERS), rng.choice(LETTERS) + rng.choice(LETTERS)), (5, 9, 1))[0]
    return number + letters


def _take(rng: Random) -> str:
    return str(min(rng.randint(1, 9) if rng.random() < 0.7 else rng.randint(1, 40), 40))


def _roll(rng: Random) -> str:
    digits = f"{rng.randint(1, 999) if rng.random() < 0.5 else rng.randint(1, 60):03}"
    kind = rng.random()
    if kind < 0.8:
        return rng.choice(LETTERS) + digits
    return rng.choice(LETTERS) + digits[1:] if kind < 0.9 else digits


def _date(rng: Random) -> datetime.date:
    return FIRST_DAY + datetime.timedelta(days=rng.randint(0, (LAST_DAY - FIRST_DAY).days))


def _day_month_name(date: datetime.date) -> str:
    return f"{date.day} {MONTHS[date.month - 1]} {date.year}"


def _short_month_name(date: datetime.date) -> str:
    return f"{date.day:02}-{MONTHS[date.month - 1]}-{date.year % 100:02}"


def _month_name_day(date: datetime.date) -> str:
    return f"{MONTHS[date.month - 1]} {date.day}, {date.year}"


def _dots(date: datetime.date) -> str:
    return f"{date.day:02}.{date.month:02}.{date.year}"


def _short_dots(date: datetime.date) -> str:
    return f"{date.day}.{date.month}.{date.year % 100:02}"


def _slashes(date: datetime.date) -> str:
    return f"{date.month:02}/{date.day:02}/{date.year}"


def _short_slashes(date: datetime.date) -> str:
    return f"{date.month}/{date.day}/{date.year % 100:02}"


def _year_first_slashes(date: datetime.date) -> str:
    return date.isoformat().replace("-", "/")


# Numbers alone are ambiguous, so the separator decides: dots put the day first, slashes the month, as their
# home countries do. Two-digit years are of this century.
DATE_FORMS = (
    datetime.date.isoformat,
    _day_month_name,
    _short_month_name,
    _month_name_day,
    _dots,
    _short_dots,
    _slashes,
    _short_slashes,
    _year_first_slashes,
)
