"""A checkpoint as a2d reads it, held against the same directory read by transformers, before anything is written.

Weights, heads, rotary settings, tokenizer, templates and pictures: of every other comparison, both sides would
misread them alike. The forwards of both are in float32. Knows the two readings; not what is exported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...engines.errors import A2DError, CheckpointError, ParityError
from ...runtime.bundle.manifest import ParityRow
from ...runtime.console.lines import Progress
from ...runtime.decode.block import Prompt, Rows
from ...runtime.heap import release
from ...runtime.inputs.prompt import Prepared, PromptBuilder
from ..checkpoint.turns import special_tokens
from ..export_plan import Job, Plan
from ..graphs.kinds import kinds
from .stock_model import StockModel, class_of, stock_model, widest
from .stock_picture import StockProcessor, picture, size_row, stock_processor
from .stock_text import text_rows
from .tolerances import FAIL, ROUNDING, allowed, compared, distance, table, worst
from .torch_engine import TorchEngine, Weights

__all__ = ["CHAINED", "Stock", "held_against_stock", "stock_rows"]

ROWS = 12
"""Tokens of each text."""

CHAINED = 4.0
"""The two sides compute attention in other orders, layer by layer, beside the one rounding that is simulated."""

Array = NDArray[Any]


@dataclass
class Stock:
    """Findings: rows of the parity table, what differs, and why something could not be held against transformers."""

    rows: list[ParityRow] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, why: str) -> None:
        """Note what is compared with a2d's own reading alone."""
        self.notes.append(f"{why}; there the reference is a2d's own reading of the checkpoint alone")

    def add(self, row: ParityRow, difference: str = "") -> None:
        """Take in a row, and words on what differs."""
        self.rows.append(row)
        self.differences += [difference] if difference else []


def stock_rows(
    job: Job, readers: Mapping[str, str], held: Callable[[], Stock], say: Callable[[str], None]
) -> tuple[ParityRow, ...]:
    """The reading held against its libraries' own; `readers`: their names and versions. Raises ParityError."""
    if job.parity == "own":
        say("parity: a2d's own reading of the checkpoint is the reference; what it misreads is not found")
        return ()
    with Progress(f"parity with {' and '.join(readers)}", 1, "step", job.quiet):
        found = held()
    rows = {"stock": found.rows} if found.rows else {}
    if rows:
        say(table(rows))
    for note in found.notes:
        say(f"parity: {note}")
    if worst(found.rows) == FAIL:
        listed = "\n".join(f"  {difference}" for difference in found.differences)
        known = " and ".join(f"{name} {version}" for name, version in readers.items())
        raise ParityError(
            f"{job.checkpoint}: a2d does not read it as {known} {'do' if len(readers) > 1 else 'does'}:\n"
            f"{table(rows)}\n{listed}\nNo bundle was written. Check that config.json, the processor's and the "
            "tokenizer's files belong together, and report it. Where a2d is known to be right, [parity=own] leaves "
            f"{' and '.join(readers)} out."
        )
    return tuple(found.rows)


def held_against_stock(plan: Plan) -> Stock:
    """Hold text, pictures and logits against transformers. Raises nothing for what transformers cannot load."""
    found = Stock()
    if plan.checkpoint.tokenizer is not None:
        _text(plan, found)
    processor = _processor(plan, found)
    name = class_of(plan.checkpoint.config.get("model_type"), plan.family.stock)
    if name is None:
        found.leave_out("transformers has no class for this architecture")
        return found
    try:
        _logits(plan, name, processor, found)
    except CheckpointError as error:
        found.leave_out(str(error))
    release()
    return found


def _text(plan: Plan, found: Stock) -> None:
    sees = plan.family.vision is not None
    try:
        rows, notes = text_rows(plan.checkpoint, plan.chat_template, special_tokens(plan.checkpoint), sees)
    except A2DError:
        raise
    except Exception as error:  # transformers raises whatever its parts raise
        words = str(error).strip().splitlines() or [type(error).__name__]
        found.leave_out(f"transformers does not load the tokenizer: {words[0]}")
        return
    for row, difference in rows:
        found.add(row, difference)
    found.notes += notes


