"""Films of several blocks against diffusers' own network, run whole and without a cache.

The reference puts every frame that is done, at the commit's timestep, and the block at its own one into one forward of
`WanTransformer3DModel`, under a mask that says which frames each frame sees. It shares nothing with the exporter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")
import torch
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from film_checkpoints import RECIPES, Parts, Recipe, checkpoint
from film_opened import Opened
from torch import Tensor, nn

from a2d.export.export_plan import Job
from a2d.export.film.job import export_film

PROMPT = "two  birds &amp; a tree"
SHIFT = 3.0
"""Of the scheduler that `checkpoint` writes."""


@dataclass(frozen=True)
class Shot:
    """A network, how it films, and the size of one clip in latents."""

    recipe: Recipe
    block: int
    steps: tuple[float, ...]
    latents: int
    high: int
    wide: int
    first: tuple[float, ...] | None = None
    window: int | None = None
    sink: int = 0
    length: int = 512
    picture: bool = False

    def blocks(self) -> list[range]:
        """Latent frames of each denoised block."""
        start = 1 if self.picture else 0
        return [range(b, min(b + self.block, self.latents)) for b in range(start, self.latents, self.block)]

    def seen(self, end: int) -> set[int]:
        """Frames that a block sees that ends before `end`."""
        if self.window is None or end <= self.window:
            return set(range(end))
        return set(range(self.sink)) | set(range(end - (self.window - self.sink), end))


def _with(base: str, text: dict[str, Any] | None = None, **wan: Any) -> Recipe:
    recipe = RECIPES[base]
    return replace(recipe, wan=recipe.wan | wan, text=recipe.text | (text or {}))


SHOTS = {
    "chunks": Shot(_with("plain"), 3, (1000, 750, 500, 250), 9, 4, 6),
    "chunks, window and sink": Shot(
        _with("plain", num_layers=3, num_attention_heads=3, attention_head_dim=16),
        2, (1000, 500), 8, 2, 6, window=5, sink=1,
    ),
    "frames behind a picture": Shot(
        _with("residual", {"num_layers": 3, "num_heads": 4, "d_kv": 8}, num_attention_heads=4, freq_dim=48),
        1, (1000, 400), 6, 4, 4, first=(1000, 750, 500, 250), window=3, sink=1, length=64, picture=True,
    ),
    "window without a sink, short text": Shot(
        _with("residual", attention_head_dim=44, ffn_dim=72), 2, (900,), 6, 2, 8, window=4, length=20
    ),
    "packed frames": Shot(_with("tiny", num_layers=1), 1, (1000, 750, 500, 250), 5, 2, 4, length=48),
}  # fmt: skip


class Float64Sinusoid(nn.Module):
    """The definition of the time's sinusoid; diffusers' own is float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.half = width // 2

    def forward(self, time: Tensor) -> Tensor:
        angle = time.double()[:, None] * 10000.0 ** (-torch.arange(self.half, dtype=torch.float64) / self.half)
        return torch.cat([angle.cos(), angle.sin()], -1).float()


class UnderMask(WanAttnProcessor):
    """Stock attention with a mask that stays."""

    def __init__(self) -> None:
        super().__init__()
        self.mask: Tensor | None = None

    def __call__(self, attn: Any, hidden_states: Tensor, *rest: Any) -> Tensor:
        hidden, mask, rotary = rest
        assert hidden is None and mask is None
        return super().__call__(attn, hidden_states, None, self.mask, rotary)


