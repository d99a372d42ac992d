"""Samples that calibration and verification decode: prompts with images, of a file, a folder, or a small own set.

    data.jsonl      one object a line: {"prompt": "...", "images": ["a.png"], "truth": "..."} or {"messages": [...]}
                    or {"tokens": [5, 6, 7]}; paths are relative to the file, `truth` is what should be read
    a folder        its data.jsonl, or else its images with one prompt

Where no prompt is given with an image, the bundle asks its own question, if it has one.

Knows files and their form; not models. Everything wrong with the data is listed at once.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError
from ...runtime.decode.block import Prompt
from ...runtime.inputs.messages import Messages, normalised, pictures_of, without_sources
from ...runtime.inputs.sources import each_frame
from ...runtime.model import Model
from ...runtime.schema import Violations, parse
from .board import drawn_board

__all__ = ["DATA", "Data", "Sample", "built_in", "chosen", "load"]

DATA = "[data=FILE.jsonl], or [data=FOLDER prompt=TEXT]"
"""Settings that name samples, in words."""

INDEX = "data.jsonl"
LINE_END = re.compile(r"\r\n|\r|\n")
"""Ends of lines in all systems; other separators of Unicode may stand inside a text."""

SHOWN = 8
"""Faults that a message lists."""

KEYS = {"prompt", "messages", "tokens", "images", "truth"}

SENTENCES = (
    "Describe what can be seen here.",
    "Read all text, line by line.",
    "Write a short summary of the meeting: budget agreed, two hires postponed, next date in May.",
    "Translate into German: the train leaves at seven from platform two.",
    "List five fruits and a colour for each.",
    "What is 17 times 23? Explain every step.",
    "def median(values):\n    return",
    "Once upon a time, on an island without a harbour,",
    "Which is heavier, a kilogram of feathers or a pound of lead? Why?",
    'Answer as JSON with the keys "name" and "age": Maria turned 34 last week.',
    "Explain to a child why the sky is blue.",
    "Rewrite politely: send me the report now.",
    "SELECT name, count(*) FROM orders",
    "Give three reasons for and three against working at night.",
    "Who wrote Faust, and when was its first part printed?",
    "Continue the list: 2, 3, 5, 7, 11,",
    "Écris une phrase sur la mer, puis traduis-la en anglais.",
    "Dear Ms. Okafor, thank you for your letter of 3 March 2025. We",
    "Find the mistake: She don't like apples.",
    "What should I pack for two days in the mountains in October?",
    "Classify as positive, negative or neutral: the film was long, but I did not look at the clock once.",
    "<p>Opening hours</p><ul><li>Mon",
    "Name the capital of Australia in one word.",
    "Tell a joke about a clockmaker.",
)
"""Prompts for those who have no data at hand."""


Image: TypeAlias = "Path | bytes | NDArray[np.uint8]"
"""A picture: a file, the content of one, or pixels `[H, W, 3]`."""


@dataclass(frozen=True)
class Sample:
    """One thing to decode. One of `prompt`, `messages`, `tokens` is there, or images alone."""

    name: str
    """Its origin, for messages."""
    prompt: str | None = None
    messages: tuple[dict[str, Any], ...] | None = None
    tokens: tuple[int, ...] | None = None
    images: tuple[Image, ...] = ()
    truth: str | None = None

    def rows(self, model: Model) -> Prompt:
        """The rows of its prompt. Raises RequestError, ImageError."""
        if self.messages is not None:
            return model.prompt(self.messages, self.images)
        return model.prompt(self.prompt if self.tokens is None else list(self.tokens), self.images)


@dataclass(frozen=True)
class Data:
    """Samples, and the hash of everything that they are made of."""

    samples: tuple[Sample, ...]
    digest: str
    notes: tuple[str, ...] = ()
    """Remarks for the user."""


def chosen(model: Model, path: Path | None, prompt: str | None, count: int, seed: int) -> Data:
    """Samples of `path`, as `load` has them, or built-in ones where nobody named any. Raises RequestError."""
    return built_in(model, count, seed) if path is None else load(path, prompt, count, seed)


def load(path: Path, prompt: str | None, count: int, seed: int) -> Data:
    """`count` samples of `path`, drawn without repetition; all of them, in order, where there are no more.

    Raises RequestError that lists what is wrong: no such path, nothing in it, lines that are no samples, images that
    are missing.
    """
    if count < 1:
        raise RequestError(f"the setting samples: got {count}, expected at least 1")
    if path.is_dir() and not (path / INDEX).is_file():
        found = [Sample(str(p), prompt=prompt, images=(Path(str(p)),)) for p in each_frame(path) if p != path]
    else:
        found = _lines(path / INDEX if path.is_dir() else path)
    if not found:
        raise RequestError(f"{path}: no samples in it, expected lines of JSON or images: {DATA}")
    chosen = found
    if len(found) > count:
        order = np.random.default_rng(seed).permutation(len(found))[:count]
        chosen = [found[i] for i in sorted(order.tolist())]
    _require_images(chosen)
    notes = []
    hashes = [_digest(sample) for sample in chosen]
    if len(set(hashes)) == 1 and len(chosen) > 1:
        notes.append(f"warning: all {len(chosen)} samples are the same; what differs from them was not seen")
    return Data(tuple(chosen), hashlib.sha256("".join(hashes).encode()).hexdigest(), tuple(notes))


def built_in(model: Model, count: int, seed: int) -> Data:
    """Samples for any model: sentences if it has words, drawn pictures if it sees, token ids otherwise.

    `count` at most: a sentence alone is not decoded twice, since that would show nothing new.
    """
    chance, manifest = np.random.default_rng(seed), model.manifest
    question, samples = manifest.text.default_prompt, []
    if manifest.text.tokenizer is not None and manifest.vision is None:
        count = min(count, len(SENTENCES))
    for i in range(count):
        if manifest.text.tokenizer is None:
            ids = chance.zipf(1.2, int(chance.integers(8, 64))) % manifest.model.vocab
            samples.append(Sample(f"built-in {i}", tokens=tuple(ids.tolist())))
        elif manifest.vision is not None and question is not None:
            samples.append(Sample(f"built-in {i}", images=(drawn_board(chance),)))
        else:
            seen = manifest.vision is not None
            images = (drawn_board(chance),) if seen and i % 4 else ()
            samples.append(Sample(f"built-in {i}", prompt=SENTENCES[i % len(SENTENCES)], images=images))
    note = f"warning: no samples were named; {count} built-in samples stand in for yours. Better: {DATA}"
    return Data(tuple(samples), f"built-in {count} {seed}", (note,))


def _lines(path: Path) -> list[Sample]:
    try:
        text = _decoded(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"[data={path}]: cannot be read: {error}; expected {DATA}") from error
    if text.lstrip()[:1] == "[":
        raise RequestError(f"[data={path}]: a JSON list, expected one object a line, as `jq -c '.[]' FILE` writes them")
    samples, faults = [], []
    for number, line in enumerate(LINE_END.split(text), 1):
        try:
            if line.strip():
                row = parse(line.lstrip("\ufeff"))  # files that were joined have a mark in the middle
                samples.append(_sample(f"{path.name}:{number}", row, path.parent))
        except (Violations, ValueError, RequestError) as error:
            faults.append(f"line {number}: {str(error).strip()}")
    _raise(path, faults)
    return samples


MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks of other encodings than UTF-8, the longer ones first: the shorter begin alike."""


