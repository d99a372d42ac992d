"""The settings of a checkpoint's tokenizer, from the files that transformers 5 takes them from. Encodes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .json_files import read_json

__all__ = ["special_texts", "tokenizer_settings"]

MAP = "special_tokens_map.json"


def tokenizer_settings(path: Path) -> dict[str, Any]:
    """tokenizer_config.json; special tokens of special_tokens_map.json go before where it lists no added tokens.

    That is an older form, which transformers still reads. Raises CheckpointError.
    """
    settings = read_json(path / "tokenizer_config.json") or {}
    older = read_json(path / MAP) or {}
    if "added_tokens_decoder" in settings:
        return settings
    return {**settings, **{key: value for key, value in older.items() if value is not None}}


def special_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens by the names under which a chat template finds them, those of the model's own among them."""
    extra = settings.get("extra_special_tokens")
    named = {**settings, **(extra if isinstance(extra, Mapping) else {})}
    texts = {key: value.get("content") if isinstance(value, Mapping) else value for key, value in named.items()}
    own = set(extra) if isinstance(extra, Mapping) else set()
    return {
        key: text for key, text in texts.items() if isinstance(text, str) and (key.endswith("_token") or key in own)
    }
