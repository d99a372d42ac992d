"""The checkpoint in torch against the exported graphs, before a bundle is published.

Torch comes first and its outputs are kept; then its weights are dropped and the graphs are loaded, so that the two
never share the memory. Knows cases, comparisons and the runtime's own decode loop, which both sides run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...engines.fake import FakeEngine
from ...engines.protocol import Engine, Signature
from ...runtime.bundle.manifest import ParityRow
from ...runtime.console.lines import Progress
from ...runtime.decode.block import Prompt
from ...runtime.decode.cache import CacheShape
from ...runtime.decode.contract import DecodeContract
from ...runtime.decode.options import Options
from ...runtime.decode.session import Session
from ..graphs.kind import Array, Case
from ..graphs.kinds import kinds
from ..graphs.shapes import Network
from .tolerances import ANOTHER_EXPERT, ROUNDING, Rounding, allowed, compared, distance

__all__ = ["Check", "Recorded", "count", "record", "verdicts"]

BLOCKS = 2
"""Blocks of the decode that is compared."""

STEPS = 4
"""Per block of that decode at most."""


DISTURBED = 6
"""Times that a mixture of experts is disturbed: a rounding seldom chooses another expert, but that moves a row far."""


NO_ROWS: Array = np.zeros((1, 1, 1), np.float32)
"""Stands for the backbone's hidden rows before there are any."""


@dataclass(frozen=True)
class Check:
    """The work that both sides are given."""

    network: Network
    contract: DecodeContract
    max_context: int
    decode: bool = True


Made = Mapping[str, Array]
"""Outputs by name."""


@dataclass
class Recorded:
    """Results of the reference, and how far a rounding after every layer moves it."""

    cases: dict[str, list[tuple[Case, Made]]] = field(default_factory=dict)
    """Graph to its cases with their outputs."""
    steps: list[tuple[Made, Made]] = field(default_factory=list)
    """Inputs and outputs of the denoise graph in a decode."""
    ports: tuple[Mapping[str, Signature], Mapping[str, Signature]] = ({}, {})
    """Inputs and outputs of the denoise graph, by name."""
    spread: dict[str, float] = field(default_factory=dict)
    """Kind of output to its spread, as a share of its largest number."""


def record(
    check: Check, engine: Callable[[str], Engine], disturbed: Callable[[str], Engine], progress: Progress
) -> Recorded:
    """Run every case, and the decode, on the reference; and the backbone's and the tower's cases `disturbed`."""
    recorded = Recorded()
    hidden = NO_ROWS
    for graph, kind in kinds(check.network).items():
        reference = engine(graph)
        recorded.cases[graph] = []
        for case in kind.cases(check.network, hidden, check.contract.block_size):
            recorded.cases[graph].append((case, _run(reference, case.feeds)))
            progress.add()
        hidden = recorded.cases[graph][-1][1].get("hidden", hidden)
    times = 1 if check.network.decoder.experts is None else DISTURBED
    _spread(check.network, recorded, engine, disturbed, times)
    if check.decode:
        recorded.ports = (engine("denoise").inputs, engine("denoise").outputs)
        recorded.steps = _recorded_decode(check, engine)
        progress.add()
    return recorded


def _moved(a: Made, b: Made) -> float:
    """The largest difference of confidences in the same token."""
    same = a["proposed"] == b["proposed"]
    return float(np.abs(a["confidence"] - b["confidence"])[same].max(initial=0.0))


def _spread(
    network: Network,
    recorded: Recorded,
    engine: Callable[[str], Engine],
    disturbed: Callable[[str], Engine],
    times: int,
) -> None:
    for graph, kind in kinds(network).items():
        if not any(piece.residual for piece in kind.pieces(network)):
            continue
        pairs = [(made, _run(disturbed(graph), case.feeds)) for case, made in recorded.cases[graph] * times]
        recorded.spread |= {kind: distance(some) for kind, some in _kinds(pairs).items()}
        if graph == "backbone":
            moved = pairs[len(recorded.cases[graph]) - 1][1]["hidden"]
    case, made = recorded.cases["denoise"][0]
    other = _run(engine("denoise"), {**case.feeds, "hidden": moved})
    recorded.spread["beliefs"] = distance(_agreeing(made, other))
    recorded.spread["probability"] = _moved(made, other)


