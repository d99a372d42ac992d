"""Cosmos 3 Edge at its published sizes with random weights: written shard by shard, exported, its memory watched.

    python benchmarks/real_size_edge.py FOLDER [--precision bf16] [--layers 28] [--keep]

Wants about 20 GB of disk in FOLDER and leaves nothing there but with --keep: CHECKPOINT is FOLDER/edge, the bundle
FOLDER/edge.a2d. Numbers are random, so it says nothing about pictures. Linux only; needs diffusers and transformers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, Cosmos3OmniTransformer
from safetensors.torch import save_file
from transformers.models.cosmos3_edge.configuration_cosmos3_edge import Cosmos3EdgeConfig
from transformers.models.cosmos3_edge.modeling_cosmos3_edge import Cosmos3EdgeForConditionalGeneration

TOKENIZER = Path(__file__).parents[1] / "tests" / "data" / "golden-frames" / "v3" / "checkpoint"
"""A small tokenizer and a scheduler's settings."""

NETWORK = {
    "head_dim": 128, "hidden_act": "relu2", "hidden_size": 2048, "intermediate_size": 9216, "latent_channel": 48,
    "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "qk_norm_for_text": False,
    "rms_norm_eps": 1e-5, "rope_axes_dim": [24, 20, 20], "rope_theta": 1e8, "use_und_k_norm_for_gen": True,
    "vocab_size": 131072,
}  # fmt: skip
VAE = {
    "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
    "is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16,
    "latents_mean": [0.1] * 48, "latents_std": [0.7] * 48,
}  # fmt: skip
VISION = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
    "patch_size": 16, "num_patches": 256,
}  # fmt: skip
TOKENS = {"image": 19, "video": 18}

SHARD = 1 << 30
"""Bytes of a shard."""

POOL = 1 << 24
"""Random numbers that tensors are cut from."""


def shapes(kind: Any, *settings: Any, **named: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a module's tensors, which holds none."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in kind(*settings, **named).state_dict().items()}


def tensors(wanted: Mapping[str, tuple[int, ...]], pool: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Random tensors in bf16, scaled so that numbers stay near 1; one at a time."""
    for at, (name, shape) in enumerate(wanted.items()):
        count = torch.Size(shape).numel()
        parts = -(-(count + 999) // POOL)
        flat = torch.cat([pool] * parts)[(at * 37) % 999 :][:count]
        matrix = len(shape) > 1
        scale = (count / shape[0]) ** -0.5 if matrix else 0.1
        mean = 1.0 if not matrix and name.endswith("weight") else 0.0
        yield name, (flat * scale + mean).bfloat16().reshape(shape)


def write(folder: Path, file: str, wanted: Mapping[str, tuple[int, ...]], pool: torch.Tensor) -> None:
    """A part's weights in shards with an index, of which one is in memory."""
    shard: dict[str, torch.Tensor] = {}
    places: dict[str, str] = {}
    size = number = 0
    stem = file.removesuffix(".safetensors")
    for name, tensor in tensors(wanted, pool):
        if shard and size + tensor.nbytes > SHARD:
            save_file(shard, folder / f"{stem}-{number:05}.safetensors")
            shard, size, number = {}, 0, number + 1
        shard[name], places[name] = tensor, f"{stem}-{number:05}.safetensors"
        size += tensor.nbytes
    save_file(shard, folder / f"{stem}-{number:05}.safetensors")
    (folder / f"{file}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")


def checkpoint(path: Path, layers: int) -> None:
    """Write the whole directory."""
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(0))
    network = {**NETWORK, "num_hidden_layers": layers}
    text = {name: network[name] for name in network if name not in ("rope_theta", "rope_axes_dim", "latent_channel")}
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e8, "mrope_section": [24, 20, 20]}
    text["num_hidden_layers"] = 1
    whole = Cosmos3EdgeConfig(text_config=text, vision_config=VISION, projector_hidden_size=11520)
    seen = shapes(Cosmos3EdgeForConditionalGeneration, whole)
    parts = {
        "transformer": ("diffusion_pytorch_model", shapes(Cosmos3OmniTransformer, **network), network),
        "vae": ("diffusion_pytorch_model", shapes(AutoencoderKLWan, **VAE), VAE),
        "vision_encoder": (
            "model",
            {n: s for n, s in seen.items() if n.startswith(("model.visual", "model.projector"))},
            {"model_type": "cosmos3_edge_vision", "spatial_merge_size": 2, "num_channels": 3, **VISION},
        ),
    }
    classes = {"transformer": "Cosmos3OmniTransformer", "vae": "AutoencoderKLWan"}
    for part, (file, wanted, config) in parts.items():
        (path / part).mkdir(parents=True)
        kind = {"_class_name": classes[part]} if part in classes else {}
        (path / part / "config.json").write_text(json.dumps({**kind, **config}), encoding="utf-8")
        write(path / part, f"{file}.safetensors", wanted, pool)
    for folder in ("scheduler", "text_tokenizer"):
        shutil.copytree(TOKENIZER / folder, path / folder)
    tokenizer = json.loads((path / "text_tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    first = tokenizer["added_tokens"][0]
    tokenizer["added_tokens"] += [{**first, "id": 400 + i, "content": f"<|{n}_pad|>"} for i, n in enumerate(TOKENS)]
    (path / "text_tokenizer" / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    index = {"use_native_flow_schedule": True, "default_use_system_prompt": False}
    (path / "model_index.json").write_text(json.dumps({"_class_name": "Cosmos3OmniPipeline", **index}))
    (path / "config.json").write_text(json.dumps({"vision_end_token_id": 21}), encoding="utf-8")


def exported(path: Path, bundle: Path, precision: str) -> tuple[int, int]:
    """Export in a process of its own; its peak in bytes, as `watched` gives it."""
    return watched("a2d.export.cli", str(path), "-o", str(bundle), "--precision", precision, "--force")


def watched(module: str, *arguments: str) -> tuple[int, int]:
    """Run a module in a process of its own; its peak in bytes: its own memory, and with the pages of mapped files."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments])
    own = total = 0
    while process.poll() is None:
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
        held = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
        own, total = max(own, held.get("RssAnon", 0)), max(total, held.get("VmRSS", 0))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(process.returncode)
    return own, total


def main() -> None:
    """Make, export, say what it took, and clear away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    path, bundle = asked.folder / "edge", asked.folder / "edge.a2d"
    try:
        if not path.exists():
            checkpoint(path, asked.layers)
        files = [file.stat().st_size for file in path.rglob("*.safetensors")]
        started = time.monotonic()
        own, total = exported(path, bundle, asked.precision)
        print(
            f"{sum(files) / 1e9:.2f} GB in {len(files)} files, the largest {max(files) / 1e9:.2f}; "
            f"peak {total / 1e9:.2f} GB "
            f"({total / sum(files):.2f} of the weights), of which its own {own / 1e9:.2f}; "
            f"{time.monotonic() - started:.0f} s"
        )
    finally:
        for made in () if asked.keep else (path, bundle):
            shutil.rmtree(made, ignore_errors=True)


if __name__ == "__main__":
    main()
