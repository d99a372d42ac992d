"""The sizes that the engines of a bundle of two towers are built for: those of words, and those of a clip and a still.

A clip is one block, so its rows have one number; only the prompt's length varies. Knows the graphs' axes by name.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...engines.size_profile import Profile, Range
from ..bundle.manifest import Manifest
from ..decode.cache import CHUNK
from ..film.condition import PIECE
from .film_profiles import FilmSizes, film_sizes, only, picture_profile
from .profiles import Sizes, profiles, sizes

__all__ = ["TowersSizes", "towers_profiles", "towers_sizes"]

TYPICAL_PROMPT = 1024
"""Tokens of a prompt that kernels are chosen for."""


@dataclass(frozen=True)
class TowersSizes:
    """Sizes that engines are to hold."""

    words: Sizes
    film: FilmSizes

    @property
    def context(self) -> int:
        """Rows of cache."""
        return self.words.context

    @property
    def block(self) -> int:
        """Rows of the largest block of words."""
        return self.words.block


def towers_sizes(
    manifest: Manifest,
    context: int | None = None,
    block: int | None = None,
    height: int | None = None,
    width: int | None = None,
) -> TowersSizes:
    """Sizes from what is asked, or from the bundle. Raises RequestError for what it does not have."""
    assert manifest.film is not None, "the bundle films"
    return TowersSizes(sizes(manifest, context, block), film_sizes(manifest.film, height, width))


def towers_profiles(manifest: Manifest, sizes: TowersSizes) -> dict[str, tuple[Profile, ...]]:
    """Optimization profiles by graph. The first that fits is taken, so those of words come before that of a prompt."""
    contract, film = manifest.film, sizes.film
    assert contract is not None, "the bundle films"
    longest = contract.text.length
    context = Range(CHUNK, min(TYPICAL_PROMPT, longest), max(sizes.context, -(-longest // CHUNK) * CHUNK))
    rows = Range(1, min(PIECE, longest), PIECE)
    keys = Range(context.low + rows.low, context.best + rows.best, context.high + rows.high)
    prompt = Profile("prompt", {"rows": rows, "context": context, "keys": keys})
    words, picture = profiles(manifest, sizes.words), (picture_profile(contract, film),)
    attended = Range(1, min(TYPICAL_PROMPT, longest), longest)
    clips = [
        Profile(f"{frames} latent frames", {"rows": only(frames * film.rows), "words": attended})
        for frames in film.block_frames
    ]
    return {
        **words,
        "backbone": (*words["backbone"], prompt),
        "velocity": tuple(clips),
        **dict.fromkeys(("pixels_first", "pixels_next", "encode_first"), picture),
    }
