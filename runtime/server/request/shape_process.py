"""One shape on stdin to its form on stdout, in little memory: `python -m` this module, and a BUNDLE.

A process of its own, because a short schema can ask for any amount of time and memory. Knows a bundle's tokenizer, no
weights.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

from ....engines.errors import A2DError, RequestError
from ...bundle.files import Bundle, text_of
from ...shapes.make import form_of, vocabulary_of
from ...shapes.shape import Shape

__all__ = ["MADE", "REFUSED", "main"]

MADE, REFUSED = b"A", b"E"
"""First byte of what is written: a form follows, pickled, or a message."""

MOST_BYTES = 256 << 20
"""Size of an automaton's sets at most."""


def main(arguments: list[str]) -> int:
    """Compile; returns the exit status."""
    memory, path = int(arguments[0]), Path(arguments[1])
    if sys.platform.startswith("linux"):
        import resource  # noqa: PLC0415 - not on every system

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        made = MADE + pickle.dumps(_compiled(path, json.load(sys.stdin)))
    except A2DError as error:
        made = REFUSED + str(error).encode()
    except RecursionError:
        made = REFUSED + b"the shape is nested too deeply"
    sys.stdout.buffer.write(made)
    return 0


def _compiled(path: Path, asked: dict[str, Any]) -> Shape:
    bundle = Bundle.open(path)
    text, words = text_of(bundle), bundle.manifest
    spelled = None if text is None else (text.token_bytes(), text.encode)
    vocabulary = vocabulary_of(spelled, words.decode, words.model.vocab)
    made = form_of(vocabulary, **asked, sentences=words.text.sentences, unknown=words.text.unknown)
    if made.automaton.sets.nbytes > MOST_BYTES:
        raise RequestError("the shape has too many sets of tokens; ask for shorter values, or fewer of them")
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
