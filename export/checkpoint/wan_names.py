"""Names of a Wan network's tensors and settings as its authors store them, and in diffusers' terms.

Only names differ; no tensor is turned or split. Knows names, not files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ...engines.errors import CheckpointError

__all__ = ["ANCHOR", "in_diffusers_terms", "original_prefix", "renamed"]

ANCHOR = "patch_embedding.weight"
"""A tensor that every Wan network has, under this name in both ways to name them."""

ORIGINAL = re.compile(r"(.*\.)?blocks\.\d+\.self_attn\.q\.weight")

PARTS = {
    "blocks.{}.self_attn.q": "blocks.{}.attn1.to_q",
    "blocks.{}.self_attn.k": "blocks.{}.attn1.to_k",
    "blocks.{}.self_attn.v": "blocks.{}.attn1.to_v",
    "blocks.{}.self_attn.o": "blocks.{}.attn1.to_out.0",
    "blocks.{}.self_attn.norm_q": "blocks.{}.attn1.norm_q",
    "blocks.{}.self_attn.norm_k": "blocks.{}.attn1.norm_k",
    "blocks.{}.cross_attn.q": "blocks.{}.attn2.to_q",
    "blocks.{}.cross_attn.k": "blocks.{}.attn2.to_k",
    "blocks.{}.cross_attn.v": "blocks.{}.attn2.to_v",
    "blocks.{}.cross_attn.o": "blocks.{}.attn2.to_out.0",
    "blocks.{}.cross_attn.norm_q": "blocks.{}.attn2.norm_q",
    "blocks.{}.cross_attn.norm_k": "blocks.{}.attn2.norm_k",
    "blocks.{}.norm3": "blocks.{}.norm2",  # the one before cross-attention; diffusers numbers them in their order
    "blocks.{}.ffn.0": "blocks.{}.ffn.net.0.proj",
    "blocks.{}.ffn.2": "blocks.{}.ffn.net.2",
    "blocks.{}.modulation": "blocks.{}.scale_shift_table",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
    "patch_embedding": "patch_embedding",
}
"""Original module to diffusers'; `{}` is the number of a block."""

SETTINGS = {
    "dim": None, "num_heads": "num_attention_heads", "num_layers": "num_layers", "ffn_dim": "ffn_dim",
    "freq_dim": "freq_dim", "in_dim": "in_channels", "out_dim": "out_channels", "text_dim": "text_dim", "eps": "eps",
    "cross_attn_norm": "cross_attn_norm", "patch_size": "patch_size",
}  # fmt: skip
"""Original key of config.json to diffusers'; a width is made into the width of a head."""


def original_prefix(names: Collection[str]) -> str | None:
    """The prefix of the original names; None where the names are diffusers' own.

    Of several networks in one file (a generator and its running mean) the mean is the one to use, as its authors do.
    Raises CheckpointError where that cannot be told.
    """
    if not any(ORIGINAL.fullmatch(name) for name in names):
        return None
    prefixes = [name.removesuffix(ANCHOR) for name in names if name.endswith(ANCHOR)]
    means = [prefix for prefix in prefixes if "ema" in prefix]
    chosen = prefixes if len(prefixes) == 1 else means
    if len(chosen) != 1:
        raise CheckpointError(
            f"a Wan network was looked for by its {ANCHOR}: found {len(prefixes)} ({', '.join(map(repr, prefixes))}), "
            "expected one, or one whose prefix says ema. Keep the tensors of one network."
        )
    return chosen[0]


def renamed(name: str) -> str:
    """The diffusers name of an original one (without prefix); a name that is none of them stays as it is."""
    number = re.match(r"blocks\.(\d+)\.", name)
    plain = f"blocks.{{}}.{name[number.end() :]}" if number else name
    module, _, leaf = plain.rpartition(".")
    found = PARTS.get(plain) or (f"{PARTS[module]}.{leaf}" if module in PARTS else None)
    if found is None:
        return name
    return found.format(number[1]) if number else found


def in_diffusers_terms(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of the original code under diffusers' keys; one that is diffusers' stays as it is."""
    if "dim" not in config or "num_attention_heads" in config:
        return dict(config)
    made = {theirs: config[ours] for ours, theirs in SETTINGS.items() if theirs is not None and ours in config}
    made["attention_head_dim"] = config["dim"] // max(1, config.get("num_heads", 1))
    kind = config.get("model_type", "t2v")
    if kind != "t2v":
        raise CheckpointError(f"config.json: model_type = {kind!r}, expected 't2v': other networks take more inputs.")
    return made | {"_class_name": "WanTransformer3DModel"}
