"""The card beside an engine file: its ports and the sizes that it was built for, which it does not tell itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import EngineError
from ..protocol import Signature
from ..size_profile import Profile, Range

__all__ = ["Card", "card_of"]

SCHEMA = 1


@dataclass(frozen=True)
class Card:
    """One engine file in words."""

    library: str
    version: str
    sms: tuple[int, ...]
    """GPUs that it runs on."""
    inputs: dict[str, Signature]
    outputs: dict[str, Signature]
    profiles: tuple[Profile, ...]
    """In the engine's order."""
    layers: dict[str, int]
    """Layers of the network by the precision that they compute in."""
    products: dict[str, int]
    """Number of layers that multiply matrices, by precision."""
    seconds: float
    """Build time, in seconds."""

    def write(self, engine: Path) -> Path:
        """Write the card beside the engine file; returns its path."""
        path = card_of(engine)
        path.write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n", encoding="utf-8")
        return path

    @staticmethod
    def read(engine: Path) -> Card:
        """The card beside an engine file. Raises EngineError if there is none, or if it is of a newer a2d."""
        path = card_of(engine)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            schema = data.pop("schema")
            if schema == SCHEMA:
                return _from_json(data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(
                f"{path.name}: cannot be read ({type(error).__name__}: {error}); build it again"
            ) from error
        raise EngineError(f"{path.name}: schema {schema}, this a2d reads {SCHEMA}; update a2d, or build it again")


def card_of(engine: Path) -> Path:
    """Path of an engine file's card."""
    return engine.with_suffix(".json")


def _from_json(data: Mapping[str, Any]) -> Card:
    profiles = tuple(Profile(p["name"], {axis: Range(**r) for axis, r in p["axes"].items()}) for p in data["profiles"])
    inputs, outputs = (
        {n: Signature(s["dtype"], tuple(s["shape"])) for n, s in data[k].items()} for k in ("inputs", "outputs")
    )
    return Card(**{**data, "sms": tuple(data["sms"]), "inputs": inputs, "outputs": outputs, "profiles": profiles})
