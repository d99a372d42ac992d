"""The sizes that a film bundle's engines are built for: one picture size, and the few lengths of the past that occur.

The past grows by whole blocks until its window is full, so a handful of profiles with one size each serve whole blocks,
and no engine needs a mask. A picture, and the last block of a clip of another length, are shorter: each number of
frames has one profile with a range of pasts. Knows the loop's lengths and the axes' names in docs/bundle.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...engines.size_profile import Profile, Range
from ..film.clip import clip_of
from ..film.contract import FilmContract

__all__ = ["FilmSizes", "film_profiles", "film_sizes", "only", "picture_profile"]

MOST_PASTS = 8
"""Lengths of the past that get a profile each; where there are more, they share one with a range."""

TYPICAL_WORDS = 64
"""Rows of a prompt that kernels are chosen for."""

FACTORS = (1, 2, 4, 8, 16)
"""Sizes of an autoencoder's states, as multiples of the latents'."""


@dataclass(frozen=True)
class FilmSizes:
    """Sizes that engines are to hold."""

    height: int
    width: int
    rows: int
    """Rows of one latent frame."""
    pasts: tuple[int, ...]
    """Latent frames that a block finds cached, every number that occurs, ascending."""
    block_frames: tuple[int, ...]
    """Latent frames of a block, every number that occurs, ascending."""

    @property
    def context(self) -> int:
        """Rows of cache."""
        return max(1, self.pasts[-1] * self.rows)

    @property
    def block(self) -> int:
        """Rows of the largest block."""
        return self.block_frames[-1] * self.rows


def film_sizes(contract: FilmContract, height: int | None = None, width: int | None = None) -> FilmSizes:
    """Sizes of the contract's clip, or of another picture size. Raises RequestError for one that cannot be."""
    high, wide = height or contract.height, width or contract.width
    if contract.towers is not None:
        clip, patch = clip_of(contract, contract.frames, high, wide), contract.towers.patch
        rows = -(-clip.grid[0] // patch) * -(-clip.grid[1] // patch)
        return FilmSizes(high, wide, rows, (0,), tuple(sorted({1, clip.latents})))
    pasts, counts = set[int](), set[int]()
    for picture in (False, True):
        clip = clip_of(contract, contract.frames, high, wide, picture=picture)
        pasts |= {len(clip.window.past(block)) for block in clip.blocks}
        counts |= {len(block) for block in clip.blocks}
    return FilmSizes(high, wide, clip.rows, tuple(sorted(pasts)), tuple(sorted(counts)))


def film_profiles(contract: FilmContract, sizes: FilmSizes) -> dict[str, tuple[Profile, ...]]:
    """Optimization profiles by graph. The first that fits is taken, so those of one size come before a range."""
    words = Range(1, min(TYPICAL_WORDS, contract.text.length), contract.text.length)
    prompt, still = (Profile("prompt", {"words": words}),), (picture_profile(contract, sizes),)
    whole = sizes.block_frames[-1]
    return {
        "text": prompt,
        "cross": prompt,
        "frames": _network(contract, sizes, whole, range(1, whole), words),
        "frames_merged": _network(contract, sizes, 2 * whole, range(2, 2 * whole), words),
        "pixels_first": still,
        "pixels_next": still,
        "pixels_first_draft": still,
        "pixels_next_draft": still,
        "encode_first": still,
    }


def picture_profile(contract: FilmContract, sizes: FilmSizes) -> Profile:
    """The profile of graphs that see one latent frame and its pixels."""
    latent = contract.latent
    picture = {
        "latent_h": only(sizes.height // latent.spatial),
        "latent_w": only(sizes.width // latent.spatial),
        "height": only(sizes.height),
        "width": only(sizes.width),
        "frames": only(1),
        "shown": only(latent.temporal),
    }
    for factor in FACTORS:
        picture[f"high_{factor}"] = only(sizes.height // latent.spatial * factor)
        picture[f"wide_{factor}"] = only(sizes.width // latent.spatial * factor)
    return Profile("frame", picture)


def only(size: int) -> Range:
    """One size."""
    return Range(size, size, size)


def _network(
    contract: FilmContract, sizes: FilmSizes, whole: int, shorter: Iterable[int], words: Range
) -> tuple[Profile, ...]:
    """A profile for each past of a `whole` block, and one with a range of pasts for each shorter one."""
    longest, few = sizes.pasts[-1], len(sizes.pasts) <= MOST_PASTS
    most = longest if contract.window is None else max(longest, contract.window - 1)  # a shorter block sees more
    any_past = Range(0, longest, most)
    ranges = [(whole, Range(past, past, past)) for past in sizes.pasts] if few else [(whole, any_past)]
    ranges += [(frames, any_past) for frames in shorter]
    latent = contract.latent
    return tuple(
        Profile(
            f"{frames} frames behind {past.high}",
            {
                "frames": only(frames),
                "latent_h": only(sizes.height // latent.spatial),
                "latent_w": only(sizes.width // latent.spatial),
                "rows": only(frames * sizes.rows),
                "cached": _times(past, sizes.rows, 0),
                "keys": _times(past, sizes.rows, frames * sizes.rows),
                "words": words,
            },
        )
        for frames, past in ranges
    )


def _times(past: Range, rows: int, more: int) -> Range:
    return Range(past.low * rows + more, past.best * rows + more, past.high * rows + more)
