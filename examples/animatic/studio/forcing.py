"""The network's training: flow matching with a noise level per latent frame, the past given clean.

x = (1 - sigma) x0 + sigma eps, the network says v = eps - x0. Levels are drawn apart for every frame of every noisy
copy, so one pass teaches all blocks of the decode loop at several levels. Resumable at any moment.

Knows latents, prompts and the network's training pass; nothing of rendering or evaluation.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import language
from .corpus import TRAINING, prompt_of, scene_of
from .emphasis import emphasis
from .latents import Latents
from .network import layer, teacher_forced
from .optim import Mean, Optimizers
from .work import worked

__all__ = ["Noised", "Plan", "Run", "flow_loss", "guided"]

STATE = "state.pt"
PARTS: dict[int | None, tuple[float, float]] = {1: (0.5, 7.0), 2: (0.25, 2.5), None: (0.25, 1.0)}
"""What steps are made of: the first so many latent frames of a clip (None: all), by the share of steps, and how many
clips cost what one whole clip costs. Nearly all of a prompt is decided in the first frame, the hardest: at
the highest level its error is nine times that of the second one, which goes on with what is there."""


@dataclass(frozen=True)
class Plan:
    """A run's choices; given anew at every resumption, so that a rate can fall and a device change."""

    batch: int = 8
    copies: int = 2
    """Noisy copies of a clip in one pass."""
    rate: float = 0.01
    """Muon's."""
    warm: int = 200
    """Steps until the rate is reached."""
    cool: float = 0.0
    """Share of the run's minutes, at the end, over which the rate falls to zero."""
    shift: float = 3.0
    """Levels: uniform u, then shift u / (1 + (shift - 1) u)."""
    unprompted: float = 0.1
    """Share of clips without a prompt, for guidance of a teacher."""
    guidance: float = 0.0
    """Scale at which a teacher is guided whose velocities are learned in place of the data's; 0 for no teacher."""
    save_minutes: float = 4.0
    device: str = "cpu"
    compile: bool = False


class Run:
    """Network, optimizers and mean, with what is needed to go on."""

    def __init__(self, net: Any, words: Any, encoder: Any, out: Path, plan: Plan) -> None:
        self.net, self.words, self.encoder = net.to(plan.device), words, encoder.to(plan.device).eval()
        self.out, self.plan = out, plan
        self.optimizers, self.mean = Optimizers(self.net), Mean(self.net)
        self.steps, self.seconds = 0, 0.0
        self._minutes: float | None = None
        self._firsts: Latents | None = None
        self._teacher: Any = None
        out.mkdir(parents=True, exist_ok=True)
        if (out / STATE).is_file():
            self._resume()

    def _resume(self) -> None:
        kept = torch.load(self.out / STATE, weights_only=True, map_location=self.plan.device)
        self.net.load_state_dict(kept["net"])
        self.optimizers.load(kept["optimizers"])
        self.mean.load(kept["mean"])
        self.steps, self.seconds = kept["steps"], kept["seconds"]

    def follow(self, teacher: Any) -> None:
        """Learn from now on what `teacher` says under guidance; a run that has not begun begins with its weights."""
        self._teacher = teacher.to(self.plan.device).eval().requires_grad_(False)
        if self.steps == 0:
            self.net.load_state_dict(teacher.state_dict())
            self.mean = Mean(self.net)

    def save(self) -> None:
        """The state, replaced whole; and the mean's weights as a checkpoint."""
        part = self.out / f"{STATE}.part"
        state = {"net": self.net.state_dict(), "optimizers": self.optimizers.state(), "mean": self.mean.values}
        torch.save(state | {"steps": self.steps, "seconds": self.seconds}, part)
        part.replace(self.out / STATE)
        trained = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        self.net.load_state_dict(self.mean.values, strict=False)
        self.net.save_pretrained(self.out / "transformer")
        self.net.load_state_dict(trained, strict=False)

    def train(
        self, latents: Latents, minutes: float | None = None, steps: int | None = None, firsts: Latents | None = None
    ) -> None:
        """Until so many minutes or steps of the whole run are done. `firsts` are first latent frames of other clips."""
        self._minutes, self._firsts = minutes, firsts
        run = torch.compile(layer, dynamic=False) if self.plan.compile else layer
        begun, saved, losses = worked(self.plan.device) - self.seconds, time.monotonic(), []
        while not self._done(minutes, steps):
            losses.append(self._step(latents, run))
            self.seconds = worked(self.plan.device) - begun
            if self.steps % 25 == 0:
                self._log(losses, len(latents))
                losses = []
                latents.look()
                if firsts is not None:
                    firsts.look()
            if time.monotonic() - saved > 60 * self.plan.save_minutes:
                self.save()
                saved = time.monotonic()
        self.save()

    def _done(self, minutes: float | None, steps: int | None) -> bool:
        return (minutes is not None and self.seconds >= 60 * minutes) or (steps is not None and self.steps >= steps)

    def _step(self, latents: Latents, run: Any) -> Tensor:
        """A pure function of the state: its randomness is seeded by the step's number."""
        plan, rng = self.plan, np.random.default_rng((7, self.steps))
        torch.manual_seed(self.steps)
        indices, clean = self._drawn(latents, rng)
        with torch.no_grad():
            text = language.rows(self.encoder, self.words, [self._prompt(index, rng) for index in indices])
            bare = language.rows(self.encoder, self.words, [""] * len(indices)) if self._teacher is not None else None
        with torch.autocast(plan.device, torch.bfloat16):
            weights = torch.from_numpy(np.stack([emphasis(scene_of(TRAINING, i), clean.shape[1]) for i in indices]))
            noised = Noised.drawn(clean.to(plan.device), plan.copies, plan.shift)
            aim = noised.velocity if bare is None else guided(self._teacher, noised, text, bare, plan.guidance, run)
            loss = flow_loss(self.net, noised, text, aim, run, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizers.step(plan.rate * min(1.0, (self.steps + 1) / plan.warm) * self._cooled())
        self.steps += 1
        self.mean.update(self.net, self.steps)
        return loss.detach()

    def _cooled(self) -> float:
        """The share of the rate that is left towards the end."""
        if not self._minutes or not self.plan.cool:
            return 1.0
        left = 1 - self.seconds / (60 * self._minutes)
        return min(1.0, max(0.0, left / self.plan.cool))

    def _drawn(self, latents: Latents, rng: np.random.Generator) -> tuple[list[int], Tensor]:
        """Clips' numbers and latents: first frames of many, openings of some, or few clips as a whole."""
        frames = list(PARTS)[int(rng.choice(len(PARTS), p=[share for share, _ in PARTS.values()]))]
        source = self._firsts if frames == 1 and self._firsts is not None else latents
        indices, clean = source.drawn(rng, round(PARTS[frames][1] * self.plan.batch))
        return indices, clean[:, :frames]

    def _prompt(self, index: int, rng: np.random.Generator) -> str:
        if self._teacher is None and rng.random() < self.plan.unprompted:
            return ""
        return prompt_of(scene_of(TRAINING, index), int(rng.integers(1000)), whole=bool(rng.random() < 0.5))

    def _log(self, losses: list[Tensor], clips: int) -> None:
        facts = {
            "steps": self.steps,
            "minutes": round(self.seconds / 60, 2),
            "loss": round(float(torch.stack(losses).mean()), 4),
            "clips": clips,
        }
        print(json.dumps(facts), flush=True)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts | {"plan": asdict(self.plan)}) + "\n")