def _processor(plan: Plan, found: Stock) -> StockProcessor | None:
    """The image processor, once its sizes are compared; None where there is none, or it cannot be loaded."""
    if plan.family.vision is None or plan.checkpoint.preprocessor is None:
        return None
    try:
        processor = stock_processor(plan.checkpoint)
    except CheckpointError as error:
        found.leave_out(str(error))
        return None
    sizes = size_row(processor, plan.family.vision)
    if sizes is not None:
        found.add(*sizes)
    return processor


def _logits(plan: Plan, name: str, processor: StockProcessor | None, found: Stock) -> None:
    """Rows of logits: transformers' first, then, once its weights are gone, a2d's."""
    stock = stock_model(plan.checkpoint, name, plan.family.stock)
    tokens = _tokens(plan)
    texts, positions = tokens.reshape(2, ROWS), _positions(plan).reshape(2, ROWS)
    theirs = {"text": stock.logits(input_ids=torch.tensor(texts), **_apart(plan, positions)).reshape(2 * ROWS, -1)}
    shown = None if processor is None or plan.family.vision is None else picture(plan.family.vision)
    own = _Own(plan)
    prompt = None if shown is None else own.prompt(_with_placeholder(plan, texts[0]), shown)
    if prompt is not None and shown is not None and processor is not None:
        try:
            theirs["picture"] = _pictured(stock, processor, prompt, shown, plan)
        except Exception as error:  # transformers raises whatever its parts raise
            found.leave_out(f"transformers' {name} does not take a picture: {error}")
    references = {key: value.numpy() for key, value in theirs.items()}
    del stock, theirs
    release(cycles=True)
    texted = Prompt.of(tokens, own.axes(positions.ravel()), 0)
    for kind, rows, seen in (("text", texted, _block_causal()), ("picture", prompt, None)):
        if rows is None or kind not in references:
            continue
        made, moved = own.logits(rows, seen), own.logits(rows, seen, ROUNDING["fp32"].step)
        tolerance = allowed(ROUNDING["fp32"], distance([(made, moved)]), chained=CHAINED)
        check = f"logits of {len(made)} rows{' with a picture' if kind == 'picture' else ''}, as {name}"
        row = compared("logits", check, [(references[kind], made)], tolerance)
        found.add(row, _other_tokens(references[kind], made) if row.verdict == "FAIL" else "")


def _other_tokens(a: Array, b: Array) -> str:
    same = int((a.argmax(-1) == b.argmax(-1)).sum())
    return f"the most probable token is the same in {same} of {len(a)} rows; weights, head or positions are read apart"


