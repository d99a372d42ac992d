"""Tiny checkpoints that look like the published ones: the same files, tensor names, config keys and omissions.

Each function writes a directory and returns transformers' own class with the same weights, which is what decodes are
held against. Sizes are small, and `vocab` may be; everything else is as in the releases.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel

import a2d

Opened = tuple[Any, a2d.Model]
"""transformers' model and the loaded bundle of one family."""

VOCAB = 96
STOPS = (0, 1, 2, 3)

SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.25,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "use_cache": True,
    "use_sliding_window": False,
    "rope_scaling": None,
    "torch_dtype": "float32",
}

SHARPNESS = 4.0
"""Of the output projection: confidences of a random network are flat, and no threshold would tell rows apart."""


def auto_map(config: str, model: str) -> dict[str, str]:
    return {"AutoConfig": config, "AutoModel": model, "AutoModelForCausalLM": model}


def made(kind: str, config: dict[str, Any], seed: int = 0) -> Any:
    """transformers' class with weights that make its decodes lively."""
    torch.manual_seed(seed)
    ignored = ("model_type", "auto_map", "architectures", "torch_dtype")
    plain = {key: value for key, value in config.items() if key not in ignored}
    model = getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**plain)).eval().float()
    for name, parameter in model.named_parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # biases and norms are born as zeros and ones
        if name == "lm_head.weight":
            parameter.data *= SHARPNESS
    return model


def written(
    path: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor], mask: str | None, **more: Any
) -> None:
    """A directory of two shards with an index, remote code that nobody runs, and a tokenizer if there is a `mask`."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    (path / f"modeling_{config['model_type'].lower()}.py").write_text("raise SystemExit('remote code was run')\n")
    generation = {"_from_model_config": True, "eos_token_id": list(STOPS), "transformers_version": "4.52.3"} | more
    (path / "generation_config.json").write_text(json.dumps(generation))
    names = sorted(tensors)
    shards = [names[: len(names) // 2], names[len(names) // 2 :]]
    weight_map = {}
    for i, some in enumerate(shards, 1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        save_file({name: tensors[name].contiguous().clone() for name in some}, path / file, {"format": "pt"})
        weight_map |= dict.fromkeys(some, file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    if mask is not None:
        tokenizer(mask, config["vocab_size"]).save(str(path / "tokenizer.json"))


def tokenizer(mask: str, vocab: int) -> Tokenizer:
    """Words w0, w1, ...; the mask is an added token, the last id but one: vocabularies are padded."""
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(vocab - 2)}, unk_token="w0"))
    words.add_special_tokens([AddedToken(mask, special=True)])
    return words


def sdar(path: Path, vocab: int = VOCAB, mask: str | None = "<|MASK|>", **changes: Any) -> Any:
    """JetAstra/SDAR-*-Chat."""
    config = SIZES | {
        "architectures": ["SDARForCausalLM"],
        "auto_map": auto_map("configuration_sdar.SDARConfig", "modeling_sdar.SDARForCausalLM"),
        "model_type": "sdar",
        "vocab_size": vocab,
        "head_dim": 16,
        "attention_bias": False,
        "rope_theta": 1000000,
        "tie_word_embeddings": False,
        "fuse_cross_entropy": True,
        "max_window_layers": 28,
        "sliding_window": None,
        **changes,
    }
    model = made("Qwen3", config)
    written(path, config, dict(model.state_dict()), mask)
    return model


def fast_dllm(path: Path, vocab: int = VOCAB, mask: str | None = "|<MASK>|", **changes: Any) -> Any:
    """Efficient-Large-Model/Fast_dLLM_v2_*."""
    config = SIZES | {
        "architectures": ["Fast_dLLM_QwenForCausalLM"],
        "auto_map": auto_map("configuration.Fast_dLLM_QwenConfig", "modeling.Fast_dLLM_QwenForCausalLM"),
        "model_type": "Fast_dLLM_Qwen",
        "vocab_size": vocab,
        "bd_size": 32,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "layer_types": ["full_attention"] * SIZES["num_hidden_layers"],
        "max_window_layers": 28,
        "sliding_window": None,
        **changes,
    }
    model = made("Qwen2", config)
    written(path, config, dict(model.state_dict()), mask)
    return model


def apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Experts as checkpoints have them: three matrices each, where transformers stacks them."""
    made: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        stem, stacked, half = name.partition(".experts.")
        for e, one in enumerate(tensor if stacked else ()):
            parts = (
                zip(("gate_proj", "up_proj"), one.chunk(2), strict=True) if half == "gate_up_proj" else [(half, one)]
            )
            made |= {f"{stem}.experts.{e}.{part}.weight": matrix for part, matrix in parts}
        if not stacked:
            made[name] = tensor
    return made