def _decoded(raw: bytes) -> str:
    """Text of a file in UTF-8, with a byte order mark or without, or in what its mark says."""
    return raw.decode(next((name for mark, name in MARKS.items() if raw.startswith(mark)), "utf-8-sig"))


def _sample(name: str, row: Any, folder: Path) -> Sample:
    """One line. Raises ValueError that says what is wrong."""
    if isinstance(row, dict):
        row = {key: value for key, value in row.items() if value is not None}  # tables spell "not said" as null
    fields = set(row) if isinstance(row, dict) else {"?"}
    asked = {"prompt", "messages", "tokens"} & fields
    if not fields <= KEYS or len(asked) > 1 or not (asked or row.get("images")):
        raise ValueError(
            f'expected an object with one of "prompt", "messages", "tokens", or "images" alone, and a "truth" at most; '
            f"got {str(row)[:80]}"
        )
    kinds = {"prompt": str, "messages": list, "tokens": list, "images": list, "truth": str}
    wrong = [key for key, value in row.items() if not isinstance(value, kinds[key])]
    items = {"images": str, "tokens": int, "messages": dict}
    wrong += [k for k, kind in items.items() if k not in wrong and not all(type(i) is kind for i in row.get(k, []))]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: not of the expected type")
    _require_words(row)
    messages, pictures = _messages(row.get("messages", []), folder)
    _require_places(messages, len(pictures), len(row.get("images", [])))
    alone = [{"role": "user", "content": [{"type": "image", "image": picture} for picture in row.get("images", [])]}]
    return Sample(
        name,
        prompt=row.get("prompt"),
        messages=messages if "messages" in row else None,
        tokens=tuple(row["tokens"]) if "tokens" in row else None,
        images=(*_messages(alone, folder)[1], *pictures),
        truth=row.get("truth"),
    )


