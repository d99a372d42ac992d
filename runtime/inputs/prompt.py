"""From what a caller has (text, messages, images, token ids) to the rows of a prompt.

The one place where text and images meet. Each picture stands in the token sequence as a run of placeholder tokens
whose rows take the picture's features; what those are is up to the vision graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...engines.errors import RequestError
from ..decode.block import Prompt
from .crop_patches import Cropped, prepare_crops
from .images import load_image
from .messages import Messages, Picture, normalised, pictures_of, with_words, without_sources
from .packed import Packed, prepare_packed
from .patches import Grid, Patches, VisionSpec, prepare

if TYPE_CHECKING:
    from .tokenizer import ChatTemplate, Text

__all__ = [
    "Messages",
    "Picture",
    "Prepared",
    "PromptBuilder",
    "Turn",
    "mrope_positions",
]


def mrope_positions(tokens: ArrayLike, grids: Sequence[Grid], spec: VisionSpec) -> tuple[NDArray[np.int64], int]:
    """Positions [3, L] (time, row, column) of a prompt of L tokens, and that of the first generated token.

    `grids` has one entry per image or video, in the order of the prompt. Text counts up on all three axes; a
    picture spreads over them from where it stands, and the text after it goes on behind its longer side, as
    in transformers' `Qwen2_5_VLModel.get_rope_index` (one sequence, no padding).

    Raises `RequestError` where the picture tokens are not exactly those that `grids` ask for.
    """
    tokens = np.asarray(tokens, np.int64).reshape(-1)
    pictured = np.flatnonzero((tokens == spec.image_token_id) | (tokens == spec.video_token_id))
    _check_count(len(pictured), grids, spec)
    pieces, row, position = [], 0, 0
    for grid in grids:
        first, count = int(pictured[0]), grid.tokens(spec)
        _check_run(tokens[first : first + count], first, grid, spec)
        pieces += [_text(position, first - row), _picture(position + first - row, grid, spec)]
        position += first - row + max(grid.h, grid.w) // spec.merge_size
        row, pictured = first + count, pictured[count:]
    pieces.append(_text(position, len(tokens) - row))
    positions = np.concatenate(pieces, axis=1)
    return positions, int(positions.max(initial=-1)) + 1


def _text(position: int, count: int) -> NDArray[np.int64]:
    return np.tile(np.arange(position, position + count), (3, 1))


def _picture(position: int, grid: Grid, spec: VisionSpec) -> NDArray[np.int64]:
    """Positions [3, tokens] of one picture. Time is scaled in float32 and rounded down, as torch does it."""
    seconds = np.float32(grid.seconds_per_group) * np.float32(spec.tokens_per_second) if grid.is_video else 1
    time = (np.arange(grid.t, dtype=np.float32) * seconds).astype(np.int64)
    rows, columns = np.arange(grid.h // spec.merge_size), np.arange(grid.w // spec.merge_size)
    return position + np.stack(np.meshgrid(time, rows, columns, indexing="ij")).reshape(3, -1)


def _check_count(found: int, grids: Sequence[Grid], spec: VisionSpec) -> None:
    wanted = [grid.tokens(spec) for grid in grids]
    if found != sum(wanted):
        raise RequestError(
            f"the prompt has {found} picture tokens, expected {sum(wanted)} for {len(grids)} pictures "
            f"{wanted}; write one picture token per merge group"
        )


def _check_run(run: NDArray[np.int64], first: int, grid: Grid, spec: VisionSpec) -> None:
    kind, wanted = ("video", spec.video_token_id) if grid.is_video else ("image", spec.image_token_id)
    if not (run == wanted).all():
        raise RequestError(
            f"the picture at token {first} is not {grid.tokens(spec)} {kind} tokens ({wanted}) in a row; "
            "give the pictures in the order of the prompt"
        )


Prepared: TypeAlias = Patches | Cropped | Packed
"""A picture, ready for the vision graph."""
Encode = Callable[[Prepared], NDArray[np.float32]]


@dataclass(frozen=True)
class Turn:
    """The way in which a conversation goes on."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Variables for the chat template, as `enable_thinking`."""
    continue_final: bool = False
    """The last message is the beginning of the answer, and stays open."""


PLAIN_TURN = Turn()
"""An assistant's turn is opened, with the template's own defaults."""


