"""transformers' tokenizer and chat templates, loaded from the checkpoint, against the ones that a bundle will have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ...runtime.bundle.manifest import ParityRow
from ...runtime.inputs.tokenizer import ChatTemplate, Text
from ..checkpoint.directory import Checkpoint
from ..families.quiet import quiet
from .tolerances import FAIL, PASS

__all__ = ["TEXTS", "Difference", "stock_tokenizers", "text_rows"]

TEXTS = (
    "What is 17 times 23? Explain every step.",
    "  two blanks, a tab\tand\n\nlines \n",
    "naïve café Straße ÅÄÖ 12345,67 €",
    "読み取って 今日は晴れ 안녕 Привет",
    "def median(values):\n    return sorted(values)[len(values) // 2]",
    "cafe\u0301 in two code points",
    "👩‍🎬 it's DON'T we'll",
)

USER, ASSISTANT = {"role": "user", "content": "hello there"}, {"role": "assistant", "content": "Good morning."}
TALKS: tuple[list[dict[str, Any]], ...] = (
    [USER],
    [{"role": "system", "content": "Be short."}, USER],
    [USER, ASSISTANT, {"role": "user", "content": "and now?"}],
)
PICTURED: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is this?"}]}
]

OTHERWISE = (
    "transformers' {} encodes {} of {} texts otherwise than the tokenizer.json that it is made of, as {!r}; "
    "a2d follows tokenizer.json"
)
"""Settings, files and class of a tokenizer that do not go together."""

Difference = tuple[ParityRow, str]
"""A row of the table, and words on the first difference; empty where there is none."""


def stock_tokenizers(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """The tokenizer of transformers as tokenizer.json has it, and that of the class that its settings name."""
    import transformers  # noqa: PLC0415 - a second to import

    where = {"local_files_only": True, "trust_remote_code": False}
    with quiet():
        plain = transformers.PreTrainedTokenizerFast.from_pretrained(checkpoint.path, **where)
        if not checkpoint.tokenizer_config.get("tokenizer_class"):
            return plain, plain
        return plain, transformers.AutoTokenizer.from_pretrained(checkpoint.path, **where)


def text_rows(
    checkpoint: Checkpoint, template: str | None, special: dict[str, str], sees: bool
) -> tuple[list[Difference], list[str]]:
    """Rows of the tokenizer, and of the chat template where it is the checkpoint's own; and what people should know."""
    (plain, named), ours = stock_tokenizers(checkpoint), Text(checkpoint.path / "tokenizer.json")
    name = type(named).__name__
    encoded = {text: ours.encode(text, special=True).tolist() for text in TEXTS}
    rows = [_row(f"{len(TEXTS)} texts, as tokenizer.json", [(repr(t), _ids(plain, t), e) for t, e in encoded.items()])]
    otherwise = [text for text, ids in encoded.items() if _ids(named, text) != ids]
    notes = [OTHERWISE.format(name, len(otherwise), len(TEXTS), otherwise[0])] if otherwise else []
    if template is not None and template == checkpoint.chat_template:
        talks = [*TALKS, PICTURED] if sees else [*TALKS]
        found = list(_rendered(checkpoint, named, ChatTemplate(template, special), talks))
        rows += [_row(f"{len(found)} conversations, as {name}", found)] if found else []
    return rows, notes


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [int(i) for i in tokenizer(text)["input_ids"]]


def _rendered(
    checkpoint: Checkpoint, theirs: Any, ours: ChatTemplate, talks: list[list[dict[str, Any]]]
) -> Iterator[tuple[str, str, str]]:
    """Conversations as both write them; those that both refuse say nothing."""
    # A template of a processor's, in chat_template.json, is none of the tokenizer's.
    told = checkpoint.chat_template if (checkpoint.path / "chat_template.json").exists() else None
    chosen = told or (checkpoint.chosen_template if isinstance(theirs.chat_template, dict) else None)
    more = {"chat_template": chosen, "tokenize": False, "add_generation_prompt": True}
    for talk in talks:
        a = _attempt(partial(theirs.apply_chat_template, talk, **more))
        b = _attempt(partial(ours.render, talk))
        if a is not None or b is not None:
            yield repr(talk), repr(a), repr(b)


def _attempt(make: Callable[[], str]) -> str | None:
    try:
        return make()
    except Exception:  # a template refuses by whatever its expressions raise
        return None


def _row(check: str, pairs: list[tuple[str, Any, Any]]) -> Difference:
    wrong = [(what, a, b) for what, a, b in pairs if a != b]
    share = len(wrong) / max(len(pairs), 1)
    row = ParityRow("prompt", check, share, share, FAIL if wrong else PASS)
    return row, "{} is {} to transformers, and {} to a2d".format(*wrong[0]) if wrong else ""