def _tokens(plan: Plan) -> NDArray[np.int64]:
    """Two texts of random tokens, one behind the other; no placeholder of a picture among them."""
    vision, vocab = plan.family.vision, plan.family.shape.vocab
    special = set() if vision is None else {vision.image_token_id, vision.video_token_id}
    usual = np.array([i for i in range(min(vocab, 4096)) if i not in special])
    spread = np.random.default_rng(7).choice(usual, 2 * ROWS) * max(1, vocab // 4096)
    return np.array([int(i) if int(i) not in special else 0 for i in spread], np.int64)


def _positions(plan: Plan) -> NDArray[np.int64]:
    """Positions of both texts: the beginning of a context, and a stretch near its end."""
    far = max(plan.family.max_context - ROWS, 0)
    return np.concatenate([np.arange(ROWS), far + np.arange(ROWS)])


def _apart(plan: Plan, positions: Array) -> dict[str, Any]:
    """The class's inputs for texts at `positions`, each row seeing those before it."""
    given = torch.tensor(positions)
    mask = torch.ones(ROWS, ROWS, dtype=torch.bool).tril()[None, None].expand(2, 1, ROWS, ROWS)
    axes = plan.family.shape.rope_axes
    return {"attention_mask": mask, "position_ids": given if axes is None else given.expand(3, *given.shape)}


def _block_causal() -> NDArray[np.bool_]:
    """Both texts' rows, `[2R, 2R]`, each seeing those before it of its own text."""
    return np.kron(np.eye(2, dtype=np.bool_), np.tril(np.ones((ROWS, ROWS), np.bool_)))


def _with_placeholder(plan: Plan, tokens: Array) -> NDArray[np.int64]:
    spec = plan.family.vision
    assert spec is not None
    edges = (spec.vision_start_token_id, spec.image_token_id, spec.vision_end_token_id)
    middle = [token for token in edges if token is not None]
    return np.array([*tokens[: ROWS // 2], *middle, *tokens[ROWS // 2 :]], np.int64)


def _pictured(stock: StockModel, processor: StockProcessor, prompt: Prompt, shown: Array, plan: Plan) -> torch.Tensor:
    """The class's logits of a text with a picture, whose positions it finds itself."""
    ids = torch.tensor(np.asarray(prompt.rows.tokens))[None]
    spec = plan.family.vision
    assert spec is not None
    given = processor.inputs(shown)
    if "image_grid_thw" in given:
        given["mm_token_type_ids"] = (ids == spec.image_token_id).int()
    return stock.logits(input_ids=ids, attention_mask=torch.ones_like(ids), **given)[0]


class _Own:
    """a2d's reading of the checkpoint, its numbers as stored, computed by torch."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._network = plan, plan.network
        self._weights = Weights(plan.checkpoint, plan.family, widest(plan.checkpoint))  # mapped, not copied

    def axes(self, positions: Array) -> Array:
        """Positions as the rotary embedding wants them, `[R]` or `[3, R]`."""
        return positions if self._network.decoder.rope_axes is None else np.tile(positions, (3, 1))

    def prompt(self, ids: NDArray[np.int64], shown: Array) -> Prompt:
        """Rows of a text with a picture, by the settings of the checkpoint (a letterbox is the caller's wish)."""
        axes = self._network.decoder.rope_axes
        kind = "arange" if axes is None else "mrope"
        builder = PromptBuilder(kind, self._network.decoder.vocab, None, None, self._plan.family.vision, self._features)
        return builder.from_tokens(ids, [shown])

    def _features(self, prepared: Prepared) -> NDArray[np.float32]:
        engine = TorchEngine("vision", self._network, self._weights)
        return prepared.joined([np.asarray(engine.run(feeds)["features"]) for feeds in prepared.feeds()])

    def logits(self, prompt: Prompt, seen: NDArray[np.bool_] | None, jitter: float = 0.0) -> NDArray[np.float32]:
        """Logits `[R, V]`, each row seeing the ones before it, or those of `seen [R, R]`."""
        engine = TorchEngine("backbone", self._network, self._weights, jitter)
        hidden = torch.from_numpy(np.asarray(engine.run(self._feeds(prompt.rows, seen))["hidden"]))[0]
        head = self._weights
        slices = (slice(i, i + 8192) for i in range(0, head.rows("lm_head"), 8192))
        made: NDArray[np.float32] = torch.cat([hidden @ head.part("lm_head", some).T for some in slices], -1).numpy()
        return made

    def _feeds(self, rows: Rows, seen: NDArray[np.bool_] | None) -> Mapping[str, Array]:
        s, count = self._network.decoder, len(rows.tokens)
        causal = np.tril(np.ones((count, count), np.bool_))
        none = np.zeros((1, count, s.feature_values), np.float32)
        given: dict[str, Array] = {
            "tokens": rows.tokens[None],
            "positions": np.asarray(rows.positions)[:, None] if s.rope_axes else np.asarray(rows.positions)[None],
            "visible": (causal if seen is None else seen)[None, None],
            "features": none if rows.features is None else rows.features[None],
            "is_feature": np.zeros((1, count), np.bool_) if rows.is_feature is None else rows.is_feature[None],
        }
        past = np.zeros((1, s.kv_heads, 0, s.head_dim), np.float32)
        return {name: given.get(name, past) for name in kinds(self._network)["backbone"].inputs(self._network)}
