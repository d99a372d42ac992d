"""Memory that a network of two towers takes while it films, stage by stage, before anything is built or loaded.

    reading    the tower that reads and the encoder of pictures, beside what it makes of both prompts: for L rows,
               2 L A D w bytes a layer and prompt, and as much again while one is read; scores of a piece of P rows
    denoising  the tower that denoises; of R rows, x, q, k, v and the MLP's R (4 H + Q + 2 F) w, keys and values of
               rows and prompt (R + L) once more, and 2 Hq R (R + L) w scores where attention is not one operator
    pixels     the decoder, its states twice, 27 times its largest map, and on the host the pixels of as many
               latent frames as are shown together

Each stage lets go what only the one before needed, as `a2d film` does; where all stays loaded, `resident` says it.
Knows sizes; neither builds nor runs. docs/cosmos.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...engines.errors import BundleError
from ..bundle.files import Bundle
from ..bundle.weight_index import StoredTensor
from ..decode.cache import CHUNK, CacheShape
from ..film.clip import Clip, clip_of
from ..film.condition import PIECE
from ..film.contract import FilmContract
from ..film.options import FilmOptions, settled
from ..film.studio import SHOWN
from .memory_model import PROCESS, Widths

__all__ = ["TowersEstimate", "towers_estimate"]

PIXELS = ("pixels_first", "pixels_next")
"""Graphs of the last stage."""

MAPS = 27
"""Largest maps of one frame that the decoder holds at once; measured, as the next."""

MORE = 25 << 20
"""Bytes of tokenizer, template and pictures, beside what decoding takes for itself."""

PIXEL = 13
"""Bytes a pixel and colour on the host: as float three times for a moment, and as a byte."""


@dataclass(frozen=True)
class TowersEstimate:
    """Bytes."""

    weights: dict[str, int]
    """Weights by graph."""
    prompts: int
    """Keys and values of all prompts that were read, at their length."""
    cache: int
    """Keys and values of the prompt that is being read."""
    reader: int
    """Activations of the tower that reads."""
    network: int
    """Activations of the tower that denoises."""
    scores: int
    """Its attention's scores where they are not fused."""
    states: int
    decoder: int
    """Activations of the pixel decoder."""
    clip: int
    """Pixels that are held together, on the host."""
    fused: bool
    """Scores are not in the sums."""
    process: int
    apart: bool

    @property
    def computing(self) -> int:
        """Memory of a forward of the tower that denoises, which its engine keeps."""
        return (self.network + (0 if self.fused else self.scores)) * 3 // 2

    @property
    def stages(self) -> dict[str, int]:
        """Memory by stage; activations count half as much again for what libraries round up, as for words."""
        w, host = self.weights, 0 if self.apart else self.process
        reading = w["backbone"] + w.get("encode_first", 0) + self.prompts + self.cache + self.reader * 3 // 2
        denoising = w["velocity"] + self.prompts + self.computing
        pixels = self.prompts + sum(w[name] for name in PIXELS) + self.states + self.decoder * 3 // 2
        pixels += 0 if self.apart else self.clip
        return {"reading": reading + host, "denoising": denoising + host, "pixels": pixels + host}

    @property
    def peak(self) -> int:
        """The most at any time."""
        return max(self.stages.values())

    @property
    def resident(self) -> int:
        """The most where everything stays loaded, as it does in a server."""
        stages, w = self.stages, self.weights
        graphs = {"reading": ("backbone", "encode_first"), "denoising": ("velocity",), "pixels": PIXELS}
        others = {stage: sum(size for name, size in w.items() if name not in own) for stage, own in graphs.items()}
        return max(
            size + others[name] for name, size in (stages | {"pixels": stages["pixels"] + self.computing}).items()
        )

    def rows(self) -> list[tuple[str, int, str]]:
        """Name, bytes and a note of each part, for people."""
        fused = (
            "where attention is not fused: not in the sums"
            if self.fused
            else "held at once: the graph has them as products; another export of the checkpoint holds none"
        )
        host = "in the host's memory, not in the sums" if self.apart else ""
        return [
            *((name, size, "weights") for name, size in self.weights.items()),
            ("prompts", self.prompts, "keys and values of both"),
            ("cache", self.cache, "while one is read"),
            ("reader", self.reader, "activations"),
            ("network", self.network, "activations"),
            ("scores", self.scores, fused),
            ("states", self.states, "of the pixel decoder, twice"),
            ("decoder", self.decoder, "activations, one latent frame at a time"),
            ("clip", self.clip, host or f"pixels of {SHOWN} latent frames"),
            ("process", self.process, host),
            ("reading", self.stages["reading"], "while the prompts are read; that tower is then let go"),
            ("denoising", self.stages["denoising"], "while steps are taken; that tower is then let go"),
            ("pixels", self.stages["pixels"], "while frames are made"),
            ("resident", self.resident, "at most, where everything stays loaded, as in a server"),
        ]


