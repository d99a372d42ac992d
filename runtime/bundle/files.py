"""A bundle on disk: a folder whose manifest says what every file is. Reads and checks; writes nothing.

Trusts nothing: names are plain, files are regular (no links), sizes and SHA-256 sums are compared before an engine
sees a byte. docs/bundle.md describes the format for other languages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engines.errors import BundleError
from .manifest import MAX_MANIFEST_BYTES, Manifest, Variant
from .names import MANIFEST, located, no_bundle

if TYPE_CHECKING:
    from ..film.towers_spec import ChatSpec
    from ..inputs.tokenizer import ChatTemplate, Text

__all__ = [
    "MANIFEST",
    "Bundle",
    "prompt_template_of",
    "sha256_of",
    "template_of",
    "text_of",
]


@dataclass(frozen=True)
class Bundle:
    """A folder with a valid manifest. Its files are not checked yet: see `check`."""

    path: Path
    manifest: Manifest

    @staticmethod
    def open(path: str | Path) -> Bundle:
        """Read the manifest of a folder, or of a built-in name. Raises BundleError if there is none that is valid."""
        path = located(path)
        file = path / MANIFEST
        if file.is_symlink() or not file.is_file():
            raise BundleError(no_bundle(path))
        with file.open("rb") as stream:
            return Bundle(path, Manifest.loads(stream.read(MAX_MANIFEST_BYTES + 1)))

    def variant(self, precision: str) -> Variant:
        """The variant of that precision. Raises BundleError that lists the precisions there are."""
        variants = self.manifest.variants
        if precision not in variants:
            raise BundleError(
                f"{self.path}: got precision {precision!r}, this bundle holds {', '.join(variants)}; "
                f"export it with [precision={','.join([*variants, precision])}]"
            )
        return variants[precision]

    def file(self, name: str) -> Path:
        """Path of a file of the manifest."""
        return self.path / name

    def needed(self, precision: str) -> list[str]:
        """Names of the files that decoding at this precision reads."""
        variant = self.variant(precision)
        return [*variant.graphs.values(), variant.weights, *self.texts()]

    def texts(self) -> list[str]:
        """Names of the files that turn text into tokens and back."""
        return self.manifest.texts()

    def check(self, names: Iterable[str] | None = None, content: bool = True) -> None:
        """Compare files (default: all) with the manifest; `content=False` looks at sizes alone.

        Raises BundleError that lists every file that is missing, of another size, or changed.
        """
        names = self.manifest.files if names is None else names
        lines = [fault for name in names if (fault := self._fault(name, content)) is not None]
        if lines:
            raise BundleError(
                f"{self.path} is damaged:\n" + "\n".join(f"  {line}" for line in lines) + "\nFetch or export it again."
            )

    def _fault(self, name: str, content: bool) -> str | None:
        file, record = self.file(name), self.manifest.files[name]
        if file.is_symlink() or not file.is_file():
            return f"{name}: {'is a link' if file.is_symlink() else 'missing'}, expected a file of {record.bytes} bytes"
        size = file.stat().st_size
        if size != record.bytes:
            return f"{name}: holds {size} bytes, expected {record.bytes}"
        if content and (got := sha256_of(file)) != record.sha256:
            return f"{name}: SHA-256 is {got[:16]}..., expected {record.sha256[:16]}..."
        return None


def sha256_of(path: Path) -> str:
    """The SHA-256 sum of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def text_of(bundle: Bundle) -> Text | None:
    """The tokenizer; None where the bundle has none. Raises BundleError."""
    m = bundle.manifest
    name = m.words.text.tokenizer if m.words is not None else m.film.text.tokenizer if m.film is not None else None
    if name is None:
        return None
    from ..inputs.tokenizer import Text  # noqa: PLC0415 - a bundle without text does not pay for tokenizers and Jinja

    return Text(bundle.file(name))


def template_of(bundle: Bundle) -> ChatTemplate | None:
    """The template of conversations; None where the bundle has none. Raises BundleError."""
    text: Any = bundle.manifest.text
    return None if text.chat_template is None else _read_template(bundle, text.chat_template, text.special_tokens)


def prompt_template_of(bundle: Bundle, chat: ChatSpec) -> ChatTemplate:
    """The template of prompts of films. Raises BundleError."""
    return _read_template(bundle, chat.template, chat.special_tokens)


def _read_template(bundle: Bundle, name: str, special_tokens: Mapping[str, str]) -> ChatTemplate:
    try:
        source = bundle.file(name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{name} is not UTF-8: {error}. Export the checkpoint again.") from error
    from ..inputs.tokenizer import ChatTemplate  # noqa: PLC0415 - as above

    return ChatTemplate(source, special_tokens)
