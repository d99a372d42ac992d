"""The decode contract of a checkpoint, collected from wherever it is said: the nearest source wins, nothing is guessed.

In this order: the command line, an `a2d` object in generation_config.json or config.json, keys that releases use in
generation_config.json, what a family's code is told at every call, the same keys in config.json, the tokenizer's
special tokens, the family's table, defaults. What no source gives is listed. Knows where
values stand; what they mean is `runtime/decode/contract.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from ..engines.errors import ContractError
from ..runtime.decode import contract as terms
from ..runtime.decode.contract import DecodeContract
from ..runtime.schema import Violations, check_choice, from_json, setting_of, to_json
from .checkpoint.author_config import contract_fields, own_objects
from .checkpoint.directory import Checkpoint
from .checkpoint.turns import special_tokens
from .checkpoint.vocabulary import Vocabulary
from .families.family import Family

__all__ = ["FIELDS", "Flags", "Resolved", "collected", "draft", "mask_text", "resolve"]

FIELDS = tuple(one.name for one in fields(DecodeContract))
"""Fields of the contract, in order."""

_CHOICES = {one.name: table for one in fields(DecodeContract) if (table := setting_of(one).choices) is not None}
"""Meanings of the names that a field may hold, by field."""

_IDS = tuple(one.name for one in fields(DecodeContract) if setting_of(one).tokens)
"""Fields that hold tokens."""

_BLOCK_KEYS = ("block_size", "bd3lm_block_size", "bd_size")

GUESSED = {
    "context_mask": "which rows a row may see",
    "shift": "the row that a token is read from",
    "positions": "how rows are counted",
    "schedule": "how many rows a step accepts",
}
"""Fields whose defaults are a guess for a family that many ways of training end in, and what they decide."""

_LOOKED = {
    "mask_token_id": "config.json and generation_config.json (mask_token_id), the tokenizer's special tokens",
    "stop_token_ids": "generation_config.json and config.json (eos_token_id), tokenizer_config.json (eos_token)",
    "block_size": f"config.json and generation_config.json ({', '.join(_BLOCK_KEYS)})",
    "prompt_alignment": "the family's table",
}

MASK_TEXT = re.compile(r"[<|\[]{1,2}mask[>|\]]{1,2}", re.IGNORECASE)
"""Special tokens that can only be the mask: <|mask|>, <|MASK|>, |<MASK>|, [MASK], <mask>."""


@dataclass(frozen=True)
class Flags:
    """The command line's part of the contract. Tokens are ids or texts: one text, or a tuple of texts."""

    given: Mapping[str, Any] = field(default_factory=dict)
    """Value by field of the contract; a field that is missing was not given."""
    contract: str | None = None
    """A whole contract by name, which the flags of single fields go before."""

    @staticmethod
    def of(contract: str | None = None, **given: Any) -> Flags:
        """Flags from fields of the contract as keywords. Raises ContractError for another keyword."""
        for name in given:
            check_choice("contract field", name, dict.fromkeys(FIELDS, ""))
        return Flags(given, contract)


@dataclass(frozen=True)
class Resolved:
    """The contract, and for each field where its value stood."""

    contract: DecodeContract
    origins: Mapping[str, str]

    guessed: tuple[str, ...] = ()
    """Fields that nothing says, of a family that does not imply them either."""

    def notes(self) -> list[str]:
        """A warning about what is guessed, with the settings that settle it."""
        if not self.guessed:
            return []
        values = to_json(self.contract)
        shown = [
            f"  {name} {_shown(values[name])}: {GUESSED[name]}; to settle it: [{name}=...]" for name in self.guessed
        ]
        return [
            "warning: nothing says how this model was trained to decode, so these are guesses, and no check of parity "
            "sees a wrong one:",
            *shown,
        ]

    def lines(self) -> list[str]:
        """One line a field, for people."""
        values = to_json(self.contract)
        return [f"{name:<17} {_shown(values[name]):<14} {origin}" for name, origin in self.origins.items()]


