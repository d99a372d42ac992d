"""The `a2d` object of a checkpoint: what its author says of it in generation_config.json or config.json.

    "a2d": {"mask_token_id": 304, "block_size": 8,
            "prompt": "read the slate", "letterbox": {"height": 112, "width": 224},
            "sentences": ["take {take:-|[0-9]+}", "no slate"], "unknown": "-"}

Fields of the decode contract stand in it under their own names (`contract.py`). Beside them stands how the model is to
be asked: the prompt where a caller gives none, the one size in which it wants its frames, and the sentences in which it
answers, as templates, with its word for a value that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ...engines.errors import ContractError
from ...runtime.decode.contract import DecodeContract
from ...runtime.inputs.images import Letterbox
from ...runtime.schema import Violations, from_json
from .directory import Checkpoint

__all__ = ["Asking", "asking", "contract_fields", "own_objects"]


@dataclass(frozen=True)
class Asking:
    """The question that the model is asked, its frame's size, and its answers; None where nobody says it."""

    prompt: str | None = None
    letterbox: Letterbox | None = None
    sentences: tuple[str, ...] | None = None
    unknown: str | None = None
    origins: dict[str, str] = field(default_factory=dict)
    """Place where each value stood, by field."""

    def lines(self) -> list[str]:
        """One line a value that was found, for people."""
        box = self.letterbox
        shown = {"prompt": repr(self.prompt), "letterbox": box and f"{box.width}x{box.height}"}
        shown |= {"sentences": str(len(self.sentences or ())), "unknown": repr(self.unknown)}
        return [f"{name:<17} {shown[name]:<14} {origin}" for name, origin in self.origins.items()]


KEYS = ("prompt", "letterbox", "sentences", "unknown")
"""Fields of Asking that the object may hold."""


def own_objects(checkpoint: Checkpoint) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(file, object) of each file that has one, nearest first. Raises ContractError for one with other keys."""
    for file, data in (("generation_config.json", checkpoint.generation), ("config.json", checkpoint.config)):
        if (own := data.get("a2d")) is not None:
            _check_keys(file, own)
            yield file, own


def contract_fields(own: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an object that is the decode contract's."""
    return {name: value for name, value in own.items() if name not in KEYS}


def asking(given: Asking, checkpoint: Checkpoint) -> Asking:
    """Resolve the question: as `given` by the command line, else as the objects say. Raises ContractError."""
    values = {name: value for name in KEYS if (value := getattr(given, name)) is not None}
    origins = dict.fromkeys(values, "command line")
    for file, own in own_objects(checkpoint):
        said = {name: own[name] for name in KEYS if own.get(name) is not None}
        try:
            made = from_json(Asking, said)
        except Violations as error:
            raise ContractError(f"{file}: a2d has values that cannot be:\n{error}") from error
        for name in said:
            values.setdefault(name, getattr(made, name))
            origins.setdefault(name, f"{file}, a2d")
    return Asking(**values, origins=origins)


def _check_keys(file: str, own: Any) -> None:
    known = [*(f.name for f in fields(DecodeContract)), *KEYS]
    if not isinstance(own, dict) or not set(own) <= set(known):
        wrong = sorted(set(own) - set(known)) if isinstance(own, dict) else type(own).__name__
        raise ContractError(f"{file}: a2d has {wrong}, expected an object with keys of: {', '.join(known)}")
