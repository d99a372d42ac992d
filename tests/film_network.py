"""The causal Wan network in numpy, from its definition: slow and obvious, in float32 or float64.

`engines` puts it behind the graphs that the runtime asks for, with fake engines: the loop's properties are checked
without a file, and without an exporter. `uncached` decodes a clip with no cache at all, every forward under a mask.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from film_contracts import contract as plain_contract
from safetensors.numpy import load_file

from a2d.engines.fake import FakeEngine
from a2d.engines.protocol import Engine, Signature
from a2d.runtime.film.clip import Block, Clip
from a2d.runtime.film.contract import FilmContract, LatentSpec, NetworkSpec
from a2d.runtime.film.loop import Script
from a2d.runtime.film.positions import rotations, sinusoid

Arrays = Mapping[str, np.ndarray]

PREFIX = "condition_embedder"


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def layer_norm(x: np.ndarray, eps: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)


def rms_norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weight


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """`[A, R, D]`, `[A, K, D]` to `[R, A D]`."""
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + bias
    made = softmax(scores) @ v
    return made.swapaxes(0, 1).reshape(made.shape[1], -1)


def turned(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Rotate neighbouring channels of `[A, R, D]`; `sin` has the signs."""
    swapped = x.reshape(*x.shape[:-1], -1, 2)[..., ::-1].reshape(x.shape)
    return x * cos + swapped * sin


