"""A checkpoint directory is read strictly: every way to be wrong has its own words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from altered import change, shards
from safetensors.torch import load_file, save_file

from a2d.engines.errors import CheckpointError
from a2d.export.checkpoint.directory import INDEX, WEIGHTS, Checkpoint
from a2d.export.checkpoint.safetensors_file import TensorFile
from a2d.export.families import FAMILIES, describe


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def refuses(path: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoint = Checkpoint.open(path)
        family = describe(checkpoint)
        checkpoint.verify(family.sources, family.ignorable)
    for word in words:
        assert word in str(caught.value)


def test_reads_what_safetensors_reads(tiny: Path) -> None:
    theirs, ours = load_file(tiny / WEIGHTS), Checkpoint.open(tiny)
    assert set(theirs) == set(ours.files)
    assert all(torch.equal(ours.read(name), tensor) for name, tensor in theirs.items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool])
def test_dtypes(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"a": torch.arange(6).reshape(2, 3).to(dtype), "b": torch.zeros((), dtype=dtype), "c": torch.empty(0, 4)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    file = TensorFile.open(tmp_path / "x.safetensors")
    assert all(torch.equal(file.read(name), tensor) for name, tensor in tensors.items())


def test_sharded_equals_single(copy: Path, tiny: Path) -> None:
    shards(copy)
    single, sharded = Checkpoint.open(tiny), Checkpoint.open(copy)
    assert sharded.bytes == single.bytes
    assert all(torch.equal(single.read(name), sharded.read(name)) for name in single.files)


def test_not_a_directory(tmp_path: Path) -> None:
    refuses(tmp_path / "none", "nothing there", "config.json")
    (tmp_path / "file").write_text("")
    refuses(tmp_path / "file", "a file")


def test_no_config(tmp_path: Path) -> None:
    refuses(tmp_path, "no config.json")


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"{", "not JSON"), (b"[1]", "expected an object"), (b'{"a": "\xff"}', "not UTF-8"), (b"[" * 100_000, "not JSON")],
)
@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "preprocessor_config.json"]
)
def test_broken_json(copy: Path, name: str, content: bytes, word: str) -> None:
    (copy / name).write_bytes(content)
    refuses(copy, name, word)


def test_unknown_model_type_prints_the_table(copy: Path) -> None:
    change(copy, "config.json", model_type="gpt2")
    refuses(copy, "'gpt2'", *FAMILIES)
    change(copy, "config.json", model_type=None)
    refuses(copy, "None")


def test_pickle_is_refused(copy: Path) -> None:
    (copy / WEIGHTS).rename(copy / "pytorch_model.bin")
    refuses(copy, "pickle", "save_pretrained")


def test_no_weights(copy: Path) -> None:
    (copy / WEIGHTS).unlink()
    refuses(copy, "no weights", WEIGHTS)


def test_quantized(copy: Path) -> None:
    change(copy, "config.json", quantization_config={"bits": 4})
    refuses(copy, "unquantized")


@pytest.mark.parametrize("keep", [0, 7, 8, 40, -1])
def test_truncated(copy: Path, keep: int) -> None:
    raw = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(raw[:keep])
    refuses(copy, WEIGHTS, "expected a whole safetensors file")


def test_trailing_bytes(copy: Path) -> None:
    with (copy / WEIGHTS).open("ab") as file:
        file.write(b"x")
    refuses(copy, "truncated, or padded")


@pytest.mark.parametrize(
    "row",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1]},
        {"dtype": [], "shape": [1], "data_offsets": [0, 4]},
        17,
    ],
)
def test_hostile_header(tmp_path: Path, row: object) -> None:
    raw = json.dumps({"a": row}).encode()
    (tmp_path / "x").write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(4))
    with pytest.raises(CheckpointError):
        TensorFile.open(tmp_path / "x")


@pytest.mark.parametrize("raw", [b"\xff\xff", b"[]", b"{", b'{"a":' * 30_000])
def test_header_that_is_no_object(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x").write_bytes(len(raw).to_bytes(8, "little") + raw)
    with pytest.raises(CheckpointError):
        TensorFile.open(tmp_path / "x")


def test_shard_missing(copy: Path) -> None:
    shards(copy)
    (copy / "model-1.safetensors").unlink()
    refuses(copy, "model-1.safetensors", "not there")


def test_shard_outside(copy: Path) -> None:
    table = shards(copy)
    (copy / INDEX).write_text(json.dumps({"weight_map": {name: f"../{file}" for name, file in table.items()}}))
    refuses(copy, "../model-0.safetensors")


def test_shard_lacks_a_tensor(copy: Path) -> None:
    table = shards(copy)
    (copy / INDEX).write_text(json.dumps({"weight_map": table | {"model.more.weight": "model-0.safetensors"}}))
    refuses(copy, "model.more.weight in model-0.safetensors")


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_index_without_a_map(copy: Path, content: str) -> None:
    (copy / "model.safetensors").unlink()
    (copy / INDEX).write_text(content)
    refuses(copy, "no weight_map")


def test_every_wrong_tensor_is_listed(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    tensors.pop("model.norm.weight")
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(3, 3)
    tensors["model.layers.1.mlp.down_proj.weight"] = torch.zeros(32, 48, dtype=torch.int8)
    tensors["model.layers.7.what.weight"] = torch.zeros(1)
    save_file(tensors, copy / WEIGHTS)
    refuses(
        copy,
        "4 differ",
        "missing  model.norm.weight [32]",
        "shape    model.layers.0.mlp.up_proj.weight is [3, 3], expected [48, 32]",
        "dtype    model.layers.1.mlp.down_proj.weight is torch.int8",
        "extra    model.layers.7.what.weight",
    )


def test_tied_head_and_rotary_buffers_may_be_stored(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    tensors["lm_head.weight"] = torch.zeros(160, 32)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    save_file(tensors, copy / WEIGHTS)
    checkpoint = Checkpoint.open(copy)
    family = describe(checkpoint)
    checkpoint.verify(family.sources, family.ignorable)


def test_untied_head_must_be_stored(copy: Path) -> None:
    change(copy, "config.json", tie_word_embeddings=False)
    refuses(copy, "missing  lm_head.weight")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "sliding"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type = 'dynamic'"),
        ({"num_key_value_heads": 3}, "expected a multiple"),
        ({"num_hidden_layers": 0, "vocab_size": 1 << 40}, "num_hidden_layers = 0"),
        ({"num_hidden_layers": 0, "vocab_size": 1 << 40}, "vocab_size = 1099511627776"),
        ({"num_key_value_heads": 0}, "num_key_value_heads = 0"),
        ({"hidden_size": "wide"}, "Qwen3Config"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers = 1000000000000, at most 4096"),
        ({"architectures": [["Qwen3ForCausalLM"]], "hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"head_dim": 10**12}, "config.json has a value that no qwen3 has"),
        ({"rope_theta": 1 << 70}, "config.json has a value that no qwen3 has (OverflowError"),
    ],
)
def test_unsupported_config(copy: Path, fields: dict[str, object], word: str) -> None:
    change(copy, "config.json", **fields)
    refuses(copy, word)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"chat_template.jinja": "A", "chat_template.json": '{"chat_template": "B"}'}, "A"),
        ({"chat_template.json": '{"chat_template": "B"}', "tokenizer_config.json": '{"chat_template": "C"}'}, "B"),
        ({"tokenizer_config.json": '{"chat_template": "C"}'}, "C"),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "default", "template": "D"}]}'}, "D"),
        ({}, None),
    ],
)
def test_chat_template(copy: Path, files: dict[str, str], expected: str | None) -> None:
    for name, text in files.items():
        (copy / name).write_text(text)
    assert Checkpoint.open(copy).chat_template == expected
