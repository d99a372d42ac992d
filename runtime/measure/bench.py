"""Measuring a decode: latencies, throughput, memory, and how near the machine's own limit it comes.

Every figure is taken from real decodes of one process; ratios between figures of one run are what to keep, since
absolute times drift with whatever else a machine does. Knows models and sessions, not how reports are printed.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError
from ...engines.host import HostMemory
from ...engines.protocol import Memory
from ..decode.block import Prompt, Step
from ..decode.contract import DecodeContract
from ..decode.options import Options, plan
from ..decode.session import Session, TextResult
from ..model import Model
from ..pace.measured import random_tokens

__all__ = [
    "Comparison",
    "Peer",
    "PeerRun",
    "Report",
    "Settings",
    "VariantPeer",
    "bandwidth_of",
    "compare",
    "endless",
    "measure",
    "peak_rss",
    "random_prompt",
    "read_bandwidth",
    "timed",
    "tokens_per_cpu_second",
    "tokens_per_second",
]

WIDTH = 1024
"""Elements of a row that a device copies to show how fast its memory is."""


@dataclass(frozen=True)
class Settings:
    """Sizes and options of the decode that is measured."""

    prompt_tokens: int = 512
    repeats: int = 3
    options: Options = field(default_factory=lambda: Options(max_tokens=64))


@dataclass(frozen=True)
class Report:
    """Measurements; times in milliseconds unless named otherwise."""

    prompt_tokens: int
    tokens: int
    block_size: int
    steps: int
    first_block_ms: float
    """From the start to the end of the first block, prefill included: median over the repeats."""
    first_step_ms: float
    """Prefill and the first denoising step in one: median over the repeats."""
    prefill_tokens_per_second: float
    """Prompt tokens over the time of the first step, less one plain step."""
    step_ms: float
    """A plain denoising step (T = block): median."""
    step_p95_ms: float
    commit_step_ms: float
    """The first step of a later block, which also commits the last one: median."""
    forwards_per_block: float
    """Forwards that only prefill left out, here and below."""
    tokens_per_forward: float
    tokens_per_second: float
    """Generated tokens over the whole decode, prefill left out: median over the repeats."""
    python_share: float
    """Part of the decode spent outside the engines' own code."""
    weights_bytes: int
    step_bytes: int
    """Weights that one step reads."""
    read_bandwidth: float
    """Bytes per second that one thread, or the GPU that decodes, reads from its memory, measured."""
    floor_ms: float
    """Time to read `step_bytes` once at that bandwidth: no step can be faster (on a CPU, on one thread)."""
    floor_share: float
    """floor_ms / step_ms."""
    cache_bytes: int
    peak_rss_bytes: int | None
    """Peak resident memory of the process so far; None where the system does not tell."""


@dataclass(frozen=True)
class PeerRun:
    """One decode by somebody else."""

    tokens: tuple[int, ...]
    seconds: float
    """Prefill left out, as in `tokens_per_second`."""
    forwards: int
    cpu_seconds: float | None = None
    """Processor time of its threads in these seconds; None where it is not told."""
    first_seconds: float | None = None
    """Time to the first token, the prompt's; None where it is not told."""
    first_cpu_seconds: float | None = None


class Peer(Protocol):
    """Another way to decode the same weights."""

    def decode(
        self, prompt: NDArray[np.int64], block: int, steps: int, threshold: float | None, tokens: int
    ) -> PeerRun:
        """Decode greedily without stop tokens."""


def measure(model: Model, settings: Settings, prompt: Prompt | None = None) -> Report:
    """Decode `settings.repeats` times after one warm-up, and report. Raises RequestError for less than two blocks."""
    block = plan(model.manifest.decode, settings.options).block
    if settings.options.max_tokens < 2 * block:
        raise RequestError(f"max_tokens: got {settings.options.max_tokens}, expected two blocks of {block} or more")
    prompt = prompt or random_prompt(model, settings.prompt_tokens)
    _decode(model, prompt, replace(settings.options, max_tokens=2 * block))
    runs = [_decode(model, prompt, settings.options) for _ in range(settings.repeats)]
    return _report(model, settings, prompt, runs)


@dataclass(frozen=True)
class Comparison:
    """a2d and a peer in turn, so that a machine that slows down slows both."""

    ratio: float
    """a2d's tokens per second over the peer's: median over the pairs."""
    tokens_per_second: float
    """The peer's."""
    forwards: int
    """The peer's, prefill included."""
    same_tokens: float
    """Share of tokens that both generated alike."""
    step_ratio: float | None
    """A plain step of the peer's over one of a2d's: median over the pairs; None for peers that show no steps."""