@dataclass(frozen=True)
class Noised:
    """Copies of clips at levels of their own: x = (1 - sigma) x0 + sigma eps."""

    clean: Tensor
    """x0 [N, T, C, h, w]."""
    noise: Tensor
    """eps [N, K, T, C, h, w]."""
    sigma: Tensor
    """[N, K, T]."""

    @classmethod
    def drawn(cls, clean: Tensor, copies: int, shift: float) -> Noised:
        """Levels are stratified, so that every batch sees all of them."""
        n, t = clean.shape[:2]
        each = torch.arange(n * copies * t, device=clean.device)
        u = (each + torch.rand(len(each), device=clean.device)) / len(each)
        u = u[torch.randperm(len(u), device=clean.device)].view(n, copies, t)
        noise = torch.randn(n, copies, *clean.shape[1:], device=clean.device)
        return cls(clean, noise, shift * u / (1 + (shift - 1) * u))

    @property
    def noisy(self) -> Tensor:
        """x [N, K, T, C, h, w]."""
        level = self.sigma[..., None, None, None]
        return (1 - level) * self.clean[:, None] + level * self.noise

    @property
    def velocity(self) -> Tensor:
        """The data's: eps - x0."""
        return self.noise - self.clean[:, None]


@torch.no_grad()
def guided(teacher: Any, noised: Noised, text: Tensor, bare: Tensor, scale: float, run: Any = layer) -> Tensor:
    """What the teacher says under classifier-free guidance, v0 + w (v - v0) (Ho and Salimans, 2207.12598); a network
    that learns it needs no second forward (Meng et al., 2210.03142). Clean frames of the past are the data's.
    """
    said = teacher_forced(teacher, noised.clean, noised.noisy, noised.sigma, text, run).float()
    free = teacher_forced(teacher, noised.clean, noised.noisy, noised.sigma, bare, run).float()
    return free + scale * (said - free)


def flow_loss(
    net: Any, noised: Noised, text: Tensor, aim: Tensor, run: Any = layer, weights: Tensor | None = None
) -> Tensor:
    """Mean squared error of the velocity, over copies, frames and levels; `weights` [N, T, h, w] have mean 1."""
    said = teacher_forced(net, noised.clean, noised.noisy, noised.sigma, text, run)
    error = (said.float() - aim).square()
    return error.mean() if weights is None else (error.mean((1, 3)) * weights.to(error.device)).mean()
