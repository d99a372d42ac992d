"""A bundle's decoder as a Hugging Face directory again, for engines that read nothing else.

Weights are those of the bundle's fp32 graphs: projections that were joined are taken apart. Knows plain decoders of the
kinds llama, qwen2 and qwen3, told apart by their norms and biases; refuses what no such config describes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

from ...engines.errors import RequestError
from ...runtime.bundle.files import Bundle
from ..graphs.shapes import DecoderShape
from .weights import family_of, weights_of

__all__ = ["write_again"]

SOURCE = "fp32"


def write_again(bundle: Bundle, folder: Path) -> dict[str, Any]:
    """Write config.json and model.safetensors into `folder`; returns the config. Raises RequestError."""
    if SOURCE not in bundle.manifest.variants:
        raise RequestError(f"{bundle.path} has no {SOURCE} variant, which other engines' weights are made of")
    shape = family_of(bundle, SOURCE).shape
    config = _config(shape, bundle.manifest.model.max_context)
    tensors = dict(_tensors(shape, weights_of(bundle, SOURCE)))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return config


def _config(shape: DecoderShape, context: int) -> dict[str, Any]:
    kind = "qwen3" if shape.qk_norm else "qwen2" if shape.qkv_bias else "llama"
    base = float(shape.inv_freq[1] ** (-len(shape.inv_freq))) if len(shape.inv_freq) > 1 else 10000.0
    plain = base ** (-np.arange(len(shape.inv_freq)) / len(shape.inv_freq))
    strange = {
        "its rotary frequencies": not np.allclose(plain, shape.inv_freq, rtol=1e-4) or shape.rope_scale != 1.0,
        "heads that are rotated in part": shape.rotary_dim != shape.head_dim,
        f"an MLP of the kind {shape.mlp}": shape.mlp != "swiglu" or shape.mlp_bias,
        "biases beside norms of queries and keys, or on the way out": shape.out_bias
        or (shape.qk_norm and shape.qkv_bias),
        "a second key of each layer": shape.condition_key,
    }
    if found := [what for what, is_so in strange.items() if is_so]:
        raise RequestError(f"other engines' llama, qwen2 and qwen3 have no word for {', '.join(found)}; leave them out")
    return {
        "architectures": [{"qwen3": "Qwen3", "qwen2": "Qwen2", "llama": "Llama"}[kind] + "ForCausalLM"],
        "model_type": kind,
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": context,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": base,
        "hidden_act": "silu",
        "tie_word_embeddings": shape.tied,
        "torch_dtype": "float32",
    }


def _tensors(s: DecoderShape, weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    yield "model.embed_tokens.weight", weights["embedding"]
    yield "model.norm.weight", weights["norm"]
    if not s.tied:
        yield "lm_head.weight", weights["lm_head"].clone()
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    for i in range(s.layers):
        own, name = f"layers.{i}.", f"model.layers.{i}."
        yield name + "input_layernorm.weight", weights[own + "attention_norm"]
        yield name + "post_attention_layernorm.weight", weights[own + "mlp_norm"]
        for part, rows in zip("qkv", weights[own + "qkv"].split([q, kv, kv], 1), strict=True):
            yield f"{name}self_attn.{part}_proj.weight", rows.T
        if s.qkv_bias:
            for part, rows in zip("qkv", weights[own + "qkv_bias"].split([q, kv, kv]), strict=True):
                yield f"{name}self_attn.{part}_proj.bias", rows
        if s.qk_norm:
            yield name + "self_attn.q_norm.weight", weights[own + "q_norm"]
            yield name + "self_attn.k_norm.weight", weights[own + "k_norm"]
        yield name + "self_attn.o_proj.weight", weights[own + "out"].T
        for part, rows in zip(("gate", "up"), weights[own + "gate_up"].split(s.intermediate, 1), strict=True):
            yield f"{name}mlp.{part}_proj.weight", rows.T
        yield name + "mlp.down_proj.weight", weights[own + "down"].T
