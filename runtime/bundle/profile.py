"""A profile: defaults that `a2d tune` chose for a bundle on somebody's data, beside the manifest that they go before.

Knows a file and two settings; measures nothing, and changes no manifest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...engines.errors import BundleError
from ...engines.paths import written_whole
from ..decode.contract import MAX_BLOCK
from ..schema import Violations, bounds, from_json, parse, to_json
from .files import Bundle, sha256_of
from .manifest import Manifest
from .names import MANIFEST

__all__ = ["PROFILE", "Profile", "profile_of", "tuned", "write_profile"]

PROFILE = "profile.json"
"""Name of the file in a bundle's folder."""

SCHEMA = 1


@dataclass(frozen=True)
class Profile:
    """Chosen defaults, and where they come from."""

    manifest: str
    """SHA-256 of the bundle's manifest: of another export it says nothing."""
    steps: int = field(metadata=bounds(1, MAX_BLOCK))
    threshold: float | None = field(metadata=bounds(0, 1))
    right: str
    """Measure of accuracy, in words."""
    accuracy: float = field(metadata=bounds(0, 1))
    best_accuracy: float = field(metadata=bounds(0, 1))
    """Accuracy of the best setting that was tried."""
    seconds: float
    """Time of an answer: the median."""
    slowest_seconds: float
    """Time of an answer with one token a step: the median."""
    samples: int
    data: str
    """Name of the data."""
    digest: str
    """SHA-256 of the data."""
    precision: str
    machine: str
    made: str
    """Day on which it was made."""
    schema: int = field(default=SCHEMA, metadata=bounds(SCHEMA, SCHEMA))

    def said(self, path: Path) -> str:
        """The defaults in a sentence, with where they come from."""
        threshold = "" if self.threshold is None else f", threshold {self.threshold:g}"
        return f"steps {self.steps}{threshold} by {path / PROFILE} (tuned {self.made} on {self.samples} of {self.data})"


def profile_of(bundle: Bundle) -> Profile | None:
    """The profile of a bundle, if it has one that was made for it. Raises BundleError for one that cannot be read."""
    path = bundle.path / PROFILE
    if not path.is_file():
        return None
    try:
        profile = from_json(Profile, parse(path.read_text(encoding="utf-8")))
    except (Violations, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is no profile; remove it, or make it again with a2d tune:\n{error}") from error
    return profile if profile.manifest == sha256_of(bundle.path / MANIFEST) else None


def tuned(manifest: Manifest, profile: Profile | None) -> Manifest:
    """The manifest with the profile's defaults in the place of its own."""
    if profile is None or manifest.words is None:
        return manifest
    decode = replace(manifest.decode, steps=min(profile.steps, manifest.decode.block_size), threshold=profile.threshold)
    return replace(manifest, words=replace(manifest.words, decode=decode))


def write_profile(folder: Path, profile: Profile) -> Path:
    """Write the profile of the bundle in `folder`, whole or not at all. Raises OSError."""
    with written_whole(folder / PROFILE) as part:
        part.write_text(json.dumps(to_json(profile), indent=1) + "\n", encoding="utf-8")
    return folder / PROFILE
