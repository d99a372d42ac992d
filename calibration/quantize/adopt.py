"""A bundle's files in the folder of its successor: those that stay, and the source that quantized variants are made of.

Knows files; not what becomes of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...runtime.bundle.files import Bundle
from ...runtime.bundle.staging import Staging
from ..source.source import SOURCE

__all__ = ["adopt"]


def adopt(bundle: Bundle, staging: Staging, kept: Iterable[str], move: bool) -> None:
    """Take over what stays, and the source's files in any case: they are needed here."""
    bundle.check()
    variants = bundle.manifest.variants
    stay = {f for name in kept for f in (*variants[name].graphs.values(), variants[name].weights)}
    stay |= set(bundle.texts())
    source = {*variants[SOURCE].graphs.values(), variants[SOURCE].weights}
    for name, found in bundle.manifest.files.items():
        if name in stay | source:
            staging.adopt(bundle.file(name), found if name in stay else None, move)
