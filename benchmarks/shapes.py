"""Answers of a given shape against free text: accuracy, forwards and time, on slates and on a published chat model.

usage: shapes.py slates BUNDLE FOLDER...     frames with truth.json, as examples/slate/render.py --out writes them
       shapes.py chat BUNDLE [--precision NAME]

Prints rows of docs/shapes.md. Both ways are asked in turn, one thread; a field is right where it is the truth's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import a2d
from a2d.runtime.footage.slate import values

UNKNOWN = "-"
"""Value of a slate's field that is not on it."""

SCHEMA = {
    "type": "object",
    "properties": {
        "scene": {"type": ["string", "null"]},
        "take": {"type": ["integer", "null"], "minimum": 1},
        "roll": {"type": ["string", "null"], "maxLength": 8},
        "date": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "fps": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
    "required": ["scene", "take", "roll", "date", "fps"],
    "additionalProperties": False,
}
"""A slate as a user of the client would write it."""

PEOPLE = (
    ("Maria", 34, "Lisbon"), ("John", 27, "Boston"), ("Aiko", 41, "Osaka"), ("Peter", 63, "Vienna"),
    ("Fatima", 19, "Cairo"), ("Carlos", 52, "Lima"), ("Ingrid", 38, "Oslo"), ("Samuel", 45, "Accra"),
    ("Elena", 30, "Sofia"), ("David", 71, "Leeds"),
)  # fmt: skip
SENTENCES = ("{name} turned {age} last week and lives in {city}.", "In {city} I met {name}, who is {age} years old.")
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "city": {"type": "string", "maxLength": 12},
    },
    "required": ["name", "age", "city"],
}
QUESTIONS = (
    ("Is Paris the capital of France?", "yes"),
    ("Is the sun colder than ice?", "no"),
    ("Do fish live in water?", "yes"),
    ("Is seven an even number?", "no"),
    ("Is a whale a mammal?", "yes"),
    ("Can humans breathe under water without help?", "no"),
    ("Is Tokyo in Japan?", "yes"),
    ("Is 10 less than 5?", "no"),
    ("Is snow usually white?", "yes"),
    ("Do spiders have six legs?", "no"),
)

Row = tuple[dict[str, str], Any]
"""Fields that were read, and the result."""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["slates", "chat"])
    parser.add_argument("bundle")
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--precision")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--count", type=int, default=200, help="slates: frames of each folder")
    arguments = parser.parse_args()
    model = a2d.load(arguments.bundle, threads=1, precision=arguments.precision)
    print("| asked | as | answers that are right | fields that are right | parse | forwards | tokens | ms, median |")
    for name, ways, items in (_slates if arguments.task == "slates" else _chat)(model, arguments):
        for line in _table(name, ways, items):
            print(line, flush=True)


def _table(name: str, ways: dict[str, Callable[[Any], Row]], items: list[tuple[Any, dict[str, str]]]) -> Iterator[str]:
    """A row for each way."""
    found: dict[str, list[tuple[bool, float, bool, int, int, float]]] = defaultdict(list)
    for asked, truth in items:
        for way, ask in ways.items():
            began = time.perf_counter()
            fields, result = ask(asked)
            spent = time.perf_counter() - began
            share = sum(fields.get(key) == value for key, value in truth.items()) / len(truth)
            found[way].append((share == 1, share, bool(fields), result.forwards, len(result.tokens), spent))
    for way, rows in found.items():
        right, share, parsed, forwards, tokens, spent = zip(*rows, strict=True)
        n, middle = len(rows), 1e3 * sorted(spent)[len(rows) // 2]
        yield (
            f"| {name} | {way} | {sum(right)} of {n} | {sum(share) / n:.1%} | {sum(parsed)} | {sum(forwards)} | "
            f"{sum(tokens)} | {middle:.0f} |"
        )


def _slates(model: a2d.Model, arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any], list[Any]]]:
    template, schema = model.shape(template=model.manifest.text.sentences[0]), model.shape(schema=SCHEMA)
    chosen = {} if arguments.threshold is None else {"threshold": arguments.threshold}

    def text(form: Any) -> Callable[[Path], Row]:
        def ask(frame: Path) -> Row:
            result = model.generate(images=[str(frame)], max_tokens=96, **form, **chosen)
            return values(result.text), result

        return ask

    def through_schema(frame: Path) -> Row:
        result = model.generate(images=[str(frame)], max_tokens=96, form=schema, **chosen)
        said = json.loads(result.text, parse_float=str, parse_int=str)  # as they stand there
        return {name: UNKNOWN if value is None else value for name, value in said.items()}, result

    ways = {"text": text({}), "template": text({"form": template}), "JSON schema": through_schema}
    for folder in arguments.folders:
        truths = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        rows = [(folder / row["file"], values(row["truth"])) for row in truths if values(row["truth"])]
        yield f"{len(rows[: arguments.count])} {folder.name} boards", ways, rows[: arguments.count]


def _chat(model: a2d.Model, arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any], list[Any]]]:  # noqa: ARG001
    person, answer = model.shape(schema=PERSON), model.shape(choices=["yes", "no"])

    def extracted(form: Any) -> Callable[[str], Row]:
        def ask(sentence: str) -> Row:
            asked = f"Extract the person as JSON with the keys name, age and city, and nothing else. Text: {sentence}"
            result = model.generate(asked, max_tokens=64, **form)
            return _parsed(result.text), result

        return ask

    def decided(form: Any) -> Callable[[str], Row]:
        def ask(question: str) -> Row:
            result = model.generate(f"{question} Answer with yes or no.", max_tokens=24, **form)
            word = result.text.strip().lower().rstrip(".!").partition(",")[0].split(" ")[0].rstrip(".,")
            return ({"answer": word} if word in ("yes", "no") else {}), result

        return ask

    people = [(text.format(name=n, age=a, city=c), {"name": n, "age": str(a), "city": c})
              for n, a, c in PEOPLE for text in SENTENCES]  # fmt: skip
    yield "20 sentences about people", {"text": extracted({}), "JSON schema": extracted({"form": person})}, people
    questions = [(question, {"answer": truth}) for question, truth in QUESTIONS]
    yield "10 questions", {"text": decided({}), "choices": decided({"form": answer})}, questions


def _parsed(text: str) -> dict[str, str]:
    """The first object that stands in a text; empty where there is none."""
    begin, end = text.find("{"), text.rfind("}")
    try:
        made = json.loads(text[begin : end + 1])
    except ValueError:
        return {}
    return {str(key).lower(): str(value) for key, value in made.items()} if isinstance(made, dict) else {}


if __name__ == "__main__":
    main()
