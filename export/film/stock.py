"""A causal Wan checkpoint as a2d reads it, held against the classes of its own libraries, before anything is written.

Tokens, the text encoder's rows, the velocity of a first block, pixels and a first picture's latents: of every other
comparison, both sides would misread the checkpoint alike. A first block has no past, so diffusers' network, which
attends in both directions, computes the same. The forwards of both sides are in float32, the libraries' first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...engines.errors import CheckpointError
from ...runtime.bundle.manifest import ParityRow
from ...runtime.film.contract import TextSpec
from ...runtime.film.positions import rotations, sinusoid
from ...runtime.film.text import attended, cleaned, tokenized
from ...runtime.heap import release
from ...runtime.inputs.tokenizer import Text
from ..checkpoint.safetensors_file import TensorFile
from ..checkpoint.wan_names import original_prefix, renamed
from ..graphs.film_shapes import FilmNetwork
from ..graphs.kinds import kinds
from ..parity.stock import CHAINED, Stock
from ..parity.stock_text import TEXTS
from ..parity.tolerances import FAIL, PASS, ROUNDING, allowed, compared, distance
from ..parity.torch_engine import TorchEngine, Weights
from .plan import FilmPlan
from .stock_parts import Autoencoder, diffusers_names, tokenizers, umt5_rows, wan_velocity

__all__ = ["LIBRARIES", "film_held_against_stock"]

Array = NDArray[Any]
Made = Mapping[str, Array]

FRAMES, GRID = 3, (2, 3)
"""Latent frames of the block, and its rows down and across: no two alike, so that axes cannot be confused."""

TIMES = (0.0, 0.5, 1.75)
"""Each frame's timestep: small ones, for diffusers rounds a sinusoid's angle to float32."""

WORDS = 9
"""Tokens of the text."""

LATENTS = 4
"""Latent frames of the clip that is decoded: one, then two at once, then one."""

JITTERS = (0.0, ROUNDING["fp32"].step)
"""Sizes of a disturbance after each layer: of the numbers that count, and of those that tell what rounding makes."""

LIBRARIES = ("diffusers", "transformers")


def film_held_against_stock(plan: FilmPlan) -> Stock:
    """Hold every part against its library's class. Raises nothing for what the libraries cannot load."""
    found = Stock()
    absent = [name for name in LIBRARIES if find_spec(name) is None]
    if absent or not isinstance(plan.network, FilmNetwork):
        found.leave_out(
            f"{' and '.join(absent)} {'are' if len(absent) > 1 else 'is'} not installed"
            if absent
            else "the network of two towers is not held against diffusers'"
        )
        return found
    held = _Held(plan, plan.network)
    for check in CHECKS:
        try:
            for row, difference in check(held):
                found.add(row, difference if row.verdict == FAIL else "")
        except CheckpointError as error:
            found.leave_out(str(error))
        found.notes += held.notes
        held.notes.clear()
        release(cycles=True)
    return found


@dataclass(frozen=True)
class _Held:
    """A plan, and a2d's reading of its checkpoint as engines."""

    plan: FilmPlan
    network: FilmNetwork
    notes: list[str] = field(default_factory=list)

    @cached_property
    def text(self) -> Text:
        """The tokenizer that the bundle will have."""
        assert self.plan.checkpoint.tokenizer is not None
        return Text(self.plan.checkpoint.tokenizer)

    def engine(self, graph: str, part: str, jitter: float = 0.0) -> TorchEngine:
        """One graph of numbers as the part stores them, computed by torch."""
        checkpoint = self.plan.checkpoint
        kept = {checkpoint.entry(name).dtype for name in checkpoint.files if name.startswith(f"{part}/")}
        rounded = kept.pop() if len(kept) == 1 else torch.float32
        return TorchEngine(graph, self.network, Weights(checkpoint, self.plan.family, rounded), jitter)


Rows = Iterator[tuple[ParityRow, str]]


def _names(held: _Held) -> Rows:
    """The names of a network that is stored as its authors do."""
    files = held.plan.checkpoint.files
    paths = {file.path for name, file in files.items() if name.startswith("transformer/")}
    stored = [name for path in sorted(paths) for name in TensorFile.open(path).entries]
    prefix = original_prefix(stored)
    if prefix is None:
        return
    own = [name.removeprefix(prefix) for name in stored if name.startswith(prefix)]
    theirs = diffusers_names(own)
    wrong = [name for name in own if theirs.get(name) != renamed(name)]
    share = len(wrong) / max(1, len(own))
    row = ParityRow("names", f"{len(own)} tensors, as diffusers renames them", share, share, FAIL if wrong else PASS)
    yield row, f"{wrong[0]} is {theirs.get(wrong[0])} to diffusers, {renamed(wrong[0])} to a2d" if wrong else ""


def _tokens(held: _Held) -> Rows:
    """The tokenizer."""
    spec, (plain, named) = held.plan.resolved.contract.text, tokenizers(held.plan.checkpoint)
    ours = {text: tokenized(text, spec, held.text).tokens.tolist() for text in TEXTS}
    theirs = {text: fitted([int(i) for i in plain(cleaned(text, spec))["input_ids"]], spec) for text in TEXTS}
    wrong = [text for text in TEXTS if theirs[text] != ours[text]]
    share = len(wrong) / len(TEXTS)
    row = ParityRow("prompt", f"{len(TEXTS)} texts, as tokenizer.json", share, share, FAIL if wrong else PASS)
    yield row, f"{wrong[0]!r} is {theirs[wrong[0]]} to transformers, {ours[wrong[0]]} to a2d" if wrong else ""
    read = {text: [*named(cleaned(text, spec))["input_ids"]] for text in TEXTS}
    other = [text for text in TEXTS if len(read[text]) <= spec.length and read[text] != ours[text]]
    if other and not wrong:
        held.notes.append(
            f"transformers' {type(named).__name__} encodes {len(other)} of {len(TEXTS)} texts otherwise than a2d, as "
            f"{other[0]!r}; a2d follows tokenizer.json, and ends a prompt with token {spec.eos_id}"
        )


