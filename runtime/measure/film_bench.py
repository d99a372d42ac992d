"""Filming, measured on this machine: each part by itself, and a step beside its floor.

The floor of a denoising forward is the larger of two: its weights and the keys and values that it sees, read once; its
multiplications, at the rate of a large product. Knows no other way of filming.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from ..film.film import Film
from ..film.options import FilmOptions
from ..film.towers import TowerNetwork
from ..model import Model
from .bench import bandwidth_of

__all__ = ["FilmReport", "film_measured"]

PROMPT = "A red ball rolls across the wet street, past a yellow taxi."


@dataclass(frozen=True)
class FilmReport:
    """Medians over the repeats; frames a second of a part count that part's time alone."""

    frames: int
    height: int
    width: int
    forwards: int
    prefill_ms: float | None
    """One prompt read by a network that reads it itself, the negative one being remembered; None for others."""
    step_ms: float
    """One forward of denoising, with its update."""
    denoise_fps: float
    commit_fps: float | None
    """None where no block was committed by itself."""
    pixels_fps: float
    end_to_end_fps: float
    overlap: float | None
    """Times as fast with commits beside the pixels (option `overlap`): median over pairs in turn; None without any."""
    first_block_ms: float
    """From the request to the first block's pixels; an encoder's prompt is encoded already."""
    python_share: float
    """Part of the time that is not spent inside engines."""
    forward_flops: float
    """Floating-point operations of a denoising forward in the last block: products and attention."""
    forward_bytes: float
    """Weights, and keys and values that the last block sees."""
    read_bandwidth: float
    flops_rate: float
    """Operations a second of a product of two matrices of 1024 in numpy, in float32; on a GPU it says nothing."""
    floor_ms: float
    bound: str
    """`bytes` or `flops`: the larger of the two."""
    floor_share: float
    """floor_ms / step_ms."""


def film_measured(model: Model, options: FilmOptions, repeats: int = 3) -> FilmReport:
    """Film a clip once to warm up and `repeats` times to measure. Raises RequestError as `Model.film` does."""
    whole = model.studio.contract.towers is not None
    _filmed(model, options, PROMPT)
    # A prompt that was read is remembered: each repeat reads another one of the same length.
    prompts = [f"{PROMPT} Take {i % 10}." if whole else PROMPT for i in range(repeats)]
    films, beside = [], []
    for prompt in prompts:
        films.append(_filmed(model, options, prompt))
        if not whole:
            beside.append(_filmed(model, replace(options, overlap="commit"), prompt))
    film = films[0][0]
    frames, steps = film.clip.frames, film.forwards - _commits(film)
    step = median(f.seconds.denoise / steps for f, *_ in films)
    commit = median(f.seconds.commit for f, *_ in films)
    flops, size = _work(model, film)
    bandwidth, rate = bandwidth_of(model.engine(model.studio.contract.denoiser).memory), _rate()
    floors = {"bytes": size / bandwidth, "flops": flops / rate}
    bound = max(floors, key=lambda name: floors[name])
    return FilmReport(
        frames=frames,
        height=film.clip.height,
        width=film.clip.width,
        forwards=film.forwards,
        prefill_ms=1e3 * median(f.seconds.text for f, *_ in films) if whole else None,
        step_ms=1e3 * step,
        denoise_fps=frames / median(f.seconds.denoise for f, *_ in films),
        commit_fps=frames / commit if commit else None,
        pixels_fps=frames / median(f.seconds.pixels for f, *_ in films),
        end_to_end_fps=frames / median(spent for _, spent, *_ in films),
        overlap=median(a[1] / b[1] for a, b in zip(films, beside, strict=True)) if beside else None,
        first_block_ms=1e3 * median(first for *_, first, _ in films),
        python_share=median(share for *_, share in films),
        forward_flops=flops,
        forward_bytes=size,
        read_bandwidth=bandwidth,
        flops_rate=rate,
        floor_ms=1e3 * floors[bound],
        bound=bound,
        floor_share=floors[bound] / step,
    )


def _filmed(model: Model, options: FilmOptions, prompt: str) -> tuple[Film, float, float, float]:
    """A film, its seconds, those to its first block, and the share outside engines."""
    contract = model.studio.contract
    unused = {"denoise", "sample", "vision", *([] if _merges(options) else ["frames_merged"])}
    used = [g for g in model.variant.graphs if g not in unused or g in (contract.reader, contract.denoiser)]
    engines = [model.engine(graph) for graph in used]
    busy, started, first = sum(engine.busy_seconds for engine in engines), time.perf_counter(), 0.0
    film = model.film(prompt, options=options)
    for _ in film:
        first = first or time.perf_counter() - started
    spent = time.perf_counter() - started
    inside = sum(engine.busy_seconds for engine in engines) - busy
    return film, spent, first, max(0.0, 1 - inside / spent)


def _merges(options: FilmOptions) -> bool:
    return options.commit == "merged"


def _commits(film: Film) -> int:
    """Forwards that only committed."""
    return 0 if film.script.merged else len(film.clip.blocks) - 1


def _work(model: Model, film: Film) -> tuple[float, float]:
    """Operations and bytes of a forward of the last block."""
    contract, clip = model.studio.contract, film.clip
    n, block = contract.network, clip.blocks[-1]
    tensors = model.variant.index[contract.denoiser].tensors
    elements = sum(tensor.elements for tensor in tensors.values() if len(tensor.shape) == 2)
    if isinstance(film.network, TowerNetwork):
        seen = film.network.wanted.condition.length
        rows = film.network.wanted.rope_cos.shape[1]
        projected = next(t.shape[1] for name, t in tensors.items() if name.startswith("generator.layers.0.qkv"))
        heads, crossed = projected // n.head_dim - 2 * n.heads, 0
    else:
        rows, seen, heads = len(block) * clip.rows, len(clip.window.past(block)) * clip.rows, n.heads
        crossed = 4 * rows * contract.text.length * heads * n.head_dim * n.layers
    attention = 4 * rows * (seen + rows) * heads * n.head_dim * n.layers
    held = model.studio.shape.bytes(seen)
    return float(2 * elements * rows + attention + crossed), float(model.variant.step_bytes + held)


def _rate(size: int = 1024, repeats: int = 5) -> float:
    a, b = np.ones((size, size), np.float32), np.ones((size, size), np.float32)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times)
