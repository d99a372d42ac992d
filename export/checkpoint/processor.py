"""The settings of a checkpoint's image processor, wherever a release of transformers has written them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .json_files import read_json

__all__ = ["image_processor"]


def image_processor(path: Path) -> dict[str, Any] | None:
    """The settings, or None where there are none: those in processor_config.json go first, as in transformers 5."""
    whole = read_json(path / "processor_config.json") or {}
    nested = whole.get("image_processor")
    found = nested if isinstance(nested, dict) else read_json(path / "preprocessor_config.json")
    return None if found is None else {key: value for key, value in found.items() if _said(key, value)}


def _said(key: str, value: Any) -> bool:
    """A null is not said, but for a step (`do_rescale`), which transformers then leaves out."""
    return value is not None or key.startswith("do_")
