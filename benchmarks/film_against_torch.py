"""Filming end to end on a CPU against loops in torch over diffusers' modules: one that keeps its cache, one without.

    python benchmarks/film_against_torch.py CHECKPOINT BUNDLE [--frames 33] [--size 160x256] [--repeats 3]

Same weights, same noise, same steps, in one process and in turn; the latents of all three are compared. Needs
diffusers, which a2d itself does not.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file
from torch import nn
from transformers import UMT5EncoderModel

import a2d
from a2d.runtime.film.clip import Clip
from a2d.runtime.film.film import Film
from a2d.runtime.film.loop import Script
from a2d.runtime.film.positions import rotations, sinusoid
from a2d.runtime.film.text import tokenized

PROMPT = "A red ball rolls across the wet street, past a yellow taxi."


def part(kind: Any, folder: Path) -> Any:
    """A diffusers module with its weights in float32."""
    config = json.loads((folder / "config.json").read_text())
    made = kind(**{name: value for name, value in config.items() if not name.startswith("_")})
    made.load_state_dict(load_file(folder / "diffusion_pytorch_model.safetensors"))
    return made.eval()


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate neighbouring channels; `sin` has the signs."""
    return x * cos + x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2) * sin


class TorchLoop:
    """Causal Wan over diffusers' modules, with scaled_dot_product_attention."""

    def __init__(self, checkpoint: Path, model: a2d.Model) -> None:
        self.net = part(WanTransformer3DModel, checkpoint / "transformer")
        self.vae = part(AutoencoderKLWan, checkpoint / "vae")
        self.encoder = UMT5EncoderModel.from_pretrained(checkpoint / "text_encoder").eval()
        self.contract, self.tokenizer = model.studio.contract, model.studio.text
        self.heads = self.contract.network.heads

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """Rows `[1, R, W]` to heads `[1, A, R, D]`."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def read(self) -> None:
        """Keys and values of the prompt, with all its pads."""
        spec = self.contract.text
        ids = torch.tensor(tokenized(PROMPT, spec, self.tokenizer).tokens)[None]
        rows = torch.zeros(1, spec.length, spec.dim)
        rows[:, : ids.shape[1]] = self.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        rows = self.net.condition_embedder.text_embedder(rows)
        heads = [(b.attn2.norm_k(b.attn2.to_k(rows)), b.attn2.to_v(rows)) for b in self.net.blocks]
        self.cross = [(self.split(key), self.split(value)) for key, value in heads]

    def forward(self, x: torch.Tensor, times: list[float], start: int, past: Any, mask: Any = None) -> tuple[Any, Any]:
        """Velocity `[1, C, F, h, w]`, and the new keys and values by layer."""
        n, c, net = self.contract.network, self.net.condition_embedder, self.net
        frames, h, w = x.shape[2], x.shape[3] // 2, x.shape[4] // 2
        rows = net.patch_embedding(x).flatten(2).transpose(1, 2)
        when = c.time_embedder(torch.from_numpy(sinusoid(times, n.freq_dim)))
        shifts = c.time_proj(nn.functional.silu(when)).unflatten(1, (6, -1))
        tables = rotations(start, frames, (h, w), n.rope_axes, n.rope_theta)
        cos, sin = (torch.from_numpy(table) for table in tables)
        new = []
        for i, b in enumerate(net.blocks):
            e = (b.scale_shift_table + shifts).repeat_interleave(h * w, 0).unsqueeze(0)
            a = b.norm1(rows) * (1 + e[:, :, 1]) + e[:, :, 0]
            q = turned(self.split(b.attn1.norm_q(b.attn1.to_q(a))), cos, sin)
            k = turned(self.split(b.attn1.norm_k(b.attn1.to_k(a))), cos, sin)
            v = self.split(b.attn1.to_v(a))
            new.append((k, v))
            if past:
                k, v = torch.cat([past[i][0], k], 2), torch.cat([past[i][1], v], 2)
            seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
            rows = rows + b.attn1.to_out[0](seen) * e[:, :, 2]
            q = self.split(b.attn2.norm_q(b.attn2.to_q(b.norm2(rows))))
            heard = nn.functional.scaled_dot_product_attention(q, *self.cross[i]).transpose(1, 2).flatten(2)
            rows = rows + b.attn2.to_out[0](heard)
            rows = rows + b.ffn(b.norm3(rows) * (1 + e[:, :, 4]) + e[:, :, 3]) * e[:, :, 5]
        last = (net.scale_shift_table + when.unsqueeze(1)).repeat_interleave(h * w, 0).unsqueeze(0)
        out = net.proj_out(net.norm_out(rows) * (1 + last[:, :, 1]) + last[:, :, 0])
        return out.reshape(1, frames, h, w, 2, 2, -1).permute(0, 6, 1, 2, 4, 3, 5).reshape(x.shape), new

    @torch.no_grad()
    def run(self, script: Script, clip: Clip, cached: bool) -> tuple[float, float, np.ndarray]:
        """Seconds in all, seconds until the latents are there, and the latents `[C, T, h, w]`."""
        started = time.perf_counter()
        self.read()
        latents = torch.zeros(1, self.contract.latent.channels, 0, *clip.grid)
        kept: dict[int, Any] = {}
        for block in clip.blocks:
            x, steps, seen = (
                torch.from_numpy(script.noise.start(block))[None],
                script.steps(block),
                clip.window.past(block),
            )
            past = self.joined(kept, seen) if cached and seen else None
            mask = None if cached else self.mask(clip, block.index)
            for s, t in enumerate(steps.timesteps):
                if cached:
                    v, _ = self.forward(x, [t] * len(block), block.start, past)
                else:
                    times = [script.commit_timestep] * block.start + [t] * len(block)
                    v = self.forward(torch.cat([latents, x], 2), times, 0, None, mask)[0][:, :, block.start :]
                x = steps.keep[s] * x + steps.velocity[s][s] * v
                if steps.noise[s]:
                    x = x + steps.noise[s] * torch.from_numpy(script.noise.fresh(block, s))[None]
            if cached and block is not clip.blocks[-1]:
                _, new = self.forward(x, [script.commit_timestep] * len(block), block.start, past)
                for j, frame in enumerate(range(block.start, block.end)):
                    rows = slice(j * clip.rows, (j + 1) * clip.rows)
                    kept[frame] = [tuple(side[:, :, rows].clone() for side in pair) for pair in new]
                wanted = clip.window.past(clip.blocks[block.index + 1])
                kept = {frame: pairs for frame, pairs in kept.items() if frame in wanted}
            latents = torch.cat([latents, x], 2)
        denoised = time.perf_counter() - started
        mean, std = (torch.tensor(self.vae.config[f"latents_{name}"]).view(1, -1, 1, 1, 1) for name in ("mean", "std"))
        self.vae.decode(latents * std + mean)
        return time.perf_counter() - started, denoised, latents[0].numpy()

    def joined(self, kept: dict[int, Any], seen: tuple[int, ...]) -> list[tuple[torch.Tensor, ...]]:
        """Keys and values of the frames that are seen, by layer."""
        layers = range(len(self.cross))
        return [tuple(torch.cat([kept[f][i][j] for f in seen], 2) for j in (0, 1)) for i in layers]

    @staticmethod
    def mask(clip: Clip, last: int) -> torch.Tensor:
        """Rows of all frames so far that each row sees."""
        end = clip.blocks[last].end
        seen = np.zeros((end, end), bool)
        for block in clip.blocks[: last + 1]:
            seen[block.start : block.end, [*clip.window.past(block), *range(block.start, block.end)]] = True
        return torch.from_numpy(np.repeat(np.repeat(seen, clip.rows, 0), clip.rows, 1))


def ours(model: a2d.Model, sizes: dict[str, int]) -> tuple[float, np.ndarray, Film]:
    """Seconds, latents and the film."""
    started = time.perf_counter()
    film = model.film(PROMPT, seed=1, **sizes)
    latents = np.concatenate([block.latents for block in film], 1)
    return time.perf_counter() - started, latents, film


def main() -> None:
    """Print a line for each repeat, and the medians of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--size", default="160x256")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    height, width = map(int, a.size.split("x"))
    sizes = {"frames": a.frames, "height": height, "width": width}
    model = a2d.load(a.bundle, precision="fp32", threads=a.threads)
    loop = TorchLoop(a.checkpoint, model)
    film = ours(model, sizes)[-1]  # warms up
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(a.repeats):
        seconds, latents, made = ours(model, sizes)
        print(f"a2d {seconds:.2f} s, of which denoise and commit {made.seconds.denoise + made.seconds.commit:.2f}")
        for cached in (True, False):
            spent, denoised, theirs = loop.run(film.script, film.clip, cached)
            ratios[cached].append(spent / seconds)
            far, name = np.abs(theirs - latents).max(), "cached" if cached else "uncached"
            print(
                f"torch, {name} {spent:.2f} s, of which denoise and commit {denoised:.2f}; latents differ by {far:.1e}"
            )
    for cached, found in ratios.items():
        name = "keeps its cache" if cached else "has no cache"
        print(f"times a torch loop that {name}: median {median(found):.2f}, {min(found):.2f} to {max(found):.2f}")


if __name__ == "__main__":
    main()
