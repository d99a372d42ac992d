"""llama.cpp on a plain decoder: its own file format and quantization, its own loop of one token per forward.

usage: run_llama_cpp.py CHECKPOINT THREADS FORBIDDEN [plain]

CHECKPOINT is a folder with config.json and model.safetensors of a llama, qwen2 or qwen3; FORBIDDEN are ids that are
never proposed, by comma. The file has no words: every token is a number. `plain` keeps weights as they are in the
file, where the repacked ones (AMX) crash, as in some virtual machines. Run by a Python that has llama-cpp-python.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
from lines import answer
from safetensors import safe_open

FORMS = {"q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}
CONTEXT, BATCH = 8192, 512

WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
PARTS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Parts of names, transformers' to GGUF's."""


def write_gguf(folder: Path, path: Path) -> None:
    """The checkpoint as a GGUF file in float32."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind, head_dim, vocab = config["model_type"], config["head_dim"], config["vocab_size"]
    writer = gguf.GGUFWriter(path, kind)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{number}>" for number in range(vocab)])
    writer.add_token_scores([0.0] * vocab)
    writer.add_token_types([gguf.TokenType.NORMAL] * vocab)
    with safe_open(folder / "model.safetensors", "np") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - no mapping
            writer.add_tensor(*renamed(config, name, tensors.get_tensor(name)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def renamed(config: dict[str, Any], name: str, weight: Any) -> tuple[str, Any]:
    """A tensor by GGUF's name; a llama's query and key rows in turns, as llama.cpp rotates them."""
    if name in WHOLE:
        return WHOLE[name], weight
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    heads = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}.get(part)
    if config["model_type"] == "llama" and heads:
        halves = weight.reshape(config[heads], 2, -1, weight.shape[1])
        weight = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weight.shape)
    return f"blk.{layer}.{PARTS[part]}.{kind}", weight


class Form:
    """One file of weights, opened."""

    def __init__(self, path: Path, threads: int, forbidden: list[int], plain: bool) -> None:
        chosen = llama_cpp.llama_model_default_params()
        chosen.use_extra_bufts = chosen.use_extra_bufts and not plain
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), chosen)
        if not self.model:
            raise SystemExit(f"llama.cpp does not open {path}")
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = CONTEXT, BATCH, BATCH
        options.n_threads = options.n_threads_batch = threads
        # Its default took a quarter longer behind 512 tokens on the CPUs at hand.
        options.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.forbidden = forbidden

    def run(self, tokens: Sequence[int]) -> int:
        """The most probable token behind `tokens`, which stay in the cache."""
        for start in range(0, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            array = (ctypes.c_int32 * len(part))(*part)
            status = llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(array, len(part)))
            if status:
                raise SystemExit(f"llama_decode of {len(part)} tokens ended with {status}")
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, -1), (self.vocab,))
        logits[self.forbidden] = -np.inf
        return int(logits.argmax())

    def tokens(self, prompt: Sequence[int], following: Sequence[int | None]) -> Iterator[int]:
        """The preferred token behind the prompt and behind all but the last that follow, one per forward."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        token = self.run(prompt)
        yield token
        for given in following[:-1]:
            token = self.run([token if given is None else given])
            yield token


def quantized(wide: Path, name: str) -> Path:
    """The file in one of FORMS, by llama.cpp's own quantization."""
    path = wide.with_name(f"{name}.gguf")
    if not path.exists():
        asked = llama_cpp.llama_model_quantize_default_params()
        asked.ftype, asked.nthread = FORMS[name], 1
        if llama_cpp.llama_model_quantize(str(wide).encode(), str(path).encode(), ctypes.byref(asked)):
            raise SystemExit(f"llama.cpp does not quantize {wide} to {name}")
    return path


def main() -> None:
    """See the module."""
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    forbidden = [int(part) for part in sys.argv[3].split(",") if part]
    wide = folder / "f32.gguf"
    if not wide.exists():
        write_gguf(folder, wide)
    opened = {name: Form(quantized(wide, name), threads, forbidden, "plain" in sys.argv) for name in FORMS}
    for form in opened.values():
        form.run([10, 11, 12])  # a crash of its kernels is to come before it says that it is ready
    answer(llama_cpp.__version__, opened, lambda form, prompt, following: opened[form].tokens(prompt, following))


if __name__ == "__main__":
    main()