def compare(model: Model, settings: Settings, peer: Peer) -> Comparison:
    """Decode by a2d and by `peer` in turn, greedily and without stop tokens, `settings.repeats` times."""
    prompt = random_prompt(model, settings.prompt_tokens)
    chosen = plan(model.manifest.decode, settings.options)
    tail = len(prompt) % chosen.block if model.manifest.decode.prompt_alignment == "tail" else 0
    later = chosen.options.max_tokens - (chosen.block - tail)  # tokens after the first block, which the clock skips
    ratios, speeds, own_steps = [], [], []
    for _ in range(settings.repeats):
        own = _decode(model, prompt, settings.options)
        run = peer.decode(prompt.rows.tokens, chosen.block, chosen.steps, chosen.threshold, chosen.options.max_tokens)
        speeds.append(later / run.seconds)
        ratios.append(tokens_per_second(own) / speeds[-1])
        own_steps.append(_step_seconds(own))
    same = np.mean([a == b for a, b in zip(run.tokens, own.result.tokens, strict=True)])
    theirs = peer.step_seconds if isinstance(peer, VariantPeer) else []
    step_ratio = float(np.median(np.divide(theirs, own_steps))) if theirs else None
    return Comparison(float(np.median(ratios)), float(np.median(speeds)), run.forwards, float(same), step_ratio)


