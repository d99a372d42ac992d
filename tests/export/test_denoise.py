"""The denoise and sample graphs, exported, against slow and obvious numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from counts import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from a2d.engines import load_engine
from a2d.engines.protocol import Engine
from a2d.export.graphs.kind import trace_spec
from a2d.export.graphs.sample import SAMPLE
from a2d.export.graphs.shapes import DecoderShape, Network
from a2d.export.precision import PRECISIONS
from a2d.export.write.graph_models import Builder
from a2d.export.write.piece_cache import default_folder
from a2d.export.write.trace import key_of
from a2d.runtime.decode.block import all_but

VOCAB = HIDDEN = 24
FORBIDDEN = (3, 11)
OFF = 2.0


@dataclass(frozen=True)
class Graphs:
    builder: Builder
    denoise: Engine
    sample: Engine


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """Graphs whose output projection is the identity: hidden rows are logits."""
    shape = DecoderShape(1, HIDDEN, 2, 2, 4, 8, VOCAB, 1e-6, (1.0, 0.5))
    builder = Builder(Network(shape), (PRECISIONS["fp32"],), ["denoise", "sample"], default_folder())
    folder = tmp_path_factory.mktemp("graphs")
    return Graphs(builder, *(load(builder, name, folder) for name in ("denoise", "sample")))


def load(builder: Builder, name: str, folder: Path) -> Engine:
    model = builder.build(name, PRECISIONS["fp32"])
    model.graph.initializers["lm_head"].const_value = ir.tensor(np.eye(VOCAB, dtype=np.float32), name="lm_head")
    ir.save(model, folder / f"{name}.onnx")
    return load_engine("onnxruntime", folder / f"{name}.onnx", threads=1)


def test_projection_is_one_gemm_on_the_stored_matrix(graphs: Graphs) -> None:
    graph = graphs.builder.build("denoise", PRECISIONS["fp32"]).graph
    (node,) = [node for node in graph if graph.initializers["lm_head"] in node.inputs]
    assert node.op_type == "Gemm"
    assert node.attributes["transB"].as_int() == 1
    assert tuple(graph.initializers["lm_head"].shape or ()) == (VOCAB, HIDDEN)
    assert not [n for n in graph if n.op_type in ("Transpose", "TopK", "Loop", "If")]


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def accepted(confidence: np.ndarray, masked: np.ndarray, count: int, threshold: float) -> np.ndarray:
    order = sorted(np.flatnonzero(masked), key=lambda i: (-confidence[i], i))
    chosen = np.zeros_like(masked)
    chosen[order[:count]] = True
    return np.asarray(chosen | (masked & (confidence > threshold)))


@dataclass(frozen=True)
class Block:
    logits: np.ndarray
    tokens: np.ndarray
    masked: np.ndarray
    count: int
    threshold: float

    def feeds(self) -> dict[str, np.ndarray]:
        return {
            "hidden": self.logits[None],
            "carry": np.zeros((1, 1, HIDDEN), np.float32),
            "gather": np.arange(len(self.tokens))[None] + 1,
            "tokens": self.tokens[None],
            "masked": self.masked[None],
            "count": np.array([self.count]),
            "threshold": np.array([self.threshold], np.float32),
            "allowed": all_but(FORBIDDEN, VOCAB // 8),
            "allowed_by": np.zeros((1, len(self.tokens)), np.int64),
        }


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    size = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = (rng.standard_normal((size, VOCAB)) * draw(st.sampled_from([0.0, 1.0, 6.0]))).astype(np.float32)
    if draw(st.booleans()):
        logits[:] = logits[0]  # all rows tie
    return Block(
        logits,
        rng.integers(0, VOCAB, size),
        rng.random(size) < draw(st.sampled_from([0.0, 0.5, 1.0])),
        draw(st.integers(0, size + 1)),
        draw(st.sampled_from([OFF, 0.0, 0.3, 0.9])),
    )


relaxed = settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@relaxed
@given(block=blocks())
def test_denoise(graphs: Graphs, block: Block) -> None:
    out = {name: value for name, value in graphs.denoise.run(block.feeds()).items() if isinstance(value, np.ndarray)}
    chances, rows = softmax(block.logits.astype(np.float64)), np.arange(len(block.tokens))
    allowed = block.logits.copy()
    allowed[:, FORBIDDEN] = -np.inf
    assert (out["proposed"][0] == allowed.argmax(-1)).all()
    np.testing.assert_allclose(out["confidence"][0], chances[rows, allowed.argmax(-1)], rtol=1e-4)
    np.testing.assert_allclose(out["held"][0], chances[rows, block.tokens], rtol=1e-4)
    np.testing.assert_allclose(out["entropy"][0], -(chances * np.log(chances)).sum(-1), rtol=1e-4, atol=1e-4)
    settles(block, out)


def settles(block: Block, out: dict[str, np.ndarray]) -> None:
    chosen = accepted(out["confidence"][0], block.masked, block.count, block.threshold)
    assert (out["next_masked"][0] == (block.masked & ~chosen)).all()
    assert (out["next_tokens"][0] == np.where(chosen, out["proposed"][0], block.tokens)).all()
    assert out["left"].tolist() == [(block.masked & ~chosen).sum()]


def test_gather_picks_the_rows_that_predict(graphs: Graphs) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5, HIDDEN)).astype(np.float32) * 9
    rows[:, FORBIDDEN] = -99
    feeds = Block(rows[1:], np.zeros(3, np.int64), np.ones(3, np.bool_), 3, OFF).feeds()
    feeds |= {"carry": rows[None, :1], "gather": np.array([[0, 3, 1]])}
    out = graphs.denoise.run(feeds)
    assert out["proposed"].tolist() == [rows[[0, 3, 1]].argmax(-1).tolist()]  # type: ignore[union-attr]


def test_nothing_is_proposed_beyond_the_forbidden_even_if_certain(graphs: Graphs) -> None:
    logits = np.full((1, VOCAB), -50, np.float32)
    logits[0, FORBIDDEN] = 50
    out = graphs.denoise.run(Block(logits, np.array([3]), np.array([True]), 1, OFF).feeds())
    assert out["proposed"].tolist() == [[0]]  # type: ignore[union-attr]
    assert float(out["confidence"][0, 0]) < 1e-30  # type: ignore[index]


def test_each_row_proposes_what_its_mask_allows(graphs: Graphs) -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((6, VOCAB)).astype(np.float32)
    block = Block(logits, np.zeros(6, np.int64), np.ones(6, np.bool_), 6, OFF)
    bits = rng.random((3, VOCAB)) < 0.3
    by = np.array([2, 0, 1, 1, 2, 0])
    allowed = np.packbits(bits, -1, "little")
    wanted = np.where(bits[by], logits, -np.inf).argmax(-1)
    masks = {"allowed": allowed, "allowed_by": by[None]}
    assert (np.asarray(graphs.denoise.run(block.feeds() | masks)["proposed"])[0] == wanted).all()
    drawn = {"temperature": np.array([0.8], np.float32), "top_k": np.array([0]), "top_p": np.array([1.0], np.float32)}
    for _ in range(20):
        noise = {"noise": rng.random((1, 6)).astype(np.float32)}
        made = np.asarray(graphs.sample.run(block.feeds() | masks | drawn | noise)["proposed"])[0]
        assert bits[by, made].all()


def test_nothing_of_the_vocabulary_is_traced_but_the_projection() -> None:
    """A second vocabulary takes every other piece from the cache."""
    shapes = [DecoderShape(1, HIDDEN, 2, 2, 4, 8, vocab, 1e-6, (1.0, 0.5)) for vocab in (VOCAB, 5000)]
    keys = [
        {piece.name: key_of(trace_spec(piece, network, torch.float32)) for piece in SAMPLE.pieces(network)}
        for network in map(Network, shapes)
    ]
    assert [name for name in keys[0] if keys[0][name] != keys[1][name]] == ["project"]


def distributions(logits: np.ndarray, temperature: float, top_k: int, top_p: float, slack: float = 1e-6):
    """At the temperature, and of what the filters leave."""
    scaled = logits.astype(np.float64) / temperature
    scaled[list(FORBIDDEN)] = -np.inf
    tempered = chances = softmax(scaled)
    order = np.argsort(-chances, kind="stable")
    kept = chances >= chances[order[top_k - 1]] if top_k else chances > 0
    chances = np.where(kept, chances, 0)
    if top_p < 1:
        order = np.argsort(-chances, kind="stable")
        reached = np.cumsum(chances[order]) >= top_p * chances.sum() * (1 - slack)
        chances = np.where(chances >= chances[order[reached.argmax()]], chances, 0)
    return tempered, chances / chances.sum()


def right_draws(logits: np.ndarray, u: float, temperature: float, top_k: int, top_p: float) -> list[int]:
    """The token that the noise `u` means, and its neighbours where float32 may put the boundary on either side."""
    _, chances = distributions(logits, temperature, top_k, top_p)
    cumulated = chances.cumsum()
    before = np.append(0, cumulated[:-1])
    return [int(t) for t in np.flatnonzero((chances > 0) & (cumulated > u - 2e-6) & (before <= u + 2e-6))]


@st.composite
def draws(draw: st.DrawFn) -> tuple[Block, float, int, float, np.ndarray]:
    block = draw(blocks())
    noise = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1 - 2**-24]) | st.floats(0, 0.999), min_size=9, max_size=9))
    return (
        block,
        draw(st.sampled_from([0.05, 0.7, 1.0, 3.0])),
        draw(st.integers(0, VOCAB + 3)),
        draw(st.sampled_from([0.0, 0.3, 0.61, 0.9, 1.0])),
        np.array(noise[: len(block.tokens)], np.float32),
    )


def sampled(graphs: Graphs, block: Block, t: float, k: int, p: float, noise: np.ndarray) -> dict[str, np.ndarray]:
    knobs = {
        "noise": noise[None],
        "temperature": np.array([t], np.float32),
        "top_k": np.array([k]),
        "top_p": np.array([p], np.float32),
    }
    made = graphs.sample.run({**block.feeds(), **knobs})
    return {name: value for name, value in made.items() if isinstance(value, np.ndarray)}


@relaxed
@given(drawn=draws())
def test_sample(graphs: Graphs, drawn: tuple[Block, float, int, float, np.ndarray]) -> None:
    block, t, k, p, noise = drawn
    k = min(k, VOCAB - len(FORBIDDEN))
    out = sampled(graphs, block, t, k, p, noise)
    for row, u in enumerate(noise):
        assert int(out["proposed"][0, row]) in right_draws(block.logits[row], float(u), t, k, p)
    chances = softmax(block.logits.astype(np.float64))
    np.testing.assert_allclose(out["confidence"][0], chances[np.arange(len(noise)), out["proposed"][0]], rtol=1e-4)
    settles(block, out)
    believes(block, out, t, k, p)
    best = sampled(graphs, block, t, k, p, np.full_like(noise, -1.0))
    allowed = block.logits.copy()
    allowed[:, FORBIDDEN] = -np.inf
    assert (best["proposed"][0] == allowed.argmax(-1)).all()
    believes(block, best, t, k, p)


def believes(block: Block, out: dict[str, np.ndarray], t: float, k: int, p: float) -> None:
    """How probable what was drawn was there, wherever float32 decides the cut as float64 does."""
    for row, token in enumerate(out["proposed"][0]):
        tempered, kept = distributions(block.logits[row], t, k, p)
        closely = {"rtol": 2e-4, "atol": 2e-5}
        np.testing.assert_allclose(out["tempered"][0, row], tempered[token], **closely)
        np.testing.assert_allclose(out["tempered_entropy"][0, row], entropy_of(tempered), rtol=2e-4, atol=2e-4)
        if ((distributions(block.logits[row], t, k, p, -1e-6)[1] > 0) == (kept > 0)).all():
            np.testing.assert_allclose(out["filtered"][0, row], kept[token], **closely)
            np.testing.assert_allclose(out["filtered_entropy"][0, row], entropy_of(kept), rtol=2e-4, atol=2e-4)


def entropy_of(chances: np.ndarray) -> float:
    return float(-(chances[chances > 0] * np.log(chances[chances > 0])).sum())


def test_sampling_follows_the_distribution(graphs: Graphs) -> None:
    rng = np.random.default_rng(0)
    rows = 4096
    logits = np.repeat(rng.standard_normal((1, VOCAB)).astype(np.float32), rows, 0)
    block = Block(logits, np.zeros(rows, np.int64), np.zeros(rows, np.bool_), 0, OFF)
    out = sampled(graphs, block, 0.9, 6, 1.0, rng.random(rows).astype(np.float32))
    scaled = logits[0] / 0.9
    scaled[list(FORBIDDEN)] = -np.inf
    scaled[scaled < np.sort(scaled)[-6]] = -np.inf
    share = np.bincount(out["proposed"][0], minlength=VOCAB) / rows
    np.testing.assert_allclose(share, softmax(scaled), atol=0.03)
    assert not share[np.isinf(scaled)].any()


def test_seeded_noise_means_the_same_to_torch(graphs: Graphs) -> None:
    """The same noise gives the same tokens on another engine: torch, on the modules that were traced."""
    from a2d.export.parity.torch_engine import TorchEngine, Weights

    class Identity(Weights):
        def __init__(self) -> None:
            self._aliases = {}

        def _narrow(self, name: str) -> torch.Tensor:
            return torch.eye(VOCAB)

    shape = DecoderShape(1, HIDDEN, 2, 2, 4, 8, VOCAB, 1e-6, (1.0, 0.5))
    other = TorchEngine("sample", Network(shape), Identity())
    rng = np.random.default_rng(5)
    block = Block(
        rng.standard_normal((9, VOCAB)).astype(np.float32), np.zeros(9, np.int64), np.ones(9, np.bool_), 2, OFF
    )
    for k, p in ((0, 1.0), (5, 1.0), (0, 0.7), (7, 0.8)):
        noise = rng.random(9).astype(np.float32)
        ours = sampled(graphs, block, 0.8, k, p, noise)
        theirs = sampled(replace(graphs, sample=other), block, 0.8, k, p, noise)
        assert (ours["next_tokens"] == theirs["next_tokens"]).all()
