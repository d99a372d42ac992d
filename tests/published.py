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


PUBLISHED: dict[str, Callable[..., Any]] = {"sdar": sdar, "Fast_dLLM_Qwen": fast_dllm}
"""model_type to what writes such a checkpoint."""