def verdicts(
    check: Check,
    recorded: Recorded,
    engine: Callable[[str], Engine],
    rounding: Rounding,
    progress: Progress,
    how: str = "",
) -> list[ParityRow]:
    """Compare `engine` with what was recorded; `how` is appended to the checks' names."""
    # A float32 sum over the vocabulary, as sampling wants it, errs by this at most.
    near = max(rounding.least.margin, check.network.decoder.vocab * 2.0**-25)
    rows: list[ParityRow] = []
    for graph in reversed(recorded.cases):  # the backbone last: the decode begins with it
        exported = engine(graph)
        pairs: list[tuple[Made, Made]] = []
        margins: list[float] = []
        for case, reference in recorded.cases[graph]:
            made = _run(exported, case.feeds)
            pairs.append((reference, made))
            margins += _margins(exported, case.feeds, reference, made, near)
            progress.add()
        rows = [
            compared(graph, kind + how, some, allowed(rounding, recorded.spread.get(kind, 0.0)), margins)
            for kind, some in _kinds(pairs).items()
        ] + rows
        del exported
    if check.decode:
        rows.append(_decoded(check, recorded, engine, rounding, how))
        progress.add()
    return rows


def count(check: Check) -> int:
    """Checks of one side."""
    cases = [kind.cases(check.network, NO_ROWS, check.contract.block_size) for kind in kinds(check.network).values()]
    return sum(1 for some in cases for _ in some) + check.decode


def _run(engine: Engine, feeds: Made) -> dict[str, Array]:
    """All outputs, as float32 where they are of another width; inputs are fitted to the engine's dtypes."""
    fitted = {name: np.asarray(feed, engine.inputs[name].dtype) for name, feed in feeds.items()}
    made = {name: value for name, value in engine.run(fitted).items() if isinstance(value, np.ndarray)}
    return {n: v.astype(np.float32) if np.issubdtype(v.dtype, np.floating) else v for n, v in made.items()}


def _kinds(pairs: Sequence[tuple[Made, Made]]) -> dict[str, list[tuple[Array, Array]]]:
    """Outputs of both sides by kind: the rows of the table."""
    outputs = list(pairs[0][0])
    if "proposed" in outputs:
        return {"tokens, confidence, entropy, held": [pair for a, b in pairs for pair in _agreeing(a, b)]}
    starts: dict[str, str | tuple[str, ...]] = {"hidden": "hidden", "keys": ("new_key", "new_condition_key")}
    starts |= {"values": "new_value", "features": "features"}
    names = {kind: [name for name in outputs if name.startswith(start)] for kind, start in starts.items()}
    return {kind: [(a[name], b[name]) for a, b in pairs for name in some] for kind, some in names.items() if some}


def _agreeing(a: Made, b: Made) -> list[tuple[Array, Array]]:
    """Beliefs of both sides, but no confidence where another token is proposed: there a margin speaks.

    All in one, beside a 1: errors of probabilities and nats count as they are, not as shares of a largest one, which
    in a model that is sure of itself may be tiny.
    """
    rows = a["proposed"] == b["proposed"]
    sides = ((m["confidence"][rows], m["entropy"].ravel(), m["held"].ravel(), np.ones(1, np.float32)) for m in (a, b))
    reference, exported = (np.concatenate(side) for side in sides)
    return [(reference, exported)]


def _margins(engine: Engine, feeds: Made, a: Made, b: Made, near: float) -> list[float]:
    """For each choice in which `b`, computed by `engine`, differs from `a`: by how much it was preferred."""
    if "proposed" not in a:
        return []
    proposed = a["proposed"] != b["proposed"]
    margins = _drawn(engine, feeds, a, proposed, near) if "noise" in feeds else _chosen(engine, feeds, a, b, proposed)
    settled = (a["next_masked"] != b["next_masked"]) & ~proposed
    return margins + [_accept_margin(a["confidence"][0], feeds, int(row)) for row in np.flatnonzero(settled[0])]


def _chosen(engine: Engine, feeds: Made, a: Made, b: Made, differ: Array) -> list[float]:
    """Greedy: how much more probable than `a`'s token the engine finds its own. `held` tells, given `a`'s as tokens."""
    if not differ.any():
        return []
    believed = _run(engine, {**feeds, "tokens": a["proposed"]})["held"]
    return [float(x) for x in (b["confidence"] - believed)[differ]]