class VariantPeer:
    """The same bundle in another precision, as a peer."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.step_seconds: list[float] = []
        """Median of the plain steps of each decode."""

    def decode(
        self, prompt: NDArray[np.int64], block: int, steps: int, threshold: float | None, tokens: int
    ) -> PeerRun:
        """See `Peer.decode`."""
        options = Options(block_size=block, steps=steps, threshold=threshold, max_tokens=tokens)
        run = _decode(self._model, self._model.prompt(prompt), options)
        self.step_seconds.append(_step_seconds(run))
        return PeerRun(run.result.tokens, sum(run.seconds[_first_block(run) :]), run.result.forwards)


def random_prompt(model: Model, tokens: int) -> Prompt:
    """Text tokens, the same every time, as frequent as words are."""
    if tokens > (most := model.manifest.model.max_context):
        raise RequestError(f"prompt_tokens: got {tokens}, the context of this bundle holds {most}")
    return model.prompt(random_tokens(model.manifest, tokens))


@dataclass(frozen=True)
class _Run:
    result: TextResult
    steps: list[Step]
    seconds: list[float]
    cpu_seconds: list[float]
    """Processor time of this process, by step."""
    forwards: int
    """Forwards of the backbone without those that did nothing but prefill."""
    busy: float
    cache_bytes: int

    @property
    def tokens_per_forward(self) -> float:
        """Over the whole decode, forwards that only prefill left out."""
        return len(self.result.tokens) / self.forwards


def _decode(model: Model, prompt: Prompt, options: Options) -> _Run:
    before = _busy(model)
    run = timed(endless(model), prompt, options)
    return replace(run, busy=_busy(model) - before)


def timed(session: Session, prompt: Prompt, options: Options) -> _Run:
    """One decode, step by step."""
    generation = session.stream(prompt, options)
    steps: list[Step] = []
    clocks: list[tuple[float, float]] = [(time.perf_counter(), time.process_time())]
    prefill = 0
    for step in generation:
        clocks.append((time.perf_counter(), time.process_time()))
        prefill = prefill if steps else session.backbone.forwards - 1
        steps.append(step)
    seconds, busy = np.diff(clocks, axis=0).T.tolist()
    cache, result = session.backbone.cache, generation.result
    return _Run(result, steps, seconds, busy, result.forwards - prefill, 0.0, cache.shape.bytes(cache.capacity))


def endless(model: Model, contract: DecodeContract | None = None) -> Session:
    """A session that no stop token ends: a benchmark decodes what it was asked for, by `contract` or its own."""
    session = model.session()
    session.contract = replace(contract or session.contract, stop_token_ids=())
    return session


def _busy(model: Model) -> float:
    return sum(model.engine(name).busy_seconds for name in ("backbone", "denoise"))


def _report(model: Model, settings: Settings, prompt: Prompt, runs: Sequence[_Run]) -> Report:
    chosen = plan(model.manifest.decode, settings.options)
    plain = [t for run in runs for step, t in zip(run.steps, run.seconds, strict=True) if step.index > 0]
    commit = [t for run in runs for s, t in zip(run.steps, run.seconds, strict=True) if s.index == 0 and s.block > 0]
    # With one step per block every step commits, and there is no plain one.
    step = float(np.median(plain or commit))
    first = float(np.median([run.seconds[0] for run in runs]))
    # A block that the prefill opens begins with a step that runs no rows of its own.
    opened = model.manifest.decode.opening == "predicted" and not runs[0].steps[0].prompt
    variant, result, peak = model.variant, runs[-1].result, peak_rss()
    bandwidth = bandwidth_of(model.engine("backbone").memory)  # takes memory of its own
    floor = variant.step_bytes / bandwidth
    return Report(
        prompt_tokens=len(prompt),
        tokens=len(result.tokens),
        block_size=chosen.block,
        steps=chosen.steps,
        first_block_ms=1e3 * float(np.median([run.result.first_block_seconds for run in runs])),
        first_step_ms=1e3 * first,
        prefill_tokens_per_second=len(prompt) / max(first - (0.0 if opened else step), 1e-9),
        step_ms=1e3 * step,
        step_p95_ms=1e3 * float(np.quantile(plain or commit, 0.95)),
        commit_step_ms=1e3 * float(np.median(commit or plain)),
        forwards_per_block=runs[-1].forwards / result.blocks,
        tokens_per_forward=runs[-1].tokens_per_forward,
        tokens_per_second=float(np.median([tokens_per_second(run) for run in runs])),
        python_share=1 - sum(run.busy for run in runs) / sum(sum(run.seconds) for run in runs),
        weights_bytes=variant.weights_bytes,
        step_bytes=variant.step_bytes,
        read_bandwidth=bandwidth,
        floor_ms=1e3 * floor,
        floor_share=floor / step,
        cache_bytes=runs[-1].cache_bytes,
        peak_rss_bytes=peak,
    )


def _first_block(run: _Run) -> int:
    """Steps of the first block."""
    return next(i for i, step in enumerate(run.steps) if step.final) + 1


def _step_seconds(run: _Run) -> float:
    """Median of the plain steps; of all after the first block where there is none."""
    plain = [t for step, t in zip(run.steps, run.seconds, strict=True) if step.index > 0]
    return float(np.median(plain or run.seconds[_first_block(run) :]))


def tokens_per_second(run: _Run) -> float:
    """Tokens after the first block over the time after it, so that prefill does not count."""
    return _tokens_over(run, run.seconds)


def tokens_per_cpu_second(run: _Run) -> float:
    """Tokens after the first block over the processor time of this process after it."""
    return _tokens_over(run, run.cpu_seconds)


def _tokens_over(run: _Run, seconds: Sequence[float]) -> float:
    first = _first_block(run)
    later = sum(len(s.tokens) for s in run.steps[first:] if s.final)
    return later / sum(seconds[first:])


def read_bandwidth(size: int = 1 << 28, repeats: int = 5) -> float:
    """Bytes per second at which one thread reads memory: the best of some passes over `size` bytes."""
    data = np.ones(size // 8, np.uint64)
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        np.bitwise_or.reduce(data)
        best = min(best, time.perf_counter() - started)
    return data.nbytes / best


def bandwidth_of(memory: Memory, size: int = 1 << 28, repeats: int = 5, copies: int = 8) -> float:
    """Bytes per second that `memory` moves: on a host by reading, on a device by copies, which read and write."""
    if isinstance(memory, HostMemory):
        return read_bandwidth(size, repeats)
    rows = max(2, size // (4 * WIDTH))
    source, target, last = (memory.zeros((1, 1, n, WIDTH), "float32") for n in (rows, rows, 1))
    best = float("inf")
    for _ in range(repeats + 1):  # the first one warms up
        started = time.perf_counter()
        for _ in range(copies):
            memory.copy_rows(source, 0, rows, target, 0)
        memory.copy_rows(target, rows - 1, 1, last, 0)
        last.numpy()  # waits for all of them
        best = min(best, time.perf_counter() - started)
    return 2 * copies * rows * 4 * WIDTH / best


def peak_rss() -> int | None:
    """Peak resident memory of this process in bytes, where the system tells."""
    status = Path("/proc/self/status")  # on Linux `getrusage` begins with the peak of whoever started the process
    if status.is_file():
        return 1024 * int(re.findall(r"^VmHWM:\s+(\d+)", status.read_text(encoding="utf-8"), re.MULTILINE)[0])
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
