"""One clip in blocks of latent frames: sizes, which frames a block holds, and which earlier ones it sees.

Whole-number arithmetic on frames; knows no tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ...engines.errors import RequestError
from .contract import FilmContract

__all__ = ["Block", "Clip", "Window", "clip_of"]


@dataclass(frozen=True)
class Block:
    """Latent frames that are denoised together, or a picture that was given."""

    index: int
    start: int
    end: int
    """First latent frame, and the one behind the last."""
    given: bool = False

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Window:
    """Latent frames that stay visible: all, or the first `sink` and the last ones, `frames` together."""

    frames: int | None = None
    """A block and the sink count in it."""
    sink: int = 0

    def past(self, block: Block) -> tuple[int, ...]:
        """Earlier frames that a block sees."""
        if self.frames is None or block.end <= self.frames:
            return tuple(range(block.start))
        oldest = max(self.sink, block.end - (self.frames - self.sink))
        return (*range(min(self.sink, block.start)), *range(oldest, block.start))


@dataclass(frozen=True)
class Clip:
    """Sizes and blocks of one clip."""

    frames: int
    """Pixel frames."""
    height: int
    width: int
    latents: int
    """Latent frames."""
    grid: tuple[int, int]
    """Latents of a frame: height, width."""
    rows_grid: tuple[int, int]
    """Rows of a frame: height, width."""
    blocks: tuple[Block, ...]
    window: Window

    @property
    def rows(self) -> int:
        """Rows of one latent frame."""
        return self.rows_grid[0] * self.rows_grid[1]


def clip_of(
    contract: FilmContract,
    frames: int,
    height: int,
    width: int,
    picture: bool = False,
    window: Window | None = None,
    after: Block | None = None,
) -> Clip:
    """The clip of so many pixel frames; with a picture its first latent frame is a block of its own.

    `after`: the blocks are those behind this one, which there is already.
    Raises RequestError that lists every number that does not fit.
    """
    seen = Window(contract.window, contract.sink) if window is None else window
    made = 0 if after is None else contract.pixel_frames(after.end)
    lines = [*_bad_frames(contract, frames, made), *_bad_size(contract, height, width), *_bad_window(contract, seen)]
    if lines:
        raise RequestError("\n".join(lines))
    s, latents = contract.latent, contract.latent_frames(frames)
    grid = height // s.spatial, width // s.spatial
    rows_grid = grid[0] // s.patch_h, grid[1] // s.patch_w
    return Clip(frames, height, width, latents, grid, rows_grid, _blocks(contract, latents, picture, after), seen)


def _blocks(contract: FilmContract, latents: int, picture: bool, after: Block | None) -> tuple[Block, ...]:
    """A picture, or a first block that may differ; then blocks of one length, of which the last may be shorter."""
    first = 1 if picture else (contract.first_frames or contract.block_frames)
    begin, index = (0, 0) if after is None else (after.end, after.index + 1)
    second = min(first if after is None else begin + contract.block_frames, latents)
    edges = [begin, *range(second, latents, contract.block_frames), latents]
    given = picture and after is None
    return tuple(Block(index + i, start, end, given and i == 0) for i, (start, end) in enumerate(pairwise(edges)))


def _bad_frames(contract: FilmContract, frames: int, made: int) -> list[str]:
    step = contract.latent.temporal
    if made and frames <= made:
        return [f"frames: got {frames}, and {made} are there already, expected more"]
    if frames >= 1 and (frames - 1) % step == 0:
        return []
    below = max(1, frames - (frames - 1) % step)
    near = f"{below} or {below + step}" if frames > 0 else "1"
    return [f"frames: got {frames}, expected 1 + {step} k, as the decoder makes them: the nearest is {near}"]


def _bad_size(contract: FilmContract, height: int, width: int) -> list[str]:
    lines = []
    for name, got, multiple in zip(("height", "width"), (height, width), contract.size_multiple, strict=True):
        if got < 1 or got % multiple:
            near = max(1, round(got / multiple)) * multiple
            lines.append(f"{name}: got {got}, expected a multiple of {multiple} pixels: the nearest is {near}")
    return lines


def _bad_window(contract: FilmContract, window: Window) -> list[str]:
    least = window.sink + max(contract.block_frames, contract.first_frames or 0)
    if window.sink < 0 or (window.frames is not None and window.frames < least):
        return [
            f"window: got {window.frames} latent frames with a sink of {window.sink}, expected at least {least}: "
            "a block and the sink count in it"
        ]
    return []
