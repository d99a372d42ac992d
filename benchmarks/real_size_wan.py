"""Wan 2.1 1.3B at its published sizes with random weights: written in shards, exported, built, its memory watched.

    python benchmarks/real_size_wan.py FOLDER [--precision fp16] [--layers 30] [--text-layers 24] [--size 480x832]

Wants up to 40 GB of disk in FOLDER (20 with `--text-layers 4`) and leaves nothing there without --keep: the checkpoint
is FOLDER/wan, the bundle FOLDER/wan.a2d. Engines are made ahead of time for each --size, without a GPU. Numbers are
random, so it says nothing about pictures. Linux only; needs diffusers and transformers, and tensorrt_rtx to build.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from real_size_edge import POOL, shapes, watched, write
from transformers import UMT5Config, UMT5EncoderModel

TOKENIZER = Path(__file__).parents[1] / "tests" / "data" / "golden-frames" / "v1" / "checkpoint"
"""A small tokenizer and a scheduler's settings."""

NETWORK = {
    "num_attention_heads": 12, "attention_head_dim": 128, "in_channels": 16, "out_channels": 16, "ffn_dim": 8960,
    "num_layers": 30, "text_dim": 4096, "freq_dim": 256,
}  # fmt: skip
TEXT = {
    "vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_heads": 64, "num_layers": 24,
    "feed_forward_proj": "gated-gelu", "eos_token_id": 1,
}  # fmt: skip
DISTILLED = ("--block-frames", "3", "--steps-list", "1000,750,500,250", "--window", "12", "--sink", "3")
"""LongLive's settings."""


def checkpoint(path: Path, layers: int, text_layers: int) -> None:
    """Write the whole directory."""
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(0))
    network, text = {**NETWORK, "num_layers": layers}, {**TEXT, "num_layers": text_layers}
    encoder = shapes(UMT5EncoderModel, UMT5Config(**text))
    encoder.pop("encoder.embed_tokens.weight")  # the same as shared.weight
    vae = dict(AutoencoderKLWan().config)
    parts = {
        "transformer": (
            "diffusion_pytorch_model",
            shapes(WanTransformer3DModel, **network),
            {"_class_name": "WanTransformer3DModel", **network},
        ),
        "vae": ("diffusion_pytorch_model", shapes(AutoencoderKLWan), {"_class_name": "AutoencoderKLWan", **vae}),
        "text_encoder": ("model", encoder, {"model_type": "umt5", **text}),
    }
    for part, (file, wanted, config) in parts.items():
        (path / part).mkdir(parents=True)
        (path / part / "config.json").write_text(json.dumps(config), encoding="utf-8")
        write(path / part, f"{file}.safetensors", wanted, pool)
    for folder in ("scheduler", "tokenizer"):
        shutil.copytree(TOKENIZER / folder, path / folder)
    shutil.copy(TOKENIZER / "model_index.json", path)


def measured(what: str, module: str, *arguments: str) -> None:
    """Run a command of a2d, and print its time and its peak."""
    started = time.monotonic()
    own, total = watched(module, *arguments)
    print(f"{what}: {time.monotonic() - started:.0f} s, peak {total / 1e9:.2f} GB, of which its own {own / 1e9:.2f}")


def main(argv: Sequence[str] | None = None) -> None:
    """Make, export, build, say what it took, and clear away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precision", default="fp16")
    parser.add_argument("--layers", type=int, default=NETWORK["num_layers"])
    parser.add_argument("--text-layers", type=int, default=TEXT["num_layers"])
    parser.add_argument("--size", nargs="*", default=(), metavar="HxW", help="picture sizes to build engines for")
    parser.add_argument("--sm", default="89,120")
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args(argv)
    path, bundle = asked.folder / "wan", asked.folder / "wan.a2d"
    try:
        if not path.exists():
            checkpoint(path, asked.layers, asked.text_layers)
        files = [file.stat().st_size for file in path.rglob("*.safetensors")]
        print(f"{sum(files) / 1e9:.2f} GB in {len(files)} files, the largest {max(files) / 1e9:.2f}")
        if not bundle.exists():
            wanted = (str(path), "-o", str(bundle), "--precision", asked.precision, *DISTILLED)
            measured("export", "a2d", "export", *wanted)
        for size in asked.size:
            engines = ("--target", "rtx", "--sm", asked.sm, "--size", size, "-o", str(asked.folder / f"engines-{size}"))
            measured(f"engines of {size}", "a2d", "build", str(bundle), *engines, "--json")
    finally:
        for made in () if asked.keep else (path, bundle, *asked.folder.glob("engines-*")):
            shutil.rmtree(made, ignore_errors=True)


if __name__ == "__main__":
    main()
