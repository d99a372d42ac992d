"""How well readings match the truth: slates, fields, characters, and confidence. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass, field

from a2d.calibration.verify.intervals import wilson

from .fields import FIELDS, MISSING, NO_SLATE, parse

__all__ = ["SURE", "Tally"]


SURE = (0.0, 0.5, 0.7, 0.9, 0.95)
"""Lower ends of the classes of confidence."""


@dataclass
class Tally:
    """Counts over the frames of one set, read in one way."""

    frames: int = 0
    exact: int = 0
    as_slate: int = 0
    """Readings that begin as a slate's."""
    fields: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIELDS, 0))
    characters: int = 0
    """Of all values that are on the slates."""
    characters_right: int = 0
    """Of them, those that stand at their place in the reading's value."""
    sure: dict[float, list[int]] = field(default_factory=lambda: {low: [0, 0] for low in SURE})
    """By confidence: readings, and how many of them are right."""
    tokens: int = 0
    """Up to the stop token."""
    forwards: int = 0
    seconds: float = 0.0

    def add(self, truth: str, read: str, tokens: int, forwards: int, seconds: float, confidence: float = 0.0) -> None:
        """One frame; `confidence` is the probability that the model gave the whole answer."""
        self.frames += 1
        self.exact += read == truth
        self.as_slate += read.startswith(FIELDS[0])
        self.tokens, self.forwards, self.seconds = (
            self.tokens + tokens,
            self.forwards + forwards,
            self.seconds + seconds,
        )
        wanted, got = parse(truth), parse(read) or {}
        for name in FIELDS:
            self.fields[name] += wanted is not None and got.get(name) == wanted[name]
            if wanted is not None and wanted[name] != MISSING:
                self.characters += len(wanted[name])
                self.characters_right += sum(a == b for a, b in zip(wanted[name], got.get(name, ""), strict=False))
        readings = self.sure[max(low for low in SURE if low <= confidence)]
        readings[0] += 1
        readings[1] += read == truth

    def facts(self, truth_is_slate: bool) -> dict[str, object]:
        """Everything for a JSON file."""
        low, high = wilson(self.exact, self.frames)
        facts: dict[str, object] = {
            "frames": self.frames,
            "exact": self.exact / max(self.frames, 1),
            "interval": [round(low, 4), round(high, 4)],
            "tokens_per_forward": self.tokens / max(self.forwards, 1),
            "sure": {str(low): counts for low, counts in self.sure.items()},
            "milliseconds": 1000 * self.seconds / max(self.frames, 1),
        }
        if truth_is_slate:
            fields = {name: hits / max(self.frames, 1) for name, hits in self.fields.items()}
            return facts | {"fields": fields, "characters": self.characters_right / max(self.characters, 1)}
        return facts | {"read_as_slate": self.as_slate / max(self.frames, 1), "expected": NO_SLATE}

    def cell(self) -> str:
        """`96.2 (94.1-97.6)`: exact match in percent with its interval."""
        low, high = wilson(self.exact, self.frames)
        return f"{100 * self.exact / max(self.frames, 1):.1f} ({100 * low:.1f}-{100 * high:.1f})"
