"""A Llama in a GGUF file as a Hugging Face directory: the weights widened, llama.cpp's row order undone.

Needs the `gguf` package. Knows the `llama` architecture with the `smollm` tokenizer, and refuses every other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

CONTROL = 3
"""Type of a control token in `tokenizer.ggml.token_type`."""

WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Parts of names, GGUF's to transformers'."""


def write_checkpoint(source: Path, folder: Path) -> None:
    """Write config, weights and tokenizer of `source` into `folder`."""
    reader = gguf.GGUFReader(source)
    said = {name: field.contents() for name, field in reader.fields.items()}
    kinds = said["general.architecture"], said["tokenizer.ggml.pre"]
    if kinds != ("llama", "smollm"):
        raise ValueError(f"{source}: got {kinds}, expected a llama with the smollm tokenizer")
    folder.mkdir(parents=True, exist_ok=True)
    heads, kv_heads = said["llama.attention.head_count"], said["llama.attention.head_count_kv"]
    made = dict(_tensors(reader, heads, kv_heads))
    save_file(made, folder / "model.safetensors", {"format": "pt"})
    for name, data in _files(said, tied="lm_head.weight" not in made).items():
        (folder / name).write_text(json.dumps(data, indent=1), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(said["tokenizer.chat_template"], encoding="utf-8")
    _tokenizer(said).save(str(folder / "tokenizer.json"))


def _tensors(reader: Any, heads: int, kv_heads: int) -> Iterator[tuple[str, torch.Tensor]]:
    for tensor in reader.tensors:
        wide = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        part = tensor.name.split(".")[2] if tensor.name.startswith("blk.") else ""
        if part in ("attn_q", "attn_k"):
            wide = unpermuted(wide, heads if part == "attn_q" else kv_heads)
        yield _name(tensor.name), torch.from_numpy(np.ascontiguousarray(wide))


def unpermuted(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """`[heads * D, H]` as transformers orders a head's rows, both halves apart, where llama.cpp has them in turns."""
    return rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _name(name: str) -> str:
    if name in WHOLE:
        return WHOLE[name]
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{LAYER[part]}.weight"


def _files(said: dict[str, Any], tied: bool) -> dict[str, dict[str, Any]]:
    """config.json, generation_config.json and tokenizer_config.json."""
    tokens, eos = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.eos_token_id"]
    bos, pad = said["tokenizer.ggml.bos_token_id"], said["tokenizer.ggml.padding_token_id"]
    return {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": said["llama.vocab_size"],
            "hidden_size": said["llama.embedding_length"],
            "intermediate_size": said["llama.feed_forward_length"],
            "num_hidden_layers": said["llama.block_count"],
            "num_attention_heads": said["llama.attention.head_count"],
            "num_key_value_heads": said["llama.attention.head_count_kv"],
            "max_position_embeddings": said["llama.context_length"],
            "rope_theta": said["llama.rope.freq_base"],
            "rms_norm_eps": round(said["llama.attention.layer_norm_rms_epsilon"], 9),
            "hidden_act": "silu",
            "tie_word_embeddings": tied,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": pad,
            "torch_dtype": "float32",
        },
        "generation_config.json": {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[bos],
            "eos_token": tokens[eos],
            "pad_token": tokens[pad],
            "model_max_length": said["llama.context_length"],
        },
    }


def _tokenizer(said: dict[str, Any]) -> Tokenizer:
    """Byte-level BPE that splits digits, as llama.cpp's `smollm`."""
    tokens, kinds = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ", 1)) for pair in said["tokenizer.ggml.merges"]]
    made = Tokenizer(BPE({text: i for i, text in enumerate(tokens)}, merges))
    digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    made.decoder = decoders.ByteLevel()
    control = [text for text, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in control])
    return made