def resolve(flags: Flags, checkpoint: Checkpoint, family: Family) -> Resolved:
    """Collect the contract. Raises ContractError that lists every missing field, or every impossible value."""
    values, origins = collected(flags, checkpoint, family)
    _require_all(values, checkpoint)
    values.setdefault("forbid_token_ids", [values["mask_token_id"]])
    origins.setdefault("forbid_token_ids", "default: the mask")
    _check(values, origins, family)
    order = [f.name for f in fields(DecodeContract)]
    # Whoever writes an object `a2d` means the defaults that docs/bundle.md gives its fields.
    told = any(True for _ in own_objects(checkpoint))
    guessed = tuple(name for name in GUESSED if not told and name not in origins and _is_open(name, family))
    origins |= {name: "guess" if name in guessed else "default" for name in order if name not in origins}
    return Resolved(_built(values), {name: origins[name] for name in order}, guessed)


def _is_open(name: str, family: Family) -> bool:
    """Neither the family nor the shape of its network settles the field."""
    if "prompt_alignment" in family.contract:
        return False  # the family is one way of decoding, for which the defaults are right
    return name != "positions" or family.shape.rope_axes is not None


def collected(flags: Flags, checkpoint: Checkpoint, family: Family) -> tuple[dict[str, Any], dict[str, str]]:
    """Everything said of the contract, enough or not, and where it is said. Raises ContractError for unknown tokens."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, found in _sources(flags, checkpoint, family, Vocabulary.of(checkpoint)):
        for name, value in found.items():
            if name not in values and value is not None:
                values[name], origins[name] = value, origin
    if (values.get("block_size"), values.get("shift")) == (1, "right_prev_row") and "mask_token_id" not in values:
        values["mask_token_id"], origins["mask_token_id"] = None, "none is needed"
    return values, origins


def draft(flags: Flags, checkpoint: Checkpoint, family: Family) -> list[str]:
    """One line a field that is said: its value, and where that stands."""
    values, origins = collected(flags, checkpoint, family)
    return [f"{name:<17} {_shown(values[name]):<14} {origins[name]}" for name in FIELDS if name in values]


def _sources(
    flags: Flags, checkpoint: Checkpoint, family: Family, vocabulary: Vocabulary
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, {field: value}), nearest first."""
    yield "command line", _from_flags(flags, vocabulary)
    if flags.contract is not None:
        yield f"contract {flags.contract}", _by_name(flags.contract, family)
    for file, own in own_objects(checkpoint):
        yield f"{file}, a2d", contract_fields(own)
    for file, data in (("generation_config.json", checkpoint.generation), ("config.json", checkpoint.config)):
        inner = data.get("text_config")
        for level in (data, inner if isinstance(inner, Mapping) else {}):
            yield from _released(file, level)
        if file == "generation_config.json":
            yield f"family {family.name}, its code", dict(family.told)
    yield from _special(checkpoint, vocabulary)
    yield f"family {family.name}", dict(family.contract)


def _by_name(name: str, family: Family) -> dict[str, Any]:
    """The fields of a whole contract. Raises ContractError: the table."""
    check_choice("contract", name, terms.CONTRACTS)
    made = {key: list(value) if isinstance(value, tuple) else value for key, value in terms.AUTOREGRESSIVE.items()}
    return made | {"positions": "mrope" if family.shape.rope_axes else "arange"}


def _from_flags(flags: Flags, vocabulary: Vocabulary) -> dict[str, Any]:
    return {name: _token_ids(value, name, vocabulary) if name in _IDS else value for name, value in flags.given.items()}


def _token_ids(value: str | tuple[str, ...], name: str, vocabulary: Vocabulary) -> int | list[int]:
    """Token ids of one text, or of several, of which `none` stands for no token."""
    if isinstance(value, str):
        return vocabulary.id(value, name)
    return [vocabulary.id(text, name) for text in value if text != "none"]


