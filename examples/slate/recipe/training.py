"""The training loop: batches in, a checkpoint and a resumable state out.

Knows the parts and their order; each decision is made in them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from . import network, state
from .copies import autoregressive_mask, diffusion_mask, draw_noise, wanted
from .course import Budget, Now, Plan, greatest_difficulty, now
from .feed import Batch, batches
from .optim import Optimizers
from .words import Words

__all__ = ["Run", "Where"]

Rows = NDArray[np.int64]

GLYPHS = 0.2
"""Weight of each of the three losses at image patches, beside the text."""
GUIDANCE = 0.2
"""Weight of where the guided heads look."""
BLANK = 0.05
"""Weight of a slot without a glyph: most are."""
WEIGHTS = {"text": 1.0, "gaze": GUIDANCE, "chars": GLYPHS, "kinds": GLYPHS, "places": GLYPHS}
WRITTEN = {"ar": ("autoregressive", network.AUTOREGRESSIVE), "adapt": ("model", network.DIFFUSION)}
"""Checkpoint and decode contract by stage."""
UNSEEN = np.float32(-1e9)
"""Added to the score of a row that is not to be seen."""
CLIP = 1.0


@dataclass(frozen=True)
class Where:
    """Folders and the machine."""

    source: Path
    """The checkpoint that gives tokenizer, configs and, unless `fresh`, weights."""
    out: Path
    device: str = "cpu"
    workers: int = 0
    save_minutes: float = 4.0
    fresh: bool = False
    bf16: bool = True
    compile: bool = False

    @property
    def state(self) -> Path:
        """Where the state is kept."""
        return self.out / "state"


@dataclass(frozen=True)
class _Asked:
    """Rows that the language model is given, and what it shall say."""

    fed: Rows
    """[N, L]: prompt, answer, and whatever copies of it."""
    first: int
    """Rows from here on are read out."""
    positions: Rows
    """[3, L]."""
    sees: NDArray[np.bool_]
    """[L, L]: which row `q` sees which row `k`."""
    truth: Rows
    """[N, L - first]."""
    keep: NDArray[np.bool_]
    """[N, L - first]: which of them count."""
    copies: int = 1
    """Of the answer in `truth`."""


class Run:
    """One run, begun or resumed."""

    def __init__(self, plan: Plan, where: Where) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.where = plan, where
        reader = network.load(where.source, where.fresh).to(where.device)
        self.reader = reader.compiled() if where.compile else reader
        self.words = Words(where.source, reader.grid)
        self.optimizers = Optimizers(self.reader)
        self.seen, self.seconds = 0, 0.0

    @classmethod
    def resumed(cls, where: Where) -> Run:
        """The run whose state is in `where`, exactly where it stood. Raises ValueError if there is none."""
        tensors, facts = state.load(where.state)
        run = cls(Plan(**{k: tuple(v) if isinstance(v, list) else v for k, v in facts["plan"].items()}), where)
        prefix = "model."
        weights = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        run.reader.load_state_dict(weights, strict=False)  # the tied head is not kept twice
        run.optimizers.load({name: t for name, t in tensors.items() if not name.startswith(prefix)})
        run.seen, run.seconds = facts["seen"], facts["seconds"]
        return run

    def train(self, budget: Budget) -> None:
        """Until the budget is spent; then write checkpoint and state."""
        started, saved = time.monotonic() - self.seconds, time.monotonic()
        log = _Log(budget, self)
        stage = now(self.plan, budget.progress(self.seen, self.seconds)).stage
        for batch in self._batches(budget):
            progress = budget.progress(self.seen, self.seconds)
            current = now(self.plan, progress)
            if current.stage != stage:
                self.write(stage)
                stage = current.stage
            losses = self.step(batch, current)
            self.seconds = time.monotonic() - started
            log.add(current, losses)
            if budget.progress(self.seen, self.seconds) >= 1:
                break
            if time.monotonic() - saved > 60 * self.where.save_minutes:
                self.save(stage)
                saved = time.monotonic()
        self.save(stage)

    def step(self, batch: Batch, current: Now) -> dict[str, float]:
        """One batch: forward, backward, update."""
        with self._autocast():
            losses = self.losses(batch, current)
        total = sum(WEIGHTS[name] * loss for name, loss in losses.items())
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.reader.parameters(), CLIP)
        self.optimizers.step(current.rate)
        self.seen = batch.first + len(batch.answers)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def losses(self, batch: Batch, current: Now) -> dict[str, Tensor]:
        """Of the answers, and of what the patches show."""
        features = self.reader.features(self._put(batch.pixels))
        glyphs = self._glyphs(features, batch)
        if current.stage == "look":
            return glyphs
        rows = self.words.rows(batch.answers)
        last = int(wanted(rows, 8).sum(1).max())  # short answers need no further blocks
        asked = self._ar(rows[:, :last]) if current.stage == "ar" else self._diffusion(rows[:, :last], current, batch)
        return {**self._text(features, asked, batch), **glyphs}

    def save(self, stage: str) -> None:
        """State and checkpoint, as they are."""
        tensors = [(f"model.{n}", t) for n, t in self.reader.state_dict().items() if not n.endswith("lm_head.weight")]
        facts = {"plan": asdict(self.plan), "seen": self.seen, "seconds": self.seconds}
        state.save(self.where.state, [*tensors, *self.optimizers.tensors()], facts, f"at-{self.seen}")
        self.write(stage)

    def write(self, stage: str) -> None:
        """The checkpoint directory of a stage; there is none before the text is trained."""
        if stage in WRITTEN:
            name, contract = WRITTEN[stage]
            network.write(self.reader, self.where.source, self.where.out / name, contract)

    def _batches(self, budget: Budget) -> Iterator[Batch]:
        def high(first: int) -> float:
            # Samples rendered ahead are a little easier than their turn would have them.
            return greatest_difficulty(self.plan, budget.progress(first, self.seconds))

        plan, where = self.plan, self.where
        return batches(plan.stream, self.seen, plan.batch, high, self.reader.grid, where.workers, plan.path)

    def _ar(self, rows: Rows) -> _Asked:
        """Every row predicts the next one."""
        count, length = rows.shape
        prompt = self.words.prompt
        return _Asked(
            fed=np.hstack([np.tile(prompt, (count, 1)), rows[:, :-1]]),
            first=len(prompt) - 1,
            positions=self.words.positions(length - 1),
            sees=autoregressive_mask(len(prompt), length - 1),
            truth=rows,
            keep=wanted(rows, 1),
        )

    def _diffusion(self, rows: Rows, current: Now, batch: Batch) -> _Asked:
        """Masked rows of the noisy copies predict themselves."""
        (count, length), draws, prompt = rows.shape, self.plan.draws, len(self.words.prompt)
        rng = np.random.default_rng([self.plan.seed, batch.first])
        noisy = [draw_noise(rng, rows, current.block, current.high, current.full) for _ in range(draws)]
        positions = self.words.positions(length)
        return _Asked(
            fed=np.hstack([np.tile(self.words.prompt, (count, 1)), rows, *noisy]),
            first=prompt + length,
            positions=np.hstack([positions, *[positions[:, prompt:]] * draws]),
            sees=diffusion_mask(prompt, length, current.block, draws),
            truth=np.tile(rows, (1, draws)),
            keep=np.hstack([(copy != rows) & wanted(rows, current.block) for copy in noisy]),
            copies=draws,
        )

    def _text(self, features: Tensor, asked: _Asked, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the kept rows, and of where the guided heads look for them."""
        fed, keep = self._put(asked.fed), self._put(asked.keep)
        turn = self.reader.turn(self._put(asked.positions))
        unseen = self._put(np.where(asked.sees, np.float32(0), UNSEEN))
        hidden, scores = self.reader.hidden(features, fed, self.words.image, turn, unseen, asked.first)
        text = functional.cross_entropy(self.reader.logits(hidden[keep]), self._put(asked.truth)[keep])
        return {"text": text, "gaze": self._gaze(scores, asked, batch)}

    def _gaze(self, scores: Tensor, asked: _Asked, batch: Batch) -> Tensor:
        """How far the guided heads are from looking, of all patches, at those that decide the row."""
        length = asked.truth.shape[1] // asked.copies
        values = np.tile(self.words.values(batch.answers)[:, :length], (1, asked.copies))
        sources = batch.sources[np.arange(len(values))[:, None], np.maximum(values, 0)]
        chosen = asked.keep & (values >= 0) & sources.any(-1)
        looks = scores.transpose(1, 2)[self._put(chosen)].float().log_softmax(-1)
        right = self._put(sources[chosen])[:, None]
        return -looks.masked_fill(~right, -torch.inf).logsumexp(-1).mean()

    def _glyphs(self, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        reader = self.reader
        heads = {"chars": reader.chars, "kinds": reader.kinds, "places": reader.places}
        return {name: self._by_slot(head(features), getattr(batch, name)) for name, head in heads.items()}

    def _by_slot(self, logits: Tensor, truth: NDArray[np.uint8]) -> Tensor:
        classes = self._put(truth).long().flatten()
        losses = functional.cross_entropy(logits.float().view(len(classes), -1), classes, reduction="none")
        weight = torch.where(classes > 0, 1.0, BLANK)
        return (losses * weight).sum() / weight.sum()

    def _put(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.where.device, non_blocking=True)

    def _autocast(self) -> Any:
        return torch.autocast(self.where.device, torch.bfloat16) if self.where.bf16 else nullcontext()


class _Log:
    """Progress lines on stderr, and all of the means in log.jsonl."""

    EVERY = 15.0

    def __init__(self, budget: Budget, run: Run) -> None:
        self._budget, self._run = budget, run
        self._file = run.where.out / "log.jsonl"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._began = (run.seen, run.seconds)
        self._sums: dict[str, float] = {}
        self._count, self._stage, self._shown = 0, "", time.monotonic()

    def add(self, current: Now, losses: dict[str, float]) -> None:
        if current.stage != self._stage:  # a mean over two stages would be of neither
            self._sums, self._count, self._stage = {}, 0, current.stage
        self._sums = {name: self._sums.get(name, 0.0) + loss for name, loss in losses.items()}
        self._count += 1
        over = self._budget.progress(self._run.seen, self._run.seconds) >= 1
        if time.monotonic() - self._shown > self.EVERY or over:
            self._show(current)

    def _show(self, current: Now) -> None:
        run, means = self._run, {name: round(total / self._count, 4) for name, total in self._sums.items()}
        progress = self._budget.progress(run.seen, run.seconds)
        speed = (run.seen - self._began[0]) / max(run.seconds - self._began[1], 1e-9)
        left = run.seconds * (1 - progress) / max(progress, 1e-9) / 60
        words = "  ".join(f"{name} {mean:.3f}" for name, mean in means.items())
        print(
            f"{progress:5.1%}  {run.seen} samples  {current.stage} block {current.block}  {words}  "
            f"{speed:.1f}/s  {left:.0f} min left",
            file=sys.stderr,
            flush=True,
        )
        facts = {"seen": run.seen, "seconds": round(run.seconds, 1), "stage": current.stage, "block": current.block}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts | {"rate": current.rate} | means) + "\n")
        self._sums, self._count, self._shown = {}, 0, time.monotonic()