@dataclass(frozen=True)
class PromptBuilder:
    """Builds prompts for one model."""

    positions: str
    """The decode contract's way of counting positions."""
    vocab: int
    text: Text | None
    template: ChatTemplate | None
    vision: VisionSpec | None
    encode: Encode
    """Pixels to features `[tokens, N]`: see `Rows.features`."""

    def from_text(
        self, text: str, pictures: Sequence[Picture] = (), raw: bool = False, turn: Turn = PLAIN_TURN
    ) -> Prompt:
        """A user's message, through the chat template if there is one and `raw` does not forbid it."""
        if self.template is None or raw:
            return self.from_tokens(self._text().encode(text, special=True), pictures)
        content: Any = text
        if pictures:
            content = [*({"type": _kind(p)} for p in pictures), {"type": "text", "text": text}]
        return self.from_messages([{"role": "user", "content": content}], pictures, turn)

    def from_messages(
        self, messages: Messages, pictures: Sequence[Picture] | None = None, turn: Turn = PLAIN_TURN
    ) -> Prompt:
        """A conversation. Pictures stand in the content as `{"type": "image", "image": PATH}`, unless given apart.

        Control tokens in what somebody wrote are words: the template alone writes them.
        """
        if self.template is None:
            raise RequestError("this bundle has no chat template; pass a plain prompt, or token ids")
        text, parts = self._text(), normalised(messages if pictures is None else without_sources(messages))
        found = pictures_of(parts) if pictures is None else pictures
        rendered = self.template.render(with_words(parts, text.as_words), turn.options, turn.continue_final)
        return self.from_tokens(text.encode(rendered), found)

    def from_tokens(self, tokens: NDArray[np.int64] | Sequence[int], pictures: Sequence[Picture] = ()) -> Prompt:
        """Token ids, with one placeholder per picture (or one per feature row already)."""
        ids = _ids(tokens)
        self._check(ids, pictures)
        if self.vision is None:
            return _plain(ids, self.positions)
        patches = [_patches(picture, self.vision, alone=len(pictures) == 1) for picture in pictures]
        ids = _expanded(ids, [p.grid for p in patches], self.vision)
        return self._with_features(ids, patches, self.vision)

    def _with_features(self, ids: NDArray[np.int64], patches: Sequence[Prepared], spec: VisionSpec) -> Prompt:
        grids = [p.grid for p in patches]
        positions, following = mrope_positions(ids, grids, spec)
        if self.positions != "mrope":
            plain = _plain(ids, self.positions)
            positions, following = plain.rows.positions, plain.next_position
        if not patches:
            return Prompt.of(ids, positions, following)
        is_feature = (ids == spec.image_token_id) | (ids == spec.video_token_id)
        made = np.concatenate([self.encode(p) for p in patches])
        features = np.zeros((len(ids), made.shape[1]), np.float32)
        features[is_feature] = made
        keys = ids.copy()
        keys[is_feature] = np.concatenate([_keys(p) for p in patches])
        rows = replace(Prompt.of(ids, positions, following).rows, features=features, is_feature=is_feature)
        return Prompt(rows, following, keys)

    def _check(self, ids: NDArray[np.int64], pictures: Sequence[Picture]) -> None:
        if not len(ids):
            raise RequestError("the prompt is empty: it has no token; give at least one")
        outside = ids[(ids < 0) | (ids >= self.vocab)]
        if len(outside):
            raise RequestError(f"token id {int(outside[0])} is outside the vocabulary, expected 0 to {self.vocab - 1}")
        if pictures and self.vision is None:
            raise RequestError(f"got {len(pictures)} images, but this bundle reads text only; leave them out")

    def _text(self) -> Text:
        if self.text is None:
            raise RequestError("this bundle has no tokenizer; pass token ids like 1, 2, 3: the setting token_ids")
        return self.text


def _ids(tokens: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
    try:
        ids = np.asarray(tokens)
    except (ValueError, OverflowError) as error:
        raise RequestError(f"got token ids that form no list: {error}; expected whole numbers, [1, 2, 3]") from error
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise RequestError(f"got token ids {ids.dtype}{list(ids.shape)}, expected one list of whole numbers, [1, 2, 3]")
    return ids.astype(np.int64)


def _kind(picture: Picture) -> str:
    return "video" if isinstance(picture, list | tuple) else "image"


_pictures = pictures_of


def _patches(picture: Picture, spec: VisionSpec, alone: bool) -> Prepared:
    """`alone`: the prompt has no other picture."""
    if spec.crops is not None:
        if isinstance(picture, list | tuple):
            raise RequestError("this bundle sees images, and got a video; give some of its frames as images")
        return prepare_crops(load_image(picture), spec, alone)  # type: ignore[arg-type]
    if spec.table is not None:
        if isinstance(picture, list | tuple):
            raise RequestError("this bundle sees images, and got a video; give some of its frames as images")
        return prepare_packed(load_image(picture), spec)  # type: ignore[arg-type]
    if isinstance(picture, list | tuple):
        return prepare([load_image(frame) for frame in picture], spec, is_video=True)
    return prepare([load_image(picture)], spec)  # type: ignore[arg-type]


def _expanded(ids: NDArray[np.int64], grids: Sequence[Grid], spec: VisionSpec) -> NDArray[np.int64]:
    """Each picture's one placeholder repeated once per feature row; a sequence already expanded is left alone."""
    places = np.flatnonzero((ids == spec.image_token_id) | (ids == spec.video_token_id))
    sizes = [grid.tokens(spec) for grid in grids]
    if len(places) == sum(sizes):
        return ids
    if len(places) != len(grids):
        raise RequestError(
            f"the prompt has {len(places)} places for pictures and {len(grids)} picture{'s' * (len(grids) != 1)} came; "
            "expected as many. "
            "Give one image per placeholder, or let the chat template place them"
        )
    repeats = np.ones(len(ids), np.int64)
    repeats[places] = sizes
    return np.repeat(ids, repeats)


def _plain(ids: NDArray[np.int64], kind: str) -> Prompt:
    count = np.arange(len(ids))
    return Prompt.of(ids, count if kind == "arange" else np.tile(count, (3, 1)), len(ids))


def _keys(patches: Prepared) -> NDArray[np.int64]:
    """One negative number per feature row, the same only for the same picture."""
    seed = int.from_bytes(patches.digest[:8], "little") >> 2
    return -1 - ((seed + np.arange(patches.tokens, dtype=np.int64)) & (2**62 - 1))