class Reference:
    """The stock network with frames under a mask."""

    def __init__(self, parts: Parts, shot: Shot, text: Tensor) -> None:
        self.wan, self.shot, self.text, self.under = parts.wan, shot, text, UnderMask()
        self.wan.condition_embedder.timesteps_proj = Float64Sinusoid(self.wan.config.freq_dim)
        for block in self.wan.blocks:
            block.attn1.set_processor(self.under)

    def film(self, noise: Tensor, renoise: Tensor, picture: Tensor | None) -> Tensor:
        """Latents `[C, T, h, w]`."""
        done = noise[:, :0] if picture is None else picture
        for number, block in enumerate(self.shot.blocks()):
            steps = self.shot.first if number == 0 and self.shot.first else self.shot.steps
            sigmas = [SHIFT * s / (1000 + (SHIFT - 1) * s) for s in steps] + [0.0]
            x, part = noise[:, block], renoise[:, :, block]
            for s, sigma in enumerate(sigmas[:-1]):
                clean = x - sigma * self.velocity(done, x, 1000 * sigma)
                after = sigmas[s + 1]
                x = clean if after == 0 else (1 - after) * clean + after * part[s]
            done = torch.cat([done, x], 1)
        return done

    def velocity(self, done: Tensor, x: Tensor, time: float) -> Tensor:
        clip = torch.cat([done, x], 1)
        count, rows = clip.shape[1], clip.shape[2] * clip.shape[3] // 4
        visible = torch.zeros(count, count, dtype=torch.bool)
        groups = ([range(1)] if self.shot.picture else []) + self.shot.blocks()
        for group in groups:
            for frame in group:
                if frame < count:
                    visible[frame, sorted(self.shot.seen(group.stop))] = True
        self.under.mask = visible.repeat_interleave(rows, 0).repeat_interleave(rows, 1)[None, None]
        times = torch.tensor([0.0] * done.shape[1] + [time] * x.shape[1]).repeat_interleave(rows)
        return self.wan(clip[None], times[None], self.text).sample[0, :, done.shape[1] :]


@torch.no_grad()
@pytest.mark.parametrize("name", SHOTS)
def test_a_film_is_a_decode_of_the_stock_network_without_a_cache(name: str, tmp_path: Path) -> None:
    shot = SHOTS[name]
    parts = checkpoint(tmp_path / "checkpoint", shot.recipe)
    given = {"block_frames": shot.block, "steps": shot.steps, "text_length": shot.length, "sink": shot.sink}
    given |= {"first_steps": shot.first} if shot.first else {}
    given |= {"window": shot.window} if shot.window else {}
    given |= {"height": 64, "width": 64}
    export_film(Job(tmp_path / "checkpoint", tmp_path / "bundle", film=given, parity="own", quiet=True))
    studio = Opened(tmp_path / "bundle").studio()
    contract = studio.contract
    ids = torch.tensor([[*studio.text.encode("two birds & a tree"), contract.text.eos_id]])
    text = torch.zeros(1, shot.length, contract.text.dim)
    text[0, : ids.shape[1]] = parts.text(input_ids=ids).last_hidden_state[0]
    generator = torch.Generator().manual_seed(5)
    size = (contract.latent.channels, shot.latents, shot.high, shot.wide)
    noise, renoise = torch.randn(size, generator=generator), torch.randn(3, *size, generator=generator)
    spatial = contract.latent.spatial
    image = torch.randint(256, (shot.high * spatial, shot.wide * spatial, 3), generator=generator, dtype=torch.uint8)
    picture = parts.encoded(image[None] / 255)[0] if shot.picture else None
    wanted = Reference(parts, shot, text).film(noise, renoise, picture)
    for commit in ("separate", "merged"):
        film = studio.film(
            PROMPT,
            image=image.numpy() if shot.picture else None,
            noise=noise.numpy(),
            renoise=renoise.numpy(),
            commit=commit,
            frames=contract.pixel_frames(shot.latents),
            height=shot.high * spatial,
            width=shot.wide * spatial,
        )
        blocks = list(film)
        latents = np.concatenate([block.latents for block in blocks], 1)
        np.testing.assert_allclose(latents, wanted.numpy(), atol=3e-4)
        pixels = np.concatenate([block.pixels for block in blocks])
        np.testing.assert_allclose(pixels, parts.decoded(wanted[None]).numpy(), atol=3e-4)
