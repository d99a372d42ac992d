"""A bundle that films, ready: contract, tokenizer and engines, and how a request becomes a film.

Text encoding comes first and is remembered, so its engine, the largest of all, can be let go before frames are made.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError
from ...engines.protocol import Engine
from ..decode.cache import CacheShape
from ..inputs.images import ImageSource, load_image
from .board import fitted
from .clip import Clip, clip_of
from .contract import FilmContract
from .film import Film, Snapshot
from .loop import Script, Step
from .network import FrameNetwork, Part
from .noise import Anchored, Drawn, Noise, given
from .options import FilmOptionFields, FilmOptions, Settled, preset_of, settled
from .pixels import PixelStream, encoded_picture
from .reader import Reader
from .text import attended, cleaned, encoded, tokenized
from .wording import is_json

if TYPE_CHECKING:
    from ..inputs.tokenizer import ChatTemplate, Text

__all__ = ["Studio"]

KEPT_PROMPTS = 64
"""Prompts whose rows are remembered; 8 MB each at most, of 512 rows of 4096."""


SHOWN = 4
"""Latent frames of a clip made at once whose pixels are held together: 77 MB in float32 at 480x832."""


SENTENCES = (
    "the prompt is a JSON object, and sentences about length and size were put behind it; networks were trained on "
    "such prompts without them: the setting plain leaves them out"
)
"""Remark about a prompt that says them itself."""


class Studio:
    """Engines by name, the contract, and the tokenizer of one bundle."""

    def __init__(
        self,
        engine: Callable[[str], Engine],
        contract: FilmContract,
        kv_dtype: str,
        text: Text,
        pictures: bool,
        template: ChatTemplate | None = None,
        drafts: bool = False,
    ) -> None:
        """`pictures`: the bundle has the graph that encodes one; `template`: where the network reads prompts itself;
        `drafts`: it has a decoder for them.
        """
        n = contract.network
        self.engine, self.contract, self.text, self.pictures = engine, contract, text, pictures
        self.drafts = drafts
        self.shape = CacheShape(n.layers, n.heads, n.head_dim, kv_dtype)
        self._rows: OrderedDict[str, tuple[NDArray[np.float32], str]] = OrderedDict()
        self._reader = None if template is None else Reader(engine, contract, self.shape, text, template)
        self._lock = threading.Lock()
        self.on_encoded: Callable[[], None] = lambda: None
        """Called when a film's prompt is encoded, before its network is loaded: the encoder may be let go of here."""

    def encode(self, prompt: str) -> tuple[NDArray[np.float32], str]:
        """Rows `[L, dim]` of a prompt, and a sentence if it was cut. Remembered: the encoder is run once a prompt."""
        spec, key = self.contract.text, cleaned(prompt, self.contract.text)
        with self._lock:
            if key not in self._rows:
                made = tokenized(prompt, spec, self.text)
                said = (
                    f"the prompt is {made.cut} tokens too long and was cut: {spec.length} are read" if made.cut else ""
                )
                self._rows[key] = encoded(made, self.engine("text")), said
            self._rows.move_to_end(key)
            while len(self._rows) > KEPT_PROMPTS:
                self._rows.popitem(last=False)
            return self._rows[key]

    def prepare(self, prompt: str) -> None:
        """Encode a prompt ahead, where there is an encoder of its own: then that can be let go before any film."""
        if self._reader is None:
            self.encode(prompt)

    def film(
        self,
        prompt: str | None = None,
        *,
        image: ImageSource | None = None,
        noise: NDArray[np.float32] | None = None,
        renoise: NDArray[np.float32] | None = None,
        start: Snapshot | None = None,
        on_step: Callable[[Step], None] | None = None,
        options: FilmOptions | None = None,
        **chosen: Unpack[FilmOptionFields],
    ) -> Film:
        """A clip of `prompt`; iterate for its blocks.

        `image`: its first frame. `noise [C, T, h, w]` and `renoise [S - 1, C, T, h, w]` take the place of the seed's.
        `start`: go on behind a block that another film has made, with its prompt or another one; `frames` then counts
        from that film's beginning, and its size is kept.
        Raises RequestError with what to change; for a graph that cannot be loaded EngineError or BundleError.
        """
        asked = replace(options or FilmOptions(), **chosen)
        if start is not None:
            asked = _going_on(start, image, asked, self.drafts and self._small(asked))
        said = start.prompt if prompt is None and start is not None else prompt
        if said is None:
            raise RequestError("no prompt: say what the shot shows")
        wanted = settled(self.contract, asked)
        if self._reader is not None:
            return self._whole(self._reader, said, wanted, image, noise, renoise, start, on_step)
        pictured = image is not None or (start is not None and start.opening > 0)
        after = None if start is None else start.block
        sizes = (wanted.frames, wanted.height, wanted.width)
        clip = clip_of(self.contract, *sizes, picture=pictured, window=wanted.window, after=after)
        sound = self._noise(wanted, clip, noise, renoise)
        board, *remarks = self._board(image, clip, asked.fit)
        return self._filmed(said, wanted, clip, sound, board, [*remarks, *self._doubts(clip)], start, on_step)

    def _whole(
        self,
        reader: Reader,
        prompt: str,
        wanted: Settled,
        image: ImageSource | None,
        noise: NDArray[np.float32] | None,
        renoise: NDArray[np.float32] | None,
        start: Snapshot | None,
        on_step: Callable[[Step], None] | None,
    ) -> Film:
        """A clip that is one block, of a network that reads the prompt itself."""
        if start is not None:
            raise RequestError("start: this bundle makes a clip at once; begin another from a picture instead")
        clip = clip_of(self.contract, wanted.frames, wanted.height, wanted.width)
        sound = self._noise(wanted, clip, noise, renoise)
        lost = image is not None and clip.frames == 1
        board, remark = self._board(None if lost else image, clip, wanted.options.fit)
        remarks = [remark, "a still has no use for a picture, which would be its only frame: left out" if lost else ""]
        remarks += [SENTENCES] if is_json(prompt) and not wanted.options.plain else []
        started = time.perf_counter()
        picture = None if board is None else encoded_picture(board, self.engine("encode_first"))
        network = reader.network(prompt, wanted, clip, int(picture is not None))
        anchored = sound if picture is None else Anchored(sound, picture)
        script = Script(clip.blocks, wanted.first, wanted.rest, anchored, 0.0, False)
        told = tuple(said for said in (*remarks, *self._doubts(clip)) if said)
        stream = PixelStream(self.engine)
        made = Film(network, stream, script, clip, prompt, wanted.fps, told, on_step or (lambda _: None), most=SHOWN)
        made.seconds.text = made.seconds.total = time.perf_counter() - started
        return made

    def _filmed(
        self,
        prompt: str,
        wanted: Settled,
        clip: Clip,
        noise: Noise,
        board: NDArray[np.uint8] | None,
        remarks: Sequence[str],
        start: Snapshot | None,
        on_step: Callable[[Step], None] | None,
    ) -> Film:
        """Encode prompt and picture, and put the parts together."""
        started = time.perf_counter()
        rows, cut = self.encode(prompt)
        self.on_encoded()
        heard = attended(rows, self.contract.text, self.engine("cross"))
        network = FrameNetwork(self.engine, self.contract, self.shape, clip, heard)
        picture = None if board is None else encoded_picture(board, self.engine("encode_first"))
        opening = start.opening if start is not None else int(picture is not None)
        timestep = self.contract.commit_timestep
        script = Script(clip.blocks, wanted.first, wanted.rest, noise, timestep, wanted.merged, opening, picture)
        draft = self.drafts and wanted.small_decoder
        stream, recent = PixelStream(self.engine, draft=draft), tuple[Part, ...]()
        if start is not None:
            network.cache.restore(start.cache)
            script, stream = replace(script, pending=start.pending), PixelStream(self.engine, start.states, draft)
            recent = start.recent
            if wanted.options.recompute == "window" and prompt != start.prompt:
                network.recompute([part for part in recent if _is_recent(part, start)])
        told = tuple(remark for remark in (cut, *remarks) if remark)
        made = Film(network, stream, script, clip, prompt, wanted.fps, told, on_step or (lambda _: None), recent=recent)
        made.overlap = wanted.options.overlap == "commit"
        made.seconds.text = time.perf_counter() - started
        made.seconds.total = made.seconds.text
        return made

    def _small(self, asked: FilmOptions) -> bool:
        """The decoder for drafts is asked for."""
        preset = preset_of(self.contract, asked)
        return preset is not None and preset.small_decoder

    def _noise(
        self, wanted: Settled, clip: Clip, noise: NDArray[np.float32] | None, renoise: NDArray[np.float32] | None
    ) -> Noise:
        if noise is None:
            if renoise is not None:
                raise RequestError("renoise came without noise, expected both or neither")
            return Drawn(wanted.options.seed, self.contract.latent.channels, clip.grid)
        lists = [wanted.first, wanted.rest] if len(clip.blocks) > 1 else [wanted.first]
        return given(noise, renoise, clip, self.contract, max(1 + sum(b != 0 for b in made.noise) for made in lists))

    def _board(self, image: ImageSource | None, clip: Clip, fit: str) -> tuple[NDArray[np.uint8] | None, str]:
        """The first picture at the clip's size, and what was done to it."""
        if image is None:
            return None, ""
        if not self.pictures:
            raise RequestError(
                "got a picture, but this bundle cannot encode one; export the checkpoint with its encoder"
            )
        return fitted(load_image(image), clip.height, clip.width, fit)

    def _doubts(self, clip: Clip) -> list[str]:
        """Sentences about wishes that the checkpoint was not made for."""
        last, usual = clip.blocks[-1], self.contract.block_frames
        counted = "1 latent frame" if len(last) == 1 else f"{len(last)} latent frames"
        short = f"the last block has {counted}, not {usual} as the network was trained with"
        long = (
            f"the clip is longer than the {self.contract.frames} frames that the checkpoint was made for; it may drift"
        )
        whole = len(last) == usual or last.given or last.index == 0
        return [*([] if whole else [short]), *([long] if clip.frames > self.contract.frames else [])]


def _is_recent(part: Part, start: Snapshot) -> bool:
    """The block lies in the window that ends where the film goes on."""
    window = start.clip.window.frames
    return window is None or part.block.end > start.block.end - window


def _going_on(start: Snapshot, image: ImageSource | None, asked: FilmOptions, small: bool) -> FilmOptions:
    """Options of a film that goes on from a snapshot. Raises RequestError for what it cannot change."""
    lines = ["image: the film has begun without it, or with its own; leave it out"] if image is not None else []
    for name in ("height", "width"):
        kept, got = getattr(start.clip, name), getattr(asked, name)
        lines += [f"{name}: got {got}, the film that goes on has {kept}"] if got not in (None, kept) else []
    if small != start.draft:
        lines.append(f"draft: got {small}, the film that goes on has {start.draft}: its decoder is another")
    if lines:
        raise RequestError("\n".join(lines))
    window = start.clip.window
    same = {"window": window.frames or 0, "sink": window.sink}
    kept = {name: value for name, value in same.items() if getattr(asked, name) is None}
    return replace(asked, height=start.clip.height, width=start.clip.width, **kept)
