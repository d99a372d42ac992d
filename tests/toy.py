"""A tiny real transformer in numpy behind the fake engine: every property of the loop can be checked without a file.

Float64 inside, so that two ways of computing the same thing agree to rounding and argmax ties do not occur.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from a2d.engines import Engine, Signature
from a2d.engines.fake import FakeEngine
from a2d.runtime.decode.block import Prompt
from a2d.runtime.decode.cache import CacheShape
from a2d.runtime.decode.contract import DecodeContract
from a2d.runtime.decode.session import Session

V, H, HEADS, D, LAYERS = 29, 24, 2, 12, 2
MASK, STOP = 28, 3


@dataclass(frozen=True)
class Toy:
    """Weights of the toy network, and its engines."""

    seed: int = 0

    def weights(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        shapes = {"embed": (V, H), "head": (V, H), "pos": (64, H)}
        for layer in range(LAYERS):
            shapes |= {f"{m}{layer}": (H, H) for m in "qkvo"} | {f"up{layer}": (H, 3 * H), f"down{layer}": (3 * H, H)}
        return {name: rng.normal(0, 0.6, shape) for name, shape in shapes.items()}

    def forward(self, tokens, positions, visible, past=None, features=None, is_feature=None):
        """Hidden `[R, H]` and per layer (key, value) `[HEADS, R, D]` of the new rows."""
        w = self.weights()
        x = w["embed"][tokens]
        if features is not None:
            x = np.where(is_feature[:, None], features, x)
        angle = np.outer(positions, 1.0 / 10 ** (np.arange(H) / H))
        x = x + np.sin(angle)  # absolute, but of the position alone: enough for a toy
        new = []
        for layer in range(LAYERS):
            heads = [self._split(norm(x) @ w[f"{m}{layer}"]) for m in "qkv"]
            q, k, v = heads
            new.append((k, v))
            if past is not None:
                k, v = (np.concatenate([old, now], 1) for old, now in zip(past[layer], (k, v), strict=True))
            scores = np.where(visible, q @ k.transpose(0, 2, 1) / D**0.5, -np.inf)
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = (scores / scores.sum(-1, keepdims=True)) @ v
            x = x + mixed.transpose(1, 0, 2).reshape(-1, H) @ w[f"o{layer}"]
            x = x + np.tanh(norm(x) @ w[f"up{layer}"]) @ w[f"down{layer}"]
        return norm(x), new

    def logits(self, hidden):
        return hidden @ self.weights()["head"].T * 1.5

    def backbone(self) -> FakeEngine:
        """The backbone graph."""
        cache = Signature("float64", (1, HEADS, "context", D))
        rows = Signature("float64", (1, HEADS, "rows", D))
        names = [f"{kind}_{layer}" for layer in range(LAYERS) for kind in ("key", "value")]
        inputs = {
            "tokens": Signature("int64", (1, "rows")),
            "positions": Signature("int64", (1, "rows")),
            "visible": Signature("bool", (1, 1, "rows", "keys")),
            **{f"past_{name}": cache for name in names},
            "features": Signature("float32", (1, "rows", H)),
            "is_feature": Signature("bool", (1, "rows")),
        }
        outputs = {"hidden": Signature("float64", (1, "rows", H)), **{f"new_{name}": rows for name in names}}

        def script(feeds):
            past = [(feeds[f"past_key_{i}"][0], feeds[f"past_value_{i}"][0]) for i in range(LAYERS)]
            hidden, new = self.forward(
                feeds["tokens"][0], feeds["positions"][0], feeds["visible"][0], past,
                feeds["features"][0], feeds["is_feature"][0],
            )  # fmt: skip
            made = {
                f"new_{kind}_{i}": new[i][j][None] for i in range(LAYERS) for j, kind in enumerate(("key", "value"))
            }
            return {"hidden": hidden[None], **made}

        return FakeEngine(inputs, outputs, script, "backbone")

    def denoise(self, sample: bool = False) -> FakeEngine:
        """The denoise graph, or with temperature the sample graph."""
        row = Signature("int64", (1, "block"))
        inputs = {
            "hidden": Signature("float64", (1, "rows", H)),
            "carry": Signature("float64", (1, 1, H)),
            "gather": row,
            "tokens": row,
            "masked": Signature("bool", (1, "block")),
            "count": Signature("int64", (1,)),
            "threshold": Signature("float32", (1,)),
            "allowed": Signature("uint8", ("masks", -(-V // 8))),
            "allowed_by": row,
        }
        if sample:
            inputs |= {"noise": Signature("float32", (1, "block")), "temperature": Signature("float32", (1,))}
            inputs |= {"top_k": Signature("int64", (1,)), "top_p": Signature("float32", (1,))}
        real, flag = Signature("float32", (1, "block")), Signature("bool", (1, "block"))
        outputs = {"proposed": row, "next_tokens": row, "confidence": real, "entropy": real, "held": real}
        outputs |= {"next_masked": flag, "left": Signature("int64", (1,))}
        if sample:
            outputs |= dict.fromkeys(("tempered", "tempered_entropy", "filtered", "filtered_entropy"), real)

        def script(feeds):
            rows = np.concatenate([feeds["carry"][0], feeds["hidden"][0]])[feeds["gather"][0]]
            return {name: value[None] for name, value in self.propose(self.logits(rows), feeds).items()}

        return FakeEngine(inputs, outputs, script, "sample" if sample else "denoise")

    def propose(self, logits, feeds):
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        bits = (feeds["allowed"][:, np.arange(V) // 8] >> (np.arange(V) % 8)) & 1
        allowed = np.where(bits[feeds["allowed_by"][0]] == 1, p, -1)
        proposed = allowed.argmax(-1)
        believed = {}
        if "noise" in feeds:
            q = np.where(allowed > 0, p, 0) ** (1 / feeds["temperature"][0])
            q /= q.sum(-1, keepdims=True)
            kept = np.array([filtered(row, feeds["top_k"][0], feeds["top_p"][0]) for row in q])
            drawn = (np.cumsum(kept, -1) <= feeds["noise"][0][:, None]).sum(-1).clip(max=V - 1)
            proposed = np.where(feeds["noise"][0] < 0, q.argmax(-1), drawn)
            for name, of in (("tempered", q), ("filtered", kept)):
                believed[name] = np.take_along_axis(of, proposed[:, None], -1)[:, 0].astype(np.float32)
                logs = np.log(of, where=of > 0, out=np.zeros_like(of))
                believed[f"{name}_entropy"] = -(of * logs).sum(-1).astype(np.float32)
        confidence = np.take_along_axis(p, proposed[:, None], -1)[:, 0]
        tokens, masked = feeds["tokens"][0], feeds["masked"][0]
        order = np.argsort(np.where(masked, -confidence, np.inf), kind="stable")
        rank = np.empty(len(order), int)
        rank[order] = np.arange(len(order))
        accept = masked & ((rank < feeds["count"][0]) | (confidence > feeds["threshold"][0]))
        return {
            "proposed": proposed,
            "confidence": confidence.astype(np.float32),
            "entropy": -(p * np.log(p)).sum(-1).astype(np.float32),
            "held": np.take_along_axis(p, tokens[:, None], -1)[:, 0].astype(np.float32),
            "next_tokens": np.where(accept, proposed, tokens),
            "next_masked": masked & ~accept,
            "left": (masked & ~accept).sum(),
            **believed,
        }

    def engines(self) -> Callable[[str], Engine]:
        """The engines by graph name, made once."""
        made = {"backbone": self.backbone(), "denoise": self.denoise(), "sample": self.denoise(sample=True)}
        return made.__getitem__

    def session(self, contract: DecodeContract, max_context: int = 400, exact: bool = False) -> Session:
        shape = CacheShape(LAYERS, HEADS, D, "float64")
        return Session(self.engines(), contract, shape, max_context, exact=exact)

    def _split(self, x):
        return x.reshape(-1, HEADS, D).transpose(1, 0, 2)


def filtered(q, top_k, top_p):
    """One distribution among its k most probable tokens, then among the fewest that hold p of what is left."""
    order = np.argsort(-q, kind="stable")
    kept = np.zeros_like(q)
    kept[order[: top_k or len(q)]] = q[order[: top_k or len(q)]]
    before = np.cumsum(kept[order]) - kept[order]
    kept[order[(before >= top_p * kept.sum()) & (top_p < 1)]] = 0
    return kept / kept.sum()


def norm(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def contract(**changes) -> DecodeContract:
    fields = {"mask_token_id": MASK, "stop_token_ids": (STOP,), "block_size": 4, "prompt_alignment": "left"}
    return DecodeContract(**{**fields, "forbid_token_ids": (MASK,), **changes})


def prompt(tokens, **changes) -> Prompt:
    ids = np.asarray(tokens, np.int64)
    plain = Prompt.of(ids, np.arange(len(ids)), len(ids))
    rows = {name: changes.pop(name) for name in ("positions", "features", "is_feature") if name in changes}
    return replace(plain, rows=replace(plain.rows, **rows), **changes)