def towers_estimate(
    bundle: Bundle, variant: str, options: FilmOptions, widths: Widths, words: int | None = None
) -> TowersEstimate:
    """Memory of a clip with `options` and prompts of `words` tokens; None is as many as the bundle takes.

    Raises RequestError for what cannot be filmed, BundleError for other bundles.
    """
    contract, index = bundle.manifest.film, bundle.variant(variant).index
    if contract is None or contract.towers is None:
        raise BundleError(f"{bundle.path} is no bundle of two towers")
    wanted = settled(contract, options)
    clip = clip_of(contract, wanted.frames, wanted.height, wanted.width)
    held = {name: one.tensors for name, one in index.items() if name not in ("denoise", "sample", "vision")}
    n, w, length = contract.network, widths.computed, words or contract.text.length
    cache = CacheShape(n.layers, n.heads, n.head_dim, widths.cache)
    guided = any(wanted.guidance.guided(t) for t in wanted.first.timesteps)
    rows = _rows(clip, contract)
    layer = _Layer.of(held["velocity"], contract)
    states = [clip.grid[0] * clip.grid[1] * each for each in index["pixels_next"].states]
    network = rows * (4 * layer.hidden + layer.projected + 2 * layer.widest) * w
    piece, rounded = min(PIECE, length), -(-length // CHUNK) * CHUNK
    own = contract.towers.own_key
    reader = (
        piece * (4 * layer.hidden + layer.projected + 2 * layer.widest) * w
        + cache.bytes(piece) * (3 if own else 2) // 2
    )
    return TowersEstimate(
        weights={name: widths.weights(name, tensors) for name, tensors in held.items()},
        prompts=cache.bytes(length) * (2 if guided else 1),
        cache=cache.bytes(rounded),
        reader=reader + layer.heads * piece * (rounded + piece) * w,
        network=network + 2 * (rows + length) * layer.heads_held * n.head_dim * w,
        scores=2 * layer.heads * rows * (rows + length) * w,
        states=2 * sum(states) * w,
        decoder=MAPS * (max(states, default=0) // 2) * w,
        clip=PIXEL * min(clip.frames, SHOWN * contract.latent.temporal) * clip.height * clip.width * 3,
        fused=widths.apart or not widths.mapped or index["velocity"].fused,
        process=PROCESS + MORE,
        apart=widths.apart,
    )


@dataclass(frozen=True)
class _Layer:
    """Sizes of a layer."""

    hidden: int
    projected: int
    """Width of queries, keys and values together."""
    widest: int
    """Width of its widest product."""
    heads: int
    """Heads of queries."""
    heads_held: int
    """Heads of keys and values."""

    @staticmethod
    def of(tensors: Mapping[str, StoredTensor], contract: FilmContract) -> _Layer:
        n = contract.network
        shapes = {name.removesuffix(".codes"): t.shape for name, t in tensors.items() if "generator.layers.0." in name}
        hidden, projected = shapes["generator.layers.0.qkv"]
        widest = max(shape[-1] for shape in shapes.values() if len(shape) == 2)
        return _Layer(hidden, projected, widest, projected // n.head_dim - 2 * n.heads, n.heads)


def _rows(clip: Clip, contract: FilmContract) -> int:
    """Rows of a whole clip."""
    assert contract.towers is not None, "a contract of two towers"
    patch = contract.towers.patch
    return clip.latents * -(-clip.grid[0] // patch) * -(-clip.grid[1] // patch)
