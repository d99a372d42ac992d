"""The C library's side of what host and worker say to each other, from the declarations in runtime/host.

    python packaging/wire_header.py          writes runtime/embed/wire.h

The header is checked in, so that building the library wants no Python; a test holds it to what this writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from a2d.runtime.host import messages, wire

HEADER = Path(__file__).parent.parent / "runtime" / "embed" / "wire.h"

NUMBERS = {"B": "u8", "?": "flag", "I": "u32", "Q": "u64", "i": "i32", "f": "f32", "d": "f64"}
"""Letter of struct to the form's name in C."""

OPENING = """\
/* Written by packaging/wire_header.py from runtime/host/wire.py and messages.py; `make wire` writes it again.
 *
 * Kinds of frames, and the fields of each payload in their order, as rows ROW(form, name). Forms are numbers (u32, u64,
 * i32, f32, f64); flag, a u8 that is 0 or 1; name, a u8 below A2D_NAMES_name; text and bytes, behind their length; and
 * lists, behind their count. Names are those of the structs of a2d.h. */
#ifndef A2D_WIRE_H
#define A2D_WIRE_H
"""


def form_of(form: wire.Form) -> str:
    """The name of a form in C."""
    if isinstance(form, wire.Number):
        return NUMBERS[form.code]
    if isinstance(form, wire.ListOf):
        return f"{form_of(form.item)}s"
    if isinstance(form, wire.Name):
        return "name"
    named: list[tuple[wire.Form, str]] = [(wire.TEXT, "text"), (wire.MAYBE_TEXT, "text"), (wire.BYTES, "bytes")]
    return next((name for one, name in named if one is form), "image")


def rows(name: str, message: type[Any]) -> str:
    """The fields of a message as one macro."""
    made = [f"    ROW({form_of(field.metadata['wire'])}, {field.name})" for field in fields(message)]
    return " \\\n".join([f"#define A2D_{name}_FIELDS(ROW)", *made])


def enum(prefix: str, numbers: dict[str, int]) -> str:
    """Names and their numbers, as the members of an enum."""
    return ",\n".join(f"    {prefix}{name} = {number}" for name, number in numbers.items())


def header() -> str:
    """The whole header."""
    return "\n".join(_parts()) + "\n"


def _parts() -> Iterator[str]:
    yield OPENING
    yield f"#define A2D_FRAME_VERSION {wire.VERSION}"
    yield f"#define A2D_FRAME_HEADER {wire.HEADER.size}"
    yield f"#define A2D_FRAME_LONGEST {wire.LONGEST}u\n"
    yield f"typedef enum a2d_kind {{\n{enum('A2D_', {kind.name: kind.value for kind in wire.Kind})}\n}} a2d_kind;\n"
    images = dict(zip(messages.IMAGE.names.names, messages.IMAGE.kinds, strict=True))
    yield f"enum {{\n{enum('A2D_IMAGE_', {name.upper(): i for i, name in enumerate(images)})}\n}};\n"
    payloads = {kind.name: message for kind, message in messages.PAYLOADS.items()}
    payloads |= {f"IMAGE_{name.upper()}": message for name, message in images.items()}
    forms = {field.name: field.metadata["wire"] for message in payloads.values() for field in fields(message)}
    for name, form in forms.items():
        if isinstance(form, wire.Name):
            yield f"#define A2D_NAMES_{name} {len(form.names)}"
    channels = ", ".join(map(str, messages.CHANNELS.values()))
    yield f"/* Bytes of a pixel, by layout. */\n#define A2D_CHANNELS {{{channels}}}\n"
    yield from (rows(name, message) + "\n" for name, message in payloads.items())
    yield "#endif"


if __name__ == "__main__":
    HEADER.write_text(header(), encoding="utf-8")