@dataclass
class Wan:
    """Weights by diffusers' names, and the sizes that they do not tell."""

    weights: Arrays
    heads: int
    patch: tuple[int, int] = (2, 2)
    dtype: type = np.float32

    @property
    def layers(self) -> int:
        return 1 + max(int(name.split(".")[1]) for name in self.weights if name.startswith("blocks."))

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        made = x @ self.weights[f"{name}.weight"].astype(self.dtype).T
        return made + self.weights[f"{name}.bias"].astype(self.dtype)

    def split(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), self.heads, -1).swapaxes(0, 1)

    def cross(self, text_rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Keys and values `[A, L, D]` of each layer for all rows, pads included."""
        rows = text_rows.astype(self.dtype)
        rows = self.linear(f"{PREFIX}.text_embedder.linear_1", rows)
        rows = self.linear(f"{PREFIX}.text_embedder.linear_2", gelu(rows))
        made = []
        for i in range(self.layers):
            at = f"blocks.{i}.attn2"
            key = rms_norm(self.linear(f"{at}.to_k", rows), self.weights[f"{at}.norm_k.weight"])
            made.append((self.split(key), self.split(self.linear(f"{at}.to_v", rows))))
        return made

    def rows(self, latents: np.ndarray) -> np.ndarray:
        """Patches `[R, C p q]` of `[C, F, h, w]` in the order time, height, width."""
        c, f, h, w = latents.shape
        p, q = self.patch
        cut = latents.reshape(c, f, h // p, p, w // q, q).transpose(1, 2, 4, 0, 3, 5)
        return cut.reshape(f * (h // p) * (w // q), c * p * q)

    def image(self, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Latents `[C, F, h, w]` of rows whose vectors are (p, q, C)."""
        c, f, h, w = shape
        p, q = self.patch
        made = rows.reshape(f, h // p, w // q, p, q, c).transpose(5, 0, 1, 3, 2, 4)
        return made.reshape(c, f, h, w)

    def run(
        self,
        latents: np.ndarray,
        time: np.ndarray,
        cos: np.ndarray,
        sin: np.ndarray,
        past: Sequence[tuple[np.ndarray, np.ndarray]],
        cross: Sequence[tuple[np.ndarray, np.ndarray]],
        cross_bias: np.ndarray | float = 0.0,
        visible: np.ndarray | None = None,
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Velocity `[C, F, h, w]`, and the new rows' keys and values. `time [F, freq]`, tables `[R, D]`."""
        t = self.dtype
        per = latents.shape[2] * latents.shape[3] // (self.patch[0] * self.patch[1])
        x = self.rows(latents.astype(t)) @ self.weights["patch_embedding.weight"].astype(t).reshape(
            len(self.weights["patch_embedding.bias"]), -1
        ).T + self.weights["patch_embedding.bias"].astype(t)
        when = self.linear(f"{PREFIX}.time_embedder.linear_1", time.astype(t))
        when = self.linear(f"{PREFIX}.time_embedder.linear_2", silu(when))
        shifts = self.linear(f"{PREFIX}.time_proj", silu(when)).reshape(len(when), 6, -1)
        bias = 0.0 if visible is None else np.where(visible, 0.0, -np.inf).astype(t)
        made = []
        for i in range(self.layers):
            table = self.weights[f"blocks.{i}.scale_shift_table"].astype(t) + shifts
            e = np.repeat(table, per, axis=0)
            x, pair = self.layer(i, x, e, cos, sin, past[i], cross[i], cross_bias, bias)
            made.append(pair)
        last = self.weights["scale_shift_table"].astype(t) + when[:, None]
        shift, scale = (np.repeat(last[:, k], per, axis=0) for k in (0, 1))
        out = self.linear("proj_out", layer_norm(x, 1e-6) * (1 + scale) + shift)
        return self.image(out, latents.shape), made

    def layer(self, i, x, e, cos, sin, past, cross, cross_bias, bias):
        at = f"blocks.{i}"
        w = {name: self.weights[f"{at}.{name}"].astype(self.dtype) for name in ("norm2.weight", "norm2.bias")}
        a = layer_norm(x, 1e-6) * (1 + e[:, 1]) + e[:, 0]
        q, k, v = (self.linear(f"{at}.attn1.to_{name}", a) for name in "qkv")
        q = turned(self.split(rms_norm(q, self.weights[f"{at}.attn1.norm_q.weight"])), cos, sin)
        k = turned(self.split(rms_norm(k, self.weights[f"{at}.attn1.norm_k.weight"])), cos, sin)
        v = self.split(v)
        keys, values = np.concatenate([past[0], k], 1), np.concatenate([past[1], v], 1)
        x = x + self.linear(f"{at}.attn1.to_out.0", attention(q, keys, values, bias)) * e[:, 2]
        b = layer_norm(x, 1e-6) * w["norm2.weight"] + w["norm2.bias"]
        q = self.split(rms_norm(self.linear(f"{at}.attn2.to_q", b), self.weights[f"{at}.attn2.norm_q.weight"]))
        x = x + self.linear(f"{at}.attn2.to_out.0", attention(q, *cross, cross_bias))
        c = layer_norm(x, 1e-6) * (1 + e[:, 4]) + e[:, 3]
        c = self.linear(f"{at}.ffn.net.2", gelu(self.linear(f"{at}.ffn.net.0.proj", c)))
        return x + c * e[:, 5], (k, v)


def published(checkpoint: Path, dtype: type = np.float32) -> Wan:
    """The network of a diffusers folder."""
    config = json.loads((checkpoint / "transformer" / "config.json").read_text())
    weights = load_file(checkpoint / "transformer" / "diffusion_pytorch_model.safetensors")
    return Wan(weights, config["num_attention_heads"], tuple(config["patch_size"][1:]), dtype)


def random_wan(made: FilmContract, ffn: int = 40, seed: int = 0, scale: float = 1.0) -> Wan:
    """A network with random weights, in which prompt, past and places matter."""
    chance, n, s = np.random.default_rng(seed), made.network, made.latent
    dim, patch = n.heads * n.head_dim, s.channels * s.patch_h * s.patch_w

    def matrix(*shape: int) -> np.ndarray:
        return (scale * chance.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    weights: dict[str, np.ndarray] = {}

    def linear(name: str, to: int, of: int) -> None:
        weights[f"{name}.weight"] = matrix(to, of)
        weights[f"{name}.bias"] = (0.1 * chance.normal(size=to)).astype(np.float32)

    linear("patch_embedding", dim, patch)
    weights["patch_embedding.weight"] = weights["patch_embedding.weight"].reshape(
        dim, s.channels, 1, s.patch_h, s.patch_w
    )
    for name, to, of in (
        (f"{PREFIX}.text_embedder.linear_1", dim, made.text.dim), (f"{PREFIX}.text_embedder.linear_2", dim, dim),
        (f"{PREFIX}.time_embedder.linear_1", dim, n.freq_dim), (f"{PREFIX}.time_embedder.linear_2", dim, dim),
        (f"{PREFIX}.time_proj", 6 * dim, dim), ("proj_out", patch, dim),
    ):  # fmt: skip
        linear(name, to, of)
    weights["scale_shift_table"] = matrix(1, 2, dim)
    for i in range(n.layers):
        for which in ("attn1", "attn2"):
            for name in ("to_q", "to_k", "to_v", "to_out.0"):
                linear(f"blocks.{i}.{which}.{name}", dim, dim)
            for name in ("norm_q", "norm_k"):
                weights[f"blocks.{i}.{which}.{name}.weight"] = (1 + 0.1 * chance.normal(size=dim)).astype(np.float32)
        linear(f"blocks.{i}.ffn.net.0.proj", ffn, dim)
        linear(f"blocks.{i}.ffn.net.2", dim, ffn)
        weights[f"blocks.{i}.norm2.weight"] = (1 + 0.1 * chance.normal(size=dim)).astype(np.float32)
        weights[f"blocks.{i}.norm2.bias"] = (0.1 * chance.normal(size=dim)).astype(np.float32)
        weights[f"blocks.{i}.scale_shift_table"] = matrix(1, 6, dim)
    return Wan(weights, n.heads, (s.patch_h, s.patch_w))


def contract_of(case: dict, checkpoint: Path, **changes) -> FilmContract:
    """The contract that a golden case and its checkpoint ask for."""
    config = json.loads((checkpoint / "transformer" / "config.json").read_text())
    d = config["attention_head_dim"]
    sixth = 2 * (d // 6)
    network = NetworkSpec(
        config["num_layers"],
        config["num_attention_heads"],
        d,
        (d - 2 * sixth, sixth, sixth),
        freq_dim=config["freq_dim"],
    )
    values = {"latent": LatentSpec(config["in_channels"]), "network": network, "window": case["window"]}
    values |= {"sink": case["sink"], "fps": float(case["fps"]), "block_frames": len(range(*case["blocks"][-1]))}
    return plain_contract(**(values | changes))


def uncached(wan: Wan, made: FilmContract, script: Script, clip: Clip, rows: np.ndarray) -> np.ndarray:
    """Latents `[C, T, h, w]` of a clip without any cache: each forward runs the clip so far under a mask, earlier
    blocks at the commit's time. `rows [length, dim]` are the prompt's with all its pads, each attended.
    """
    n, cross = made.network, wan.cross(rows)
    none = [(np.zeros((n.heads, 0, n.head_dim), wan.dtype),) * 2] * n.layers
    blocks: list[Block] = []
    latents = np.zeros((made.latent.channels, 0, *clip.grid), np.float32)

    def velocity(x: np.ndarray, block: Block, timestep: float) -> np.ndarray:
        everything = np.concatenate([latents, x], 1)
        times = [script.commit_timestep] * latents.shape[1] + [timestep] * len(block)
        seen = np.zeros((block.end, block.end), bool)
        for one in [*blocks, block]:
            seen[one.start : one.end, [*clip.window.past(one), *range(one.start, one.end)]] = True
        visible = np.repeat(np.repeat(seen, clip.rows, 0), clip.rows, 1)
        tables = rotations(0, block.end, clip.rows_grid, n.rope_axes, n.rope_theta)
        v, _ = wan.run(everything, sinusoid(times, n.freq_dim), *tables, none, cross, visible=visible)
        return v[:, block.start :].astype(np.float32)

    for block in clip.blocks:
        x = script.picture if block.given else script.noise.start(block)
        vs: list[np.ndarray] = []
        steps = script.steps(block)
        for s in range(0 if block.given else len(steps)):
            vs.append(velocity(x, block, steps.timesteps[s]))
            x = steps.keep[s] * x + sum(c * v for c, v in zip(steps.velocity[s], vs, strict=True))
            x = (x + steps.noise[s] * script.noise.fresh(block, s) if steps.noise[s] else x).astype(np.float32)
        blocks.append(block)
        latents = np.concatenate([latents, x], 1)
    return latents


# -- the pixel side: a causal decoder that is simple, and whose states matter


@dataclass
class Pixels:
    """A causal decoder: frame t mixes latent frame t with the two before it, and 4 pixel frames differ by a phase."""

    contract: FilmContract
    seed: int = 5
    mix: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        chance, s = np.random.default_rng(self.seed), self.contract.latent
        self.mix = chance.normal(size=(3, s.temporal, 3, s.channels)).astype(np.float32) / s.channels

    def whole(self, latents: np.ndarray) -> np.ndarray:
        """Pixels `[N, H, W, 3]` of `[C, T, h, w]`."""
        c, t, h, w = latents.shape
        padded = np.concatenate([np.zeros((c, 2, h, w), np.float32), latents], 1)
        return np.concatenate([self.at(padded[:, i : i + 3], i == 0) for i in range(t)])

    def at(self, three: np.ndarray, first: bool) -> np.ndarray:
        """Pixels of the last of three latent frames."""
        made = np.einsum("kpoc,ckhw->phwo", self.mix, three)
        made = made[-1:] if first else made
        side = self.contract.latent.spatial
        return (np.repeat(np.repeat(1 / (1 + np.exp(-made)), side, 1), side, 2)).astype(np.float32)

    def encode(self, image: np.ndarray) -> np.ndarray:
        """Latents `[C, 1, h, w]` of `[H, W, 3]`."""
        side, s = self.contract.latent.spatial, self.contract.latent
        h, w = image.shape[0] // side, image.shape[1] // side
        small = image.reshape(h, side, w, side, 3).mean((1, 3)) - 0.5
        return np.einsum("oc,hwo->chw", self.mix[0, 0] * s.channels, small)[:, None].astype(np.float32)


def engines(
    wan: Wan,
    made: FilmContract,
    text: Callable[[np.ndarray], np.ndarray] | None = None,
    pixels: Pixels | None = None,
) -> Callable[[str], Engine]:
    """Fake engines of all graphs by name. `text`: tokens `[L]` to rows `[L, dim]`."""
    pixels = pixels or Pixels(made)
    n, s, dim = made.network, made.latent, made.text.dim
    kv = {
        f"{k}_{i}": Signature("float32", (1, n.heads, "T", n.head_dim))
        for i in range(n.layers)
        for k in ("key", "value")
    }
    float32 = lambda *shape: Signature("float32", shape)  # noqa: E731

    def rows_of(tokens: np.ndarray) -> np.ndarray:
        chance = np.random.default_rng(int(tokens.sum()))
        return (chance.normal(size=(len(tokens), dim))).astype(np.float32)

    def frames(feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        pairs = [
            [(feeds[f"{w}_key_{i}"][0], feeds[f"{w}_value_{i}"][0]) for i in range(n.layers)] for w in ("past", "cross")
        ]
        tables = feeds["rope_cos"][0, :, 0], feeds["rope_sin"][0, :, 0]
        visible = feeds["visible"][0] if "visible" in feeds else None
        v, new = wan.run(
            feeds["latents"][0], feeds["time"][0], *tables, *pairs, cross_bias=feeds["cross_bias"][0], visible=visible
        )
        kept = {f"new_{k}_{i}": pair[j][None] for i, pair in enumerate(new) for j, k in enumerate(("key", "value"))}
        return {"velocity": v[None].astype(np.float32)} | {k: a.astype(np.float32) for k, a in kept.items()}

    takes = {
        "latents": float32(1, s.channels, "F", "h", "w"), "time": float32(1, "F", n.freq_dim),
        "rope_cos": float32(1, "R", 1, n.head_dim), "rope_sin": float32(1, "R", 1, n.head_dim),
        "cross_bias": float32(1, 1, 1, "L"),
        **{f"past_{k}": v for k, v in kv.items()}, **{f"cross_{k}": v for k, v in kv.items()},
    }  # fmt: skip
    gives = {"velocity": float32(1, s.channels, "F", "h", "w"), **{f"new_{k}": v for k, v in kv.items()}}
    visible = {"visible": Signature("bool", (1, 1, "R", "K"))}
    state = float32(s.channels, 2, "h", "w")

    def first(feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        z = np.concatenate([np.zeros((s.channels, 2, *feeds["latents"].shape[3:]), np.float32), feeds["latents"][0]], 1)
        return {"pixels": pixels.at(z, True)[None], "state_0": z[:, 1:]}

    def after(feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        z = np.concatenate([feeds["past_state_0"], feeds["latents"][0]], 1)
        made_of = [pixels.at(z[:, i : i + 3], False) for i in range(z.shape[1] - 2)]
        return {"pixels": np.concatenate(made_of)[None], "new_state_0": z[:, -2:]}

    def cross(feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        made_of = wan.cross(feeds["text_rows"][0])
        return {
            f"cross_{k}_{i}": pair[j][None].astype(np.float32)
            for i, pair in enumerate(made_of)
            for j, k in enumerate(("key", "value"))
        }

    tokens = {"tokens": Signature("int64", (1, "L"))}
    z, shown = {"latents": float32(1, s.channels, "F", "h", "w")}, {"pixels": float32(1, "N", "H", "W", 3)}
    table = {
        "text": (tokens, {"text_rows": float32(1, "L", dim)},
                 lambda feeds: {"text_rows": (text or rows_of)(feeds["tokens"][0])[None]}),
        "cross": ({"text_rows": float32(1, "L", dim)}, {f"cross_{k}": v for k, v in kv.items()}, cross),
        "frames": (takes, gives, frames),
        "frames_merged": (takes | visible, gives, frames),
        "pixels_first": (z, {**shown, "state_0": state}, first),
        "pixels_next": ({**z, "past_state_0": state}, {**shown, "new_state_0": state}, after),
        "encode_first": ({"image": float32(1, "H", "W", 3)}, z,
                         lambda feeds: {"latents": pixels.encode(feeds["image"][0])[None]}),
    }  # fmt: skip
    ready = {name: FakeEngine(*rest, graph=name) for name, rest in table.items()}
    return ready.__getitem__
