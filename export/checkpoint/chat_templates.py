"""The chat templates of a checkpoint, by name, from all places where they may stand. Renders none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .json_files import read_json, read_text

__all__ = ["DEFAULT", "chat_templates"]

DEFAULT = "default"
"""The template that is used where nobody names one."""


def chat_templates(path: Path, tokenizer_config: Mapping[str, Any]) -> dict[str, str]:
    """Templates by name: the newest place goes first, as in transformers. Raises CheckpointError."""
    beside = {file.stem: read_text(file) or "" for file in sorted(path.glob("additional_chat_templates/*.jinja"))}
    text = read_text(path / "chat_template.jinja")
    if text is not None or beside:  # files of their own: transformers then looks nowhere else
        return {**({} if text is None else {DEFAULT: text}), **beside}
    boxed = (read_json(path / "chat_template.json") or {}).get("chat_template", tokenizer_config.get("chat_template"))
    return _named(boxed)


def _named(boxed: Any) -> dict[str, str]:
    """One text, `[{"name": ..., "template": ...}]`, or `{name: template}`."""
    if isinstance(boxed, str):
        return {DEFAULT: boxed}
    if isinstance(boxed, list):
        boxed = {row.get("name"): row.get("template") for row in boxed if isinstance(row, dict)}
    rows = boxed.items() if isinstance(boxed, dict) else ()
    return {name: text for name, text in rows if isinstance(name, str) and isinstance(text, str)}
