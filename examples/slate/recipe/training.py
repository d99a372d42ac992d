"""The training loop: batches in, a checkpoint and a resumable state out.

Knows the parts and their order; each decision is made in them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
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

GLYPHS = 0.3
"""Weight of the two losses at image patches."""
BLANK = 0.05
"""Weight of a patch without a glyph: most are."""
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

    @property
    def state(self) -> Path:
        """Where the state is kept."""
        return self.out / "state"


class Run:
    """One run, begun or resumed."""

    def __init__(self, plan: Plan, where: Where) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.where = plan, where
        self.reader = network.load(where.source, where.fresh).to(where.device)
        self.words = Words(where.source)
        self.optimizers = Optimizers(self.reader)
        self.seen, self.seconds = 0, 0.0
        self._masks: dict[tuple[str, int, int], Tensor] = {}

    @classmethod
    def resumed(cls, where: Where) -> Run:
        """The run whose state is in `where`, exactly where it stood. Raises ValueError if there is none."""
        tensors, facts = state.load(where.state)
        run = cls(Plan(**facts["plan"]), where)
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
                self.write("autoregressive", network.AUTOREGRESSIVE)
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
        total = losses["text"] + GLYPHS * (losses["chars"] + losses["kinds"])
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.reader.parameters(), CLIP)
        self.optimizers.step(current.rate)
        self.seen = batch.first + len(batch.answers)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def losses(self, batch: Batch, current: Now) -> dict[str, Tensor]:
        """Of the answers, and of what the patches show."""
        features = self.reader.features(self._put(batch.pixels))
        rows = self.words.rows(batch.answers)
        last = int(wanted(rows, 8).sum(1).max())  # short answers need no further blocks
        rows = rows[:, :last]
        ar = current.stage == "ar"
        text = self._ar(features, rows) if ar else self._diffusion(features, rows, current, batch.first)
        return {"text": text, **self._glyphs(features, batch)}

    def save(self, stage: str) -> None:
        """State and checkpoint, as they are."""
        tensors = [(f"model.{n}", t) for n, t in self.reader.state_dict().items() if not n.endswith("lm_head.weight")]
        facts = {"plan": asdict(self.plan), "seen": self.seen, "seconds": self.seconds}
        state.save(self.where.state, [*tensors, *self.optimizers.tensors()], facts, f"at-{self.seen}")
        if stage == "ar":
            self.write("autoregressive", network.AUTOREGRESSIVE)
        else:
            self.write("model", network.DIFFUSION)

    def write(self, name: str, contract: Mapping[str, Any]) -> None:
        """The checkpoint directory `name`."""
        network.write(self.reader, self.where.source, self.where.out / name, contract)

    def _batches(self, budget: Budget) -> Iterator[Batch]:
        def high(first: int) -> float:
            # Samples rendered ahead are a little easier than their turn would have them.
            return greatest_difficulty(self.plan, budget.progress(first, self.seconds))

        return batches(self.plan.stream, self.seen, self.plan.batch, high, self.where.workers)

    def _ar(self, features: Tensor, rows: Rows) -> Tensor:
        count, length = rows.shape
        prompt = len(self.words.prompt)
        fed = np.hstack([np.tile(self.words.prompt, (count, 1)), rows[:, :-1]])
        mask = self._mask("ar", length - 1, 1)
        hidden = self._hidden(features, fed, self.words.positions(length - 1), mask)
        keep = wanted(rows, 1)
        return self._cross_entropy(hidden[:, prompt - 1 :], rows, keep)

    def _diffusion(self, features: Tensor, rows: Rows, current: Now, first: int) -> Tensor:
        count, length = rows.shape
        draws, prompt = self.plan.draws, len(self.words.prompt)
        rng = np.random.default_rng([self.plan.seed, first])
        noisy = [draw_noise(rng, rows, current.block, current.high, current.full) for _ in range(draws)]
        fed = np.hstack([np.tile(self.words.prompt, (count, 1)), rows, *noisy])
        positions = self.words.positions(length)
        answer = positions[:, prompt:]
        positions = np.hstack([positions, *[answer] * draws])
        hidden = self._hidden(features, fed, positions, self._mask("adapt", length, current.block))
        keep = np.hstack([(copy != rows) & wanted(rows, current.block) for copy in noisy])
        return self._cross_entropy(hidden[:, prompt + length :], np.tile(rows, (1, draws)), keep)

    def _hidden(self, features: Tensor, fed: Rows, positions: Rows, mask: Tensor) -> Tensor:
        placed = self._put(positions)[:, None].expand(-1, len(fed), -1)
        return self.reader.hidden(features, self._put(fed), self.words.image, placed, mask)

    def _mask(self, stage: str, length: int, block: int) -> Tensor:
        key = (stage, length, block)
        if key not in self._masks:
            prompt = len(self.words.prompt)
            seen = (
                autoregressive_mask(prompt, length)
                if stage == "ar"
                else diffusion_mask(prompt, length, block, self.plan.draws)
            )
            self._masks[key] = self._put(seen)[None, None]
        return self._masks[key]

    def _cross_entropy(self, hidden: Tensor, rows: Rows, keep: NDArray[np.bool_]) -> Tensor:
        kept = self._put(keep)
        return functional.cross_entropy(self.reader.logits(hidden[kept]), self._put(rows)[kept])

    def _glyphs(self, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        heads = (("chars", self.reader.chars, batch.chars), ("kinds", self.reader.kinds, batch.kinds))
        return {name: _by_patch(head(features).float(), self._put(truth).long()) for name, head, truth in heads}

    def _put(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.where.device, non_blocking=True)

    def _autocast(self) -> Any:
        return torch.autocast(self.where.device, torch.bfloat16) if self.where.bf16 else nullcontext()


def _by_patch(logits: Tensor, truth: Tensor) -> Tensor:
    losses = functional.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none")
    weight = torch.where(truth.flatten() > 0, 1.0, BLANK)
    return (losses * weight).sum() / weight.sum()


class _Log:
    """Progress lines on stderr, and all of the means in log.jsonl."""

    EVERY = 15.0

    def __init__(self, budget: Budget, run: Run) -> None:
        self._budget, self._run = budget, run
        self._file = run.where.out / "log.jsonl"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._began = (run.seen, run.seconds)
        self._sums: dict[str, float] = {}
        self._count, self._shown = 0, time.monotonic()

    def add(self, current: Now, losses: dict[str, float]) -> None:
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