def fitted(ids: list[int], spec: TextSpec) -> list[int]:
    """Tokens as the network takes them: with the one that ends a prompt, no more than it has rows for."""
    if spec.eos_id is None or (ids[-1:] == [spec.eos_id] and len(ids) <= spec.length):
        return ids[: spec.length]
    return [*ids[: spec.length - 1], spec.eos_id]


def _text(held: _Held) -> Rows:
    """The text encoder."""
    tokens = np.random.default_rng(7).integers(0, held.network.text.vocab, (1, WORDS))
    reference = umt5_rows(held.plan.checkpoint, torch.from_numpy(tokens)).numpy()
    made, moved = (held.engine("text", "text_encoder", j).run({"tokens": tokens})["text_rows"] for j in JITTERS)
    yield _compared("text rows", f"{WORDS} rows, as UMT5EncoderModel", reference, made, moved)


def _velocity(held: _Held) -> Rows:
    """The network's first forward: what `cross` and `frames` are."""
    spec, shape = held.plan.resolved.contract.text, held.network.wan
    rng, (high, wide) = np.random.default_rng(8), GRID
    size = (1, shape.channels, FRAMES, high * shape.patch_h, wide * shape.patch_w)
    latents = rng.standard_normal(size).astype(np.float32)
    rows = rng.standard_normal((min(WORDS, spec.length), shape.text_dim)).astype(np.float32)
    padded = torch.zeros(1, spec.length, shape.text_dim)
    padded[0, : len(rows)] = torch.from_numpy(rows)
    times = torch.tensor(TIMES).repeat_interleave(high * wide)[None]
    reference = wan_velocity(held.plan.checkpoint, torch.from_numpy(latents), times, padded).numpy()
    feeds = _first_block(held, latents, rows)
    made, moved = (held.engine("frames", "transformer", j).run(feeds, ["velocity"])["velocity"] for j in JITTERS)
    yield _compared("velocity", f"a first block of {FRAMES} frames, as WanTransformer3DModel", reference, made, moved)


def _first_block(held: _Held, latents: Array, rows: NDArray[np.float32]) -> dict[str, Any]:
    """Feeds of `frames` as the runtime makes them, with nothing cached."""
    contract = held.plan.resolved.contract
    n = contract.network
    cos, sin = rotations(0, FRAMES, GRID, n.rope_axes, n.rope_theta)
    prompt = attended(rows, contract.text, held.engine("cross", "transformer"))
    none = np.zeros((1, n.heads, 0, n.head_dim), np.float32)
    past = {f"past_{kind}_{i}": none for i in range(n.layers) for kind in ("key", "value")}
    turned = {"rope_cos": cos[None, :, None], "rope_sin": sin[None, :, None]}
    time = sinusoid(TIMES, n.freq_dim)[None]
    return {"latents": latents, "time": time, **turned, **past, **prompt.feeds, "cross_bias": prompt.bias}


def _pixels(held: _Held) -> Rows:
    """The decoders, streamed here and whole there, and the encoder."""
    decoders = [("vae", "pixels_first", "pixels_next"), ("draft_vae", "pixels_first_draft", "pixels_next_draft")]
    shape, rng = held.network.pixels, np.random.default_rng(9)
    latents = rng.standard_normal((1, shape.channels, LATENTS, *GRID)).astype(np.float32)
    for part, first, following in decoders:
        if first not in kinds(held.network):
            continue
        theirs = Autoencoder(held.plan.checkpoint, part)
        reference = theirs.decoded(torch.from_numpy(latents)).numpy()
        shown = _streamed(held.engine(first, part), held.engine(following, part), latents)
        yield _compared("pixels", f"a clip of {len(shown)} frames, as {theirs.name}", reference, shown, shown)
        if part == "vae" and "encode_first" in kinds(held.network):
            image = rng.random((1, GRID[0] * shape.spatial, GRID[1] * shape.spatial, 3), np.float32)
            encoded = theirs.encoded(torch.from_numpy(image)).numpy()
            made = held.engine("encode_first", part).run({"image": image})["latents"]
            yield _compared("latents", f"a picture, as {theirs.name}", encoded, made, made)


def _streamed(first: TorchEngine, following: TorchEngine, latents: Array) -> Array:
    """Pixels `[N, H, W, 3]`, a few latent frames at a time."""
    made: dict[str, Any] = {**first.run({"latents": latents[:, :, :1]})}
    shown = [made["pixels"][0]]
    for part in (latents[:, :, 1:3], latents[:, :, 3:]):
        states = {name.replace("new_", "past_"): state for name, state in made.items() if name != "pixels"}
        made = {**following.run({"latents": part, **states})}
        shown.append(made["pixels"][0])
    return np.concatenate(shown)


def _compared(graph: str, check: str, reference: Array, made: Any, moved: Any) -> tuple[ParityRow, str]:
    """A row, allowed as much as one rounding after each layer `moved` it, and words for where it fails."""
    spread = distance([(np.asarray(made), np.asarray(moved))])
    row = compared(graph, check, [(reference, np.asarray(made))], allowed(ROUNDING["fp32"], spread, chained=CHAINED))
    return row, f"{graph}: {row.max_error:.1e} of the largest number apart, where rounding makes {spread:.1e}"


CHECKS: tuple[Callable[[_Held], Rows], ...] = (_names, _tokens, _text, _velocity, _pixels)
"""Checks in the order in which they are made."""