def _require_places(messages: Messages, pictures: int, images: int) -> None:
    """Raise ValueError for places of pictures in messages, as data sets for training write them, without as many."""
    places = len(pictures_of(messages)) - pictures
    if places and (pictures or places != images):
        raise ValueError(
            f'{places} places for pictures in the messages and {images} in "images", expected as many; or give each '
            "its own in the messages"
        )


def _require_words(row: Mapping[str, Any]) -> None:
    """Raise ValueError for what would end a calibration in the middle: nothing to say, and no text."""
    empty = [key for key in ("tokens", "messages") if row.get(key) == []]
    empty += ["prompt"] if row.get("prompt") == "" and not row.get("images") else []
    silent = [m for m in row.get("messages", []) if m.get("role") == "user" and m.get("content") is None]
    if empty or silent:
        raise ValueError(f"{', '.join(empty) or 'content of a user'}: empty, expected something to ask")
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text that is not valid Unicode: {error}") from error


def _messages(messages: list[dict[str, Any]], folder: Path) -> tuple[tuple[dict[str, Any], ...], list[Path | bytes]]:
    """The messages in their normal spelling, and their images, in order. Raises ValueError for what is no image."""
    found: list[Path | bytes] = []
    marked = normalised(without_sources(messages))
    for picture in pictures_of(marked):
        if not isinstance(picture, str | bytes):
            raise ValueError("videos are not taken here; give their frames as images")
        if picture != "":  # a place, whose picture stands in "images"
            found.append(folder / picture if isinstance(picture, str) else picture)
    return tuple(marked), found


def _require_images(samples: list[Sample]) -> None:
    missing = [
        f"{s.name}: {p}: no such image" for s in samples for p in s.images if isinstance(p, Path) and not p.is_file()
    ]
    _raise(Path(samples[0].name.split(":")[0]), missing)


def _raise(path: Path, faults: list[str]) -> None:
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        listed = "\n".join(f"  {fault}" for fault in [*faults[:SHOWN], *more])
        raise RequestError(f"[data={path}]: {len(faults)} faults:\n{listed}")


def _digest(sample: Sample) -> str:
    parts: Mapping[str, Any] = {"p": sample.prompt, "m": sample.messages, "t": sample.tokens}
    made = hashlib.sha256(json.dumps(parts, sort_keys=True, default=bytes.hex).encode())
    for image in sample.images:
        made.update(image.read_bytes() if isinstance(image, Path) else bytes(image))
    return made.hexdigest()
