"""Bundles without a network in them: a valid manifest, and a folder that it describes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from a2d.runtime.bundle.manifest import SCHEMA, FileRecord, Manifest, ModelShape, ParityRow, TextFiles, Variant, Words
from a2d.runtime.bundle.weight_index import GraphIndex, StoredTensor
from a2d.runtime.decode.contract import DecodeContract
from a2d.runtime.inputs.images import Letterbox
from a2d.runtime.inputs.patches import VisionSpec

CONTENT = {
    "backbone-fp32.onnx": b"rows to hidden states",
    "denoise-fp32.onnx": b"hidden states to tokens",
    "sample-fp32.onnx": b"the same by chance",
    "vision-fp32.onnx": b"pixels to features",
    "weights-fp32.bin": bytes(1000),
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
}

VISION = VisionSpec(
    patch_size=14,
    merge_size=2,
    temporal_patch_size=2,
    window_size=112,
    in_channels=3,
    min_pixels=3136,
    max_pixels=1_003_520,
    image_mean=(0.5, 0.5, 0.5),
    image_std=(0.5, 0.5, 0.5),
    rescale_factor=1 / 255,
    resample=3,
    image_token_id=90,
    video_token_id=91,
    vision_start_token_id=92,
    vision_end_token_id=None,
    tokens_per_second=2.0,
)

LETTERBOXED = replace(VISION, letterbox=Letterbox(112, 224))


def record(data: bytes) -> FileRecord:
    return FileRecord(len(data), hashlib.sha256(data).hexdigest())


MANIFEST = Manifest(
    schema=SCHEMA,
    producer="a2d 0.1.0",
    name="slate",
    family="qwen2_5_vl",
    words=Words(
        model=ModelShape(layers=2, hidden=24, kv_heads=2, head_dim=12, vocab=100, max_context=256),
        decode=DecodeContract(
            mask_token_id=99,
            stop_token_ids=(2, 3),
            block_size=8,
            prompt_alignment="tail",
            forbid_token_ids=(99,),
            steps=4,
        ),
        text=TextFiles("tokenizer.json", "chat_template.jinja", {"eos_token": "<|im_end|>"}, "read the slate"),
        vision=LETTERBOXED,
    ),
    variants={
        "fp32": Variant(
            graphs={name: f"{name}-fp32.onnx" for name in ("backbone", "denoise", "sample", "vision")},
            weights="weights-fp32.bin",
            weights_bytes=1000,
            step_bytes=900,
            kv_dtype="float32",
            index={
                "backbone": GraphIndex({"embedding": StoredTensor(0, 800, (100, 2), "FLOAT")}),
                **dict.fromkeys(("denoise", "sample", "vision"), GraphIndex({})),
            },
            parity=(ParityRow("backbone", "hidden states", 1.5e-6, 2e-7, "PASS"),),
        )
    },
    files={name: record(data) for name, data in CONTENT.items()},
)


def variant_of(graphs: dict[str, str], index: dict[str, GraphIndex] | None = None, **changes) -> Variant:
    """A variant of these graphs, which read no weights unless `index` says so."""
    index = dict.fromkeys(graphs, GraphIndex({})) if index is None else index
    return replace(MANIFEST.variants["fp32"], graphs=graphs, index=index, **changes)


def spoken(manifest: Manifest, **changes) -> Manifest:
    """`manifest` with other contracts for its words."""
    assert manifest.words is not None
    return replace(manifest, words=replace(manifest.words, **changes))


def write(folder: Path, **changes) -> Path:
    """The bundle of `MANIFEST`, or of a changed one, as files."""
    folder.mkdir(exist_ok=True)
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    of_words = {name: value for name, value in changes.items() if name in ("model", "decode", "text", "vision")}
    others = {name: value for name, value in changes.items() if name not in of_words}
    assert MANIFEST.words is not None
    made = replace(MANIFEST, words=replace(MANIFEST.words, **of_words), **others)
    (folder / "manifest.json").write_text(made.dumps(), encoding="utf-8")
    return folder