def _released(file: str, data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield f"{file}, mask_token_id", {"mask_token_id": data.get("mask_token_id")}
    for key in _BLOCK_KEYS:
        yield f"{file}, {key}", {"block_size": data.get(key)}
    eos = data.get("eos_token_id")
    yield f"{file}, eos_token_id", {"stop_token_ids": [eos] if isinstance(eos, int) else eos}


def _special(checkpoint: Checkpoint, vocabulary: Vocabulary) -> Iterator[tuple[str, dict[str, Any]]]:
    text = mask_text(checkpoint)
    if text is not None and text in vocabulary.ids:
        yield f"tokenizer_config.json, mask_token {text}", {"mask_token_id": vocabulary.ids[text]}
    eos = special_tokens(checkpoint).get("eos_token")
    if eos is not None and eos in vocabulary.ids:
        yield f"tokenizer_config.json, eos_token {eos}", {"stop_token_ids": [vocabulary.ids[eos]]}
    alike = [text for text in vocabulary.added if MASK_TEXT.fullmatch(text)]
    if len(alike) == 1:
        yield f"tokenizer.json, added token {alike[0]}", {"mask_token_id": vocabulary.added[alike[0]]}


def _missing(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(field, the setting that gives it, where it was looked for, and the names that it takes)."""
    required = [f.name for f in fields(DecodeContract) if f.default is MISSING and f.default_factory is MISSING]
    lost = [name for name in required if name not in values]
    return [(name, f"the setting {name} looked in {_LOOKED[name]}{_offered(name)}") for name in lost]


def _offered(name: str) -> str:
    """The names that a field takes, a line each; empty where it takes numbers."""
    table = _CHOICES.get(name)
    return (
        ""
        if table is None
        else ", expected one of" + "".join(f"\n      {key:<6} {what}" for key, what in table.items())
    )


def _require_all(values: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    missing = _missing(values)
    if missing:
        rows = [f"  {name:<17} {where}" for name, where in missing]
        unknown = mask_text(checkpoint) if "mask_token_id" not in values else None
        lost = f"\ntokenizer_config.json names the mask {unknown!r}, which tokenizer.json lacks: fetch its own"
        raise ContractError(
            "the checkpoint does not say how it is decoded. Missing, with what gives it:\n"
            + "\n".join(rows)
            + (lost if unknown else "")
            + "\n(or put them into generation_config.json as an object `a2d`)"
        )


def mask_text(checkpoint: Checkpoint) -> str | None:
    """The mask's text as tokenizer_config.json has it, where it has one."""
    return special_tokens(checkpoint).get("mask_token")


def _check(values: Mapping[str, Any], origins: Mapping[str, str], family: Family) -> None:
    """Everything that can be said against the values, at once."""
    lines = [
        _not_a_choice(name, values[name], t) for name, t in _CHOICES.items() if values.get(name, "") not in (*t, "")
    ]
    lines += list(_bad_ids(values, family.shape.vocab))
    rows = values.get("positions", "arange")
    if rows in terms.POSITIONS and (rows == "arange") == bool(family.shape.rope_axes):
        fitting = "arange_x3 or mrope" if family.shape.rope_axes else "arange"
        lines.append(f"positions: got {rows!r}, expected {fitting}, as the rotary embedding of this checkpoint wants")
    if not lines:
        try:
            _built(values)
        except ContractError as error:
            lines = [line.strip() for line in str(error).splitlines()]
    if lines:
        shown = [f"  {line}{_said(line, origins)}" for line in lines]
        raise ContractError("the decode contract is impossible:\n" + "\n".join(shown))


def _not_a_choice(name: str, got: Any, table: Mapping[str, str]) -> str:
    rows = "".join(f"\n      {choice:<16} {meaning}" for choice, meaning in table.items())
    return f"{name}: got {got!r}, expected one of{rows}"


def _bad_ids(values: Mapping[str, Any], vocab: int) -> Iterator[str]:
    for name in _IDS:
        value = values.get(name, ())
        for i in value if isinstance(value, list | tuple) else [value]:
            if isinstance(i, int) and not 0 <= i < vocab:
                yield f"{name}: got {i}, expected an id in the vocabulary of {vocab}"
    stops = values["stop_token_ids"]
    if values["mask_token_id"] is None:
        return
    if isinstance(stops, list | tuple) and values["mask_token_id"] in stops:
        yield f"stop_token_ids: got {list(stops)}, expected tokens other than the mask {values['mask_token_id']}"


def _said(line: str, origins: Mapping[str, str]) -> str:
    name = line.split(":", maxsplit=1)[0].split("[", maxsplit=1)[0]
    return f" ({origins[name]}; the setting {name})" if name in origins else ""


def _built(values: Mapping[str, Any]) -> DecodeContract:
    try:
        return from_json(DecodeContract, {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()})
    except Violations as error:
        raise ContractError("\n".join(error.lines)) from error


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, list) else "none" if value is None else str(value)