def _drawn(engine: Engine, feeds: Made, a: Made, differ: Array, near: float) -> list[float]:
    """Sampling: tokens grow with the noise, so `a`'s is a near miss if a little less and a little more enclose it."""
    if not differ.any():
        return []
    low, high = (
        _run(engine, {**feeds, "noise": np.clip(feeds["noise"] + d, 0, 1 - 2**-24)})["proposed"] for d in (-near, near)
    )
    enclosed = (low <= a["proposed"]) & (a["proposed"] <= high)
    return [0.0 if x else float("inf") for x in enclosed[differ]]


def _accept_margin(confidence: Array, feeds: Made, row: int) -> float:
    """The distance of the row's confidence from what decides: the threshold, or another masked row's."""
    rivals = confidence[feeds["masked"][0] & (np.arange(len(confidence)) != row)]
    against = np.append(rivals, feeds["threshold"][0])
    return float(np.abs(against - confidence[row]).min())


def _decode(check: Check, backbone: Engine, denoise: FakeEngine) -> list[dict[str, Array]]:
    """Two blocks after a random prompt, greedily, through the runtime's loop; what its denoise graph was fed."""
    s, contract = check.network.decoder, check.contract
    block = min(contract.block_size, 32)
    cache = CacheShape(s.layers, s.kv_heads, s.head_dim, backbone.inputs["past_key_0"].dtype)
    engines: dict[str, Engine] = {"denoise": denoise, "backbone": backbone}
    session = Session(engines.__getitem__, contract, cache, max(check.max_context, 4 * block))
    prompt = np.random.default_rng(4).integers(0, s.vocab, block + block // 2 + 1)
    line = np.arange(len(prompt))
    positions = np.broadcast_to(line, (3, len(line))) if s.rope_axes else line
    options = Options(max_tokens=BLOCKS * block, block_size=block, steps=min(block, STEPS), temperature=0.0)
    session.generate(Prompt.of(prompt, positions, len(prompt)), options)
    return denoise.calls


def _recorded_decode(check: Check, engine: Callable[[str], Engine]) -> list[tuple[Made, Made]]:
    denoise = engine("denoise")
    made: list[Made] = []

    def compute(feeds: dict[str, Array]) -> Made:
        made.append(_run(denoise, feeds))
        return made[-1]

    listener = FakeEngine(denoise.inputs, denoise.outputs, compute)
    return list(zip(_decode(check, engine("backbone"), listener), made, strict=True))


def _followed(check: Check, recorded: Recorded, backbone: Engine) -> list[dict[str, Array]]:
    """The inputs of the denoise graph when the exported backbone decodes along the reference's choices.

    Up to a first difference that is the decode itself, and it goes on after one; and the two graphs need not be in
    memory together.
    """
    answers = iter([made for _, made in recorded.steps])
    inputs, outputs = recorded.ports
    own = {name: replace(inputs[name], dtype=backbone.outputs["hidden"].dtype) for name in ("hidden", "carry")}
    return _decode(check, backbone, FakeEngine({**inputs, **own}, outputs, lambda _: next(answers)))


def _decoded(
    check: Check, recorded: Recorded, engine: Callable[[str], Engine], rounding: Rounding, how: str
) -> ParityRow:
    """The decode, step by step."""
    spread = recorded.spread
    tolerance = allowed(rounding, spread["beliefs"], spread["probability"], chained=2.0)
    if check.network.decoder.experts is not None and rounding.step > ROUNDING["fp32"].step:
        tolerance = ANOTHER_EXPERT
    inputs = _followed(check, recorded, engine("backbone"))
    denoise = engine("denoise")
    pairs: list[tuple[Array, Array]] = []
    margins: list[float] = []
    for feeds, (_, a) in zip(inputs, recorded.steps, strict=True):
        b = _run(denoise, feeds)
        pairs += _agreeing(a, b)
        margins += _margins(denoise, feeds, a, b, tolerance.margin)
    return compared("decode", f"greedy, {BLOCKS} blocks, {len(recorded.steps)} steps{how}", pairs, tolerance, margins)
