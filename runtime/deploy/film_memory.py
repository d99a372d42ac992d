"""Memory that a causal network takes while it films, before anything is built or loaded. docs/frames.md has figures.

    weights      what each graph's file holds, at the target's width. The text encoder is let go before the network is
                 loaded (by the commands; a program that keeps it needs the sum), so it counts in the first phase alone
    cache        2 L A D w bytes a row: the frames that a full window's block sees, and the block that waits to come in;
                 of the prompt, one row a token
    states       of the pixel decoder, twice: those fed, and those that come out
    activations  of the network R (5 W + 3 F) w (W: its width, F: of its MLP), and of the autoencoder's graphs 10, 23
                 and 4 times its largest map of one frame: each engine keeps its own. Fitted to what TensorRT-RTX asks
                 for at the published sizes. On a CPU, where arrays are let go of, R (4 W + F) w and 16 maps (four
                 frames, of which a convolution holds input, padded input, output and one more)
    scores       2 A R (T + R) w where attention is not fused: on a CPU always. Reported beside the sum on a GPU
    workspace    on a CPU, half of the activations that are counted, as for words: see `memory_model`

Knows sizes; neither builds nor runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ...engines.errors import BundleError
from ..bundle.files import Bundle
from ..bundle.manifest import DRAFTS
from ..bundle.weight_index import StoredTensor
from ..console.lines import size
from ..decode.cache import CacheShape
from ..film.clip import clip_of
from ..film.options import FilmOptions, settled
from .memory_model import PROCESS, Widths
from .precisions import EXACT

__all__ = ["MAPS", "FilmEstimate", "film_estimate"]

WHOLE = ("pixels_first", "pixels_next")
"""Decoder of films that are no drafts."""

MAPS = 16
"""Largest maps of one frame that the decoder holds at once on a CPU: four tensors of four frames."""

CODED = {"text": ("*.gate_up",), **dict.fromkeys(("frames", "frames_merged"), ("layers.*_weight",))}
"""Patterns of weights that int8 and fp8 store as codes, by graph; all others stay as they are."""

ENGINE_MAPS = {"pixels_first": 10, "pixels_next": 23, "encode_first": 4}
"""The same of an engine, by graph: 10.0, 22.1 and 3.3 were asked for by those of Wan 2.1's autoencoder."""


@dataclass(frozen=True)
class FilmEstimate:
    """Bytes."""

    weights: dict[str, int]
    """Weights by graph; the text encoder is not among them."""
    text: int
    """The text encoder's, before the first frame."""
    cache: int
    prompt: int
    """Keys and values of the prompt."""
    states: int
    network: int
    """The network's activations."""
    decoder: int
    """The pixel decoder's activations."""
    scores: int
    """Attention's scores where they are not fused."""
    workspace: int
    """Memory that kernels take beside tensors; an engine's is among its activations."""
    fused: bool
    """Scores are not in the sums."""
    process: int
    apart: bool

    @property
    def filming(self) -> int:
        """While frames are made."""
        parts = sum(self.weights.values()) + self.cache + self.prompt + self.states
        taken = parts + self.network + self.decoder + self.workspace + (0 if self.fused else self.scores)
        return taken if self.apart else taken + self.process

    @property
    def encoding(self) -> int:
        """While the prompt is encoded, by an encoder that is then let go."""
        taken = self.text
        return taken if self.apart else taken + self.process

    @property
    def stages(self) -> dict[str, int]:
        """Memory by stage."""
        return {"encoding": self.encoding, "filming": self.filming}

    @property
    def peak(self) -> int:
        """The most at any time."""
        return max(self.filming, self.encoding)

    def rows(self) -> list[tuple[str, int, str]]:
        """Name, bytes and a note of each part, for people."""
        host = "in the host's memory, not in the sums" if self.apart else ""
        fused = "where attention is not fused: not in the sums" if self.fused else "attention is not fused on a CPU"
        return [
            ("weights", sum(self.weights.values()), ", ".join(f"{n} {size(b)}" for n, b in self.weights.items())),
            ("text", self.text, "the encoder, let go before the network is loaded"),
            ("cache", self.cache, "keys and values of the frames that are seen, and of the next block"),
            ("prompt", self.prompt, "its keys and values"),
            ("states", self.states, "of the pixel decoder, twice"),
            ("network", self.network, "activations"),
            ("decoder", self.decoder, "activations, one latent frame at a time"),
            ("scores", self.scores, fused),
            ("workspace", self.workspace, ""),
            ("process", self.process, host),
            ("encoding", self.encoding, "while the prompt is read"),
            ("filming", self.filming, "while frames are made"),
        ]


def film_estimate(bundle: Bundle, variant: str, options: FilmOptions, widths: Widths) -> FilmEstimate:
    """Memory of a clip with `options`. Raises RequestError for what cannot be filmed, BundleError for other bundles."""
    contract = bundle.manifest.film
    index = bundle.variant(variant).index
    if contract is None or "frames" not in index:
        raise BundleError(f"{bundle.path}: memory is planned for words, and for causal networks that film")
    wanted = settled(contract, options)
    clip = clip_of(contract, wanted.frames, wanted.height, wanted.width, False, wanted.window)
    draft = wanted.small_decoder and DRAFTS[1] in index
    left_out = {*(WHOLE if draft else DRAFTS), *([] if wanted.merged else ["frames_merged"])}
    held = {name: one.tensors for name, one in index.items() if name not in left_out}
    weights = {name: _weights(name, tensors, widths) for name, tensors in held.items()}
    n, rows = contract.network, clip.rows
    past = max(len(clip.window.past(block)) for block in clip.blocks) * rows
    block = max(len(one) for one in clip.blocks) * rows
    cache = CacheShape(n.layers, n.heads, n.head_dim, widths.cache)
    states = [clip.grid[0] * clip.grid[1] * each for each in index[DRAFTS[1] if draft else WHOLE[1]].states]
    w, wide = widths.computed, n.heads * n.head_dim
    mlp = max(t.shape[-1] for t in held["frames"].values() if len(t.shape) == 2)
    largest = max(states, default=0) // 2 * w
    fused = widths.apart or not widths.mapped
    row = 5 * wide + 3 * mlp if fused else 4 * wide + mlp
    network = block * row * w + cache.bytes(block)
    maps = sum(ENGINE_MAPS.get(name.removesuffix("_draft"), 0) for name in held) if fused else MAPS
    decoder = maps * largest
    scores = 2 * n.heads * block * (past + block) * w
    return FilmEstimate(
        weights={name: count for name, count in weights.items() if name != "text"},
        text=weights.get("text", 0),
        cache=cache.bytes(past + block),
        prompt=cache.bytes(contract.text.length),
        states=2 * sum(states) * w,
        network=network,
        decoder=decoder,
        scores=scores,
        workspace=0 if fused else (network + decoder + scores) // 2,
        fused=fused,
        process=PROCESS,
        apart=widths.apart,
    )


def _weights(graph: str, tensors: Mapping[str, StoredTensor], widths: Widths) -> int:
    """Bytes of a graph's weights; products that stay exact are never narrower than they are stored."""
    floats = replace(widths, codes=None)
    return sum(
        t.bytes if _named(name, EXACT, graph) else (widths if _named(name, CODED, graph) else floats).stored(t)
        for name, t in tensors.items()
    )


def _named(name: str, patterns: Mapping[str, tuple[str, ...]], graph: str) -> bool:
    """A tensor of the graph is one of those that the patterns mean."""
    return any(fnmatchcase(name, pattern) for pattern in patterns.get(graph, ()))
