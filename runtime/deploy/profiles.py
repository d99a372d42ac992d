"""The sizes that a bundle's engines are built for: what the decode loop and its pictures ask of each graph.

Knows the loop's widths (a block, two at a merged commit, a piece of prefill) and the axes' names in docs/bundle.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...engines.errors import RequestError
from ...engines.size_profile import Profile, Range
from ..bundle.manifest import Manifest
from ..decode.cache import CHUNK
from ..decode.loop import PREFILL
from ..inputs.patches import MAX_ASPECT_RATIO, VisionSpec

__all__ = ["Sizes", "profiles", "sizes"]

CONTEXT = 8192
"""Rows of context that engines are built for where nothing is said: scores of a long one take memory even if unused."""

MOST_SESSIONS = 1024
"""Conversations side by side that are planned for at most."""

TYPICAL_CONTEXT = 512
"""Cached rows that kernels are chosen for."""

TYPICAL_TOKENS = 256
"""Merge groups of the picture that kernels are chosen for, where pictures have many sizes."""


@dataclass(frozen=True)
class Sizes:
    """Rows that engines are to hold."""

    context: int
    """Rows of cache, a multiple of its chunk."""
    block: int
    """Rows of the largest block."""
    sessions: int = 1
    """Conversations side by side, each with so much context."""

    @property
    def widest(self) -> int:
        """Rows of the widest forward: the last piece of a prompt and the first block."""
        return max(PREFILL, self.block) + self.block

    @property
    def packed(self) -> int:
        """Rows of the widest forward that sessions share: a merged commit of each, as many as one forward takes."""
        return min(max(PREFILL, 2 * self.block), 2 * self.block * self.sessions)


def sizes(
    manifest: Manifest, context: int | None = None, block: int | None = None, sessions: int | None = None
) -> Sizes:
    """Sizes from what is asked, or from the bundle. Raises RequestError for what the model does not have."""
    longest = manifest.model.max_context
    wanted = min(longest, CONTEXT) if context is None else context
    if not 1 <= wanted <= longest:
        raise RequestError(f"context: got {context}, this model was exported for 1 to {longest} rows")
    if block is not None and not 1 <= block <= longest:
        raise RequestError(f"block_size: got {block}, expected 1 to {longest}")
    if sessions is not None and not 1 <= sessions <= MOST_SESSIONS:
        raise RequestError(f"sessions: got {sessions}, expected 1 to {MOST_SESSIONS}")
    return Sizes(-(-wanted // CHUNK) * CHUNK, block or manifest.decode.block_size, sessions or 1)


def profiles(manifest: Manifest, sizes: Sizes) -> dict[str, tuple[Profile, ...]]:
    """Optimization profiles by graph. The first that fits is taken, so a step's comes before that of a prefill."""
    step, prefill = Range(1, sizes.block, 2 * sizes.block), Range(1, PREFILL, sizes.widest)
    ends = (_backbone("step", step, sizes), _backbone("prefill", prefill, sizes))
    block, masks = Range(1, sizes.block, sizes.block), Range(1, 1, sizes.block)
    rows = Profile("step", {"rows": Range(1, sizes.block, sizes.widest), "block": block, "masks": masks})
    made = {"backbone": ends, "denoise": (rows,), "sample": (rows,)}
    if manifest.vision is not None:
        made["vision"] = (_vision(manifest.vision),)
    return made


def _backbone(name: str, rows: Range, sizes: Sizes) -> Profile:
    context = Range(CHUNK, min(max(CHUNK, TYPICAL_CONTEXT), sizes.context), sizes.context)
    keys = Range(context.low + rows.low, context.best + rows.best, context.high + rows.high)
    return Profile(name, {"rows": rows, "context": context, "keys": keys})


def _vision(spec: VisionSpec) -> Profile:
    """One picture at a time: exactly one size with a letterbox, otherwise any between the spec's two areas."""
    if spec.letterbox is not None:
        rows, columns = spec.letterbox.height // spec.factor, spec.letterbox.width // spec.factor
        groups = rows * columns
        patches = _padded(rows, columns, spec)
        return Profile(
            "picture", {"patches": Range(patches, patches, patches), "groups": Range(groups, groups, groups)}
        )
    most = spec.max_pixels // spec.factor**2
    largest = max(_padded(r, most // r, spec) for r in range(1, most + 1) if most // r <= MAX_ASPECT_RATIO * r)
    typical = min(TYPICAL_TOKENS, most)
    side = max(1, int(typical**0.5))
    best = min(_padded(side, -(-typical // side), spec), largest)
    return Profile(
        "picture",
        {"patches": Range(spec.slots_per_window, best, largest), "groups": Range(1, typical, most)},
    )


def _padded(rows: int, columns: int, spec: VisionSpec) -> int:
    """Patches of a picture of rows x columns merge groups, in whole windows."""
    side = spec.window_groups
    return -(-rows // side) * -(-columns // side) * spec.slots_per_window
