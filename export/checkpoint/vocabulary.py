"""Token texts to ids, from tokenizer.json as data. Knows no encoding rules: that is the tokenizers library's work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...engines.errors import ContractError
from .directory import Checkpoint

__all__ = ["Vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """Every token's id by its text, and the added (special) ones apart."""

    ids: Mapping[str, int]
    added: Mapping[str, int]

    @staticmethod
    def of(checkpoint: Checkpoint) -> Vocabulary:
        """The checkpoint's vocabulary; empty if it has no tokenizer."""
        data = checkpoint.tokenizer or {}
        added = {str(t["content"]): int(t["id"]) for t in data.get("added_tokens") or [] if {"content", "id"} <= set(t)}
        return Vocabulary({**_model(data.get("model")), **added}, added)

    def notes(self, rows: int, mask: int | None) -> list[str]:
        """Remarks for people about a model with so many rows of embedding under this tokenizer."""
        if not self.ids:
            return ["no tokenizer.json: the bundle is driven by token ids"]
        known = set(self.ids.values())
        notes, beyond = [], sorted(i for i in known if i >= rows)
        padded = rows - len([i for i in known if i < rows])
        if padded:
            notes.append(f"vocabulary: {rows} rows, {padded} of them no token of tokenizer.json; those are never text")
        if beyond:
            notes.append(f"tokenizer.json has tokens without a row, {beyond[:5]}: prompts that hold them are refused")
        if mask is not None and mask not in known:
            notes.append(f"mask {mask} is no token of tokenizer.json: right where the release trained an unused row")
        return notes

    def id(self, text: str, name: str) -> int:
        """The id that `text` is, or names. Raises ContractError for a text that is no single token."""
        if text.lstrip("-").isdigit():
            return int(text)
        if text in self.ids:
            return self.ids[text]
        known = ", ".join(self.added) if self.added else "none: the checkpoint has no tokenizer.json, so give an id"
        raise ContractError(
            f"{name}: got {text!r}, expected a token id or the text of one token. Special tokens: {known}"
        )


def _model(model: Any) -> dict[str, int]:
    vocab = (model or {}).get("vocab") or {}
    if isinstance(vocab, list):  # Unigram: [text, score] in order of id
        return {str(row[0]): i for i, row in enumerate(vocab)}
    return dict(vocab)