def sdar_moe(path: Path, vocab: int = VOCAB, mask: str | None = "<|MASK|>", **changes: Any) -> Any:
    """JetAstra/SDAR-30B-A3B-*."""
    config = SIZES | {
        "architectures": ["SDARMoeForCausalLM"],
        "auto_map": auto_map("configuration_sdar_moe.SDARMoeConfig", "modeling_sdar_moe.SDARMoeForCausalLM"),
        "model_type": "sdar_moe",
        "vocab_size": vocab,
        "head_dim": 16,
        "attention_bias": False,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "num_hidden_layers": 3,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": 24,
        "norm_topk_prob": True,
        "num_experts": 8,
        "num_experts_per_tok": 3,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
        "fuse_cross_entropy": True,
        "max_window_layers": 48,
        "sliding_window": None,
        **changes,
    }
    model = made("Qwen3Moe", config)
    written(path, config, apart(dict(model.state_dict())), mask)
    return model


LLADA2 = {
    "model.embed_tokens.": "model.word_embeddings.",
    ".self_attn.o_proj.": ".attention.dense.",
    ".self_attn.q_norm.": ".attention.query_layernorm.",
    ".self_attn.k_norm.": ".attention.key_layernorm.",
    ".gate.e_score_correction_bias": ".gate.expert_bias",
}


def llada2_moe(path: Path, vocab: int = VOCAB, mask: str | None = "<|mask|>", **changes: Any) -> Any:
    """inclusionAI/LLaDA2.0-* and LLaDA2.1-*."""
    config = SIZES | {
        "architectures": ["LLaDA2MoeModelLM"],
        "auto_map": auto_map("configuration_llada2_moe.LLaDA2MoeConfig", "modeling_llada2_moe.LLaDA2MoeModelLM"),
        "model_type": "llada2_moe",
        "vocab_size": vocab,
        "head_dim": 16,
        "num_hidden_layers": 3,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 24,
        "moe_router_enable_expert_bias": True,
        "n_group": 4,
        "topk_group": 2,
        "norm_head": False,
        "norm_topk_prob": True,
        "num_experts": 16,
        "num_experts_per_tok": 3,
        "num_shared_experts": 1,
        "partial_rotary_factor": 0.5,
        "rotary_dim": 8,
        "rope_theta": 600000.0,
        "routed_scaling_factor": 2.5,
        "router_dtype": "fp32",
        "score_function": "sigmoid",
        "embedding_dropout": 0.0,
        "output_dropout": 0.0,
        "max_window_layers": 20,
        "sliding_window": 4096,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        "use_bias": False,
        "use_cache": False,
        "use_qk_norm": True,
        "use_qkv_bias": False,
        "use_rmsnorm": True,
        **changes,
    }
    model = made("Glm4Moe", as_glm(config))
    for layer in model.model.layers[config["first_k_dense_replace"] :]:
        layer.mlp.gate.e_score_correction_bias.uniform_(-0.2, 0.2)
    written(path, config, renamed(apart(dict(model.state_dict()))), mask)
    return model


def as_glm(config: dict[str, Any]) -> dict[str, Any]:
    """The same mathematics for transformers' Glm4Moe."""
    rope = {"rope_type": "default", "rope_theta": config["rope_theta"], "partial_rotary_factor": 0.5}
    names = {"num_experts": "n_routed_experts", "num_shared_experts": "n_shared_experts"}
    kept = [*SIZES, "head_dim", "first_k_dense_replace", "moe_intermediate_size", "n_group", "topk_group"]
    kept += ["num_experts_per_tok", "routed_scaling_factor", "norm_topk_prob", "use_qk_norm", "tie_word_embeddings"]
    glm = {key: config[key] for key in kept if key != "rope_scaling"} | {new: config[old] for old, new in names.items()}
    return glm | {"rope_parameters": rope, "num_mtp_layers": 0, "attention_bias": config["use_qkv_bias"]}


def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Glm4Moe's tensors under LLaDA2's names: query, key and value are one."""
    result: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.partition(".self_attn.q_proj.")
        if kind:
            parts = [tensors[f"{layer}.self_attn.{x}_proj.{kind}"] for x in "qkv"]
            result[f"{layer}.attention.query_key_value.{kind}"] = torch.cat(parts)
        elif ".self_attn.k_proj." not in name and ".self_attn.v_proj." not in name:
            ours = name
            for old, new in LLADA2.items():
                ours = ours.replace(old, new)
            result[ours] = tensor
    return result


PUBLISHED: dict[str, Callable[..., Any]] = {
    "sdar": sdar,
    "Fast_dLLM_Qwen": fast_dllm,
    "llada2_moe": llada2_moe,
    "sdar_moe": sdar_moe,
}
"""model_type to what writes such a checkpoint."""
