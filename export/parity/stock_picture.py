"""transformers' image processor, loaded from the checkpoint, against the preparation that a bundle will have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import CheckpointError, ImageError
from ...runtime.bundle.manifest import ParityRow
from ...runtime.inputs.patches import VisionSpec, smart_resize
from ..checkpoint.directory import Checkpoint
from ..families.quiet import quiet
from .tolerances import FAIL, PASS

__all__ = ["StockProcessor", "picture", "size_row", "stock_processor"]

SIZES = ((8, 12), (60, 100), (480, 640), (1080, 1920), (3000, 4000), (200, 3000))
"""Heights and widths of pictures that are sized by both."""


@dataclass(frozen=True)
class StockProcessor:
    """An image processor of transformers'."""

    name: str
    processor: Any

    def inputs(self, picture: NDArray[np.uint8]) -> dict[str, Any]:
        """The model's inputs for one picture `[H, W, 3]`."""
        with quiet():
            made = self.processor(images=[picture], return_tensors="pt")
        return {name: made[name] for name in ("pixel_values", "image_grid_thw", "image_sizes") if name in made}


def stock_processor(checkpoint: Checkpoint) -> StockProcessor:
    """Load it, in the form that resizes by Pillow. Raises CheckpointError with transformers' own words."""
    import transformers  # noqa: PLC0415 - a second to import

    with quiet():
        try:
            made = transformers.AutoImageProcessor.from_pretrained(
                checkpoint.path, backend="pil", local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # transformers raises whatever its parts raise
            words = str(error).strip().splitlines() or [type(error).__name__]
            raise CheckpointError(f"transformers has no image processor for it: {words[0]}") from error
    return StockProcessor(type(made).__name__, made)


def picture(spec: VisionSpec) -> NDArray[np.uint8]:
    """A small picture with edges and slopes, of no size that fits as it is."""
    side = spec.factor if spec.crops is None else max(spec.crops.size // 2, 8)
    height, width = 3 * side + 5, 4 * side + 3
    down, across = np.linspace(0, 255, height)[:, None, None], np.linspace(0, 200, width)[None, :, None]
    made = np.abs(down - across * np.array([1.0, 0.5, 0.2]))
    made[height // 3 : height // 2, width // 4 : width // 2] = (250, 20, 90)
    shown: NDArray[np.uint8] = made.clip(0, 255).astype(np.uint8)
    return shown


def size_row(theirs: StockProcessor, spec: VisionSpec) -> tuple[ParityRow, str] | None:
    """Patches of pictures of several sizes; None for a processor that does not say how many it makes."""
    count = getattr(theirs.processor, "get_number_of_image_patches", None)
    if count is None or spec.crops is not None:
        return None
    try:
        pairs = [((h, w), int(count(h, w)), _patches(h, w, spec)) for h, w in SIZES]
    except TypeError:  # limits that it does not find where they are, which a2d may
        return None
    wrong = [pair for pair in pairs if pair[1] != pair[2]]
    share = len(wrong) / len(pairs)
    row = ParityRow("picture", f"{len(SIZES)} sizes, as {theirs.name}", share, share, FAIL if wrong else PASS)
    if not wrong:
        return row, ""
    (height, width), a, b = wrong[0]
    return row, f"a picture of {width}x{height} is {a} patches to transformers, and {b} to a2d"


def _patches(height: int, width: int, spec: VisionSpec) -> int:
    try:
        tall, wide = smart_resize(height, width, spec)
    except ImageError:
        return 0
    return (tall // spec.patch_size) * (wide // spec.patch_size)
