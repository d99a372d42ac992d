"""Directories that people have and that cannot be exported as they are, or not without a word: one test for each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from altered import change, shards
from safetensors.torch import load_file, save_file

from a2d.engines.errors import A2DError
from a2d.export import cli
from a2d.export.checkpoint.directory import WEIGHTS
from a2d.export.decode_contract import Flags
from a2d.export.export_plan import Job, plan
from a2d.export.report import decided

VOCAB = 160


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def tokenizer(path: Path, tokens: int, **added: int) -> None:
    vocab = {f"t{i}": i for i in range(tokens)}
    rows = [{"content": f"<|{text}|>", "id": i} for text, i in added.items()]
    (path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": rows}))


def refused(path: Path, **chosen: Any) -> str:
    with pytest.raises(A2DError) as caught:
        plan(Job(path, path / "unused", **chosen))
    return str(caught.value)


def test_a_config_that_contradicts_its_tensors(copy: Path) -> None:
    change(copy, "config.json", intermediate_size=64, num_hidden_layers=3)
    said = refused(copy)
    assert "shape    model.layers.0.mlp.gate_proj.weight is [48, 32], expected [64, 32]" in said
    assert "missing  model.layers.2.self_attn.q_proj.weight [32, 32]" in said
    assert "config.json and the weights belong together" in said


def test_a_tokenizer_that_lacks_the_mask_it_is_said_to_have(copy: Path) -> None:
    (copy / "generation_config.json").unlink()
    tokenizer(copy, 100)
    change(copy, "tokenizer_config.json", mask_token="<|MASK|>")
    said = refused(copy)
    assert "mask_token_id     the setting mask_token_id" in said
    assert "tokenizer_config.json names the mask '<|MASK|>', which tokenizer.json lacks" in said


def test_a_tokenizer_s_own_mask_goes_before_the_family_s(copy: Path) -> None:
    (copy / "generation_config.json").unlink()
    change(copy, "config.json", model_type="sdar", vocab_size=VOCAB)
    tokenizer(copy, 100, MASK=101)
    made = plan(Job(copy, copy / "unused", flags=Flags.of(stop_token_ids=("2",))))
    assert made.resolved.contract.mask_token_id == 101
    assert made.resolved.origins["mask_token_id"] == "tokenizer.json, added token <|MASK|>"


def test_a_vocabulary_padded_beyond_the_tokenizer_is_said(copy: Path) -> None:
    tokenizer(copy, 100, mask=3)
    said = decided(plan(Job(copy, copy / "unused")))
    assert f"vocabulary: {VOCAB} rows, 60 of them no token of tokenizer.json; those are never text" in said


def test_a_tokenizer_beyond_the_vocabulary_is_said(copy: Path) -> None:
    tokenizer(copy, VOCAB + 2)
    said = decided(plan(Job(copy, copy / "unused")))
    assert "tokens without a row, [160, 161]: prompts that hold them are refused" in said


def test_a_mask_that_is_no_token_is_said(copy: Path) -> None:
    tokenizer(copy, 3)
    assert "mask 3 is no token of tokenizer.json" in decided(plan(Job(copy, copy / "unused")))


def test_two_families_that_match(copy: Path) -> None:
    change(copy, "config.json", architectures=["SDARForCausalLM"])
    said = refused(copy)
    assert "matches two families: its model_type is 'qwen3'" in said
    assert "[family=qwen3] or [family=sdar]" in said
    assert plan(Job(copy, copy / "unused", family="qwen3")).family.name == "qwen3"
    assert plan(Job(copy, copy / "unused", family="sdar")).family.name == "sdar"


def test_remote_code_of_a_known_family_is_ignored_and_said(copy: Path) -> None:
    change(copy, "config.json", auto_map={"AutoModelForCausalLM": "modeling_it.It"})
    assert "config.json names remote code (auto_map); it is not run" in decided(plan(Job(copy, copy / "unused")))


def test_remote_code_of_an_unknown_family(copy: Path) -> None:
    code = {"AutoConfig": "configuration_it.C", "AutoModelForCausalLM": "someone/repository--modeling_it.It"}
    change(copy, "config.json", model_type="new_thing", auto_map=code)
    said = refused(copy)
    assert "code of its own (configuration_it.py, modeling_it.py), which a2d never runs" in said
    assert "sdar_moe" in said and "[family=NAME]" in said
    assert plan(Job(copy, copy / "unused", family="qwen3")).family.name == "qwen3"


def test_a_family_that_is_not_there(copy: Path) -> None:
    assert "expected one of" in refused(copy, family="gpt2")


def test_shards_missing(copy: Path) -> None:
    shards(copy, 3)
    (copy / "model-1.safetensors").unlink()
    assert "files that are not there: ['model-1.safetensors']" in refused(copy)


def test_a_tensor_in_two_shards(copy: Path) -> None:
    shards(copy)
    tensors = load_file(copy / "model-1.safetensors")
    other = load_file(copy / "model-0.safetensors")
    save_file(tensors | other, copy / "model-1.safetensors")
    said = refused(copy)
    assert "stand in more than one shard" in said
    assert f"{next(iter(other))} in model-0.safetensors and model-1.safetensors" in said


def test_a_tensor_twice_in_one_header(copy: Path) -> None:
    row = '"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    raw = f"{{{row}, {row}}}".encode()
    (copy / WEIGHTS).write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(4))
    assert "a header that names ['a'] twice" in refused(copy)


def test_bf16_weights_are_read(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, copy / WEIGHTS)
    made = plan(Job(copy, copy / "unused"))
    assert made.checkpoint.read("model.norm.weight").dtype == torch.bfloat16


def test_fp8_weights_without_their_scales(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    narrow = {n: t.to(torch.float8_e4m3fn) if t.ndim == 2 else t for n, t in tensors.items()}
    save_file(narrow, copy / WEIGHTS)
    said = refused(copy)
    assert "model.layers.0.mlp.down_proj.weight is torch.float8_e4m3fn, which means nothing without its scales" in said
    assert "m.dequantize()" in said


def test_fp8_weights_with_their_config(copy: Path) -> None:
    change(copy, "config.json", quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})
    said = refused(copy)
    assert "quantization_config (fp8), expected unquantized weights" in said and "m.dequantize()" in said


def test_a_lora_adapter(tmp_path: Path) -> None:
    change(tmp_path, "adapter_config.json", peft_type="LORA", base_model_name_or_path="Qwen/Qwen3-0.6B")
    save_file({"base_model.model.x.lora_A.weight": torch.zeros(2)}, tmp_path / "adapter_model.safetensors")
    said = refused(tmp_path)
    assert "an adapter, not a model (LORA of Qwen/Qwen3-0.6B)" in said
    assert f"M.from_pretrained('{tmp_path}').merge_and_unload().save_pretrained('MERGED')" in said


def test_a_lora_adapter_beside_its_model(copy: Path) -> None:
    change(copy, "adapter_config.json", peft_type="LORA")
    said = refused(copy)
    assert "a model and an adapter beside it" in said and "remove adapter_config.json" in said


def test_a_lora_adapter_among_the_tensors(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    save_file(tensors | {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(2, 2)}, copy / WEIGHTS)
    assert "A LoRA adapter's tensors are among them: merge it first" in refused(copy)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = cli.main([str(part) for part in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_dry_run_writes_nothing_and_says_all(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, tiny, "--dry-run", "-o", tmp_path / "out")
    assert status == 0
    assert "mask_token_id     3              generation_config.json, a2d" in out
    assert "nothing was written" in out
    for absent in ("tokenizer.json", "a chat template: prompts are plain text", "--default-prompt"):
        assert absent in out.split("not found")[1]
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_goes_on_where_an_export_stops(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(copy, "config.json", intermediate_size=64, auto_map={"AutoModel": "x.Y"}, eos_token_id=2)
    (copy / "generation_config.json").unlink()
    status, out, _ = run(capsys, copy, "--dry-run")
    assert status == 2
    assert "stop_token_ids    2              config.json, eos_token_id" in out
    assert out.count("--mask-token looked in config.json") == 1  # said once
    assert "cannot be exported; to mend:" in out
    assert "shape    model.layers.0.mlp.gate_proj.weight" in out and "does not say how it is decoded" in out
    assert "auto_map" in out


def test_a_dry_run_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, tmp_path, "--dry-run")
    assert status == 2 and "no config.json" in err


def test_an_export_wants_a_place(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, tiny)
    assert status == 2 and "give -o BUNDLE" in err


def test_every_architecture_is_of_a_family() -> None:
    from a2d.export.families import ARCHITECTURES, FAMILIES

    assert set(ARCHITECTURES.values()) <= set(FAMILIES)


@pytest.mark.parametrize(
    ("rename", "said"),
    [
        (lambda name: f"policy.{name}", "begin with 'policy.'"),
        (lambda name: f"model.{name}", "begin with 'model.'"),
        (lambda name: name.removeprefix("model."), "lack their prefix 'model.'"),
    ],
)
def test_names_with_another_beginning_are_one_line(copy: Path, rename: Any, said: str) -> None:
    save_file({rename(name): tensor for name, tensor in load_file(copy / WEIGHTS).items()}, copy / WEIGHTS)
    told = refused(copy)
    assert said in told and len(told.splitlines()) < 5


def test_a_tied_embedding_under_the_head_s_name(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    save_file(tensors, copy / WEIGHTS)
    family = plan(Job(copy, copy / "unused")).family
    assert family.sources["embedding"].names == ("lm_head.weight",) and family.shape.tied
    assert any("model.embed_tokens.weight is not stored" in note for note in family.notes)


def test_a_tensor_that_the_index_lacks_is_read_and_said(copy: Path) -> None:
    table = shards(copy)
    del table["model.norm.weight"]
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    assert any("lacks model.norm.weight" in note for note in plan(Job(copy, copy / "unused")).checkpoint.notes)


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "m-Q4_K_M.gguf", "pytorch_model-00001-of-00002.bin"])
def test_weights_under_another_name_are_named(copy: Path, name: str) -> None:
    (copy / WEIGHTS).rename(copy / name)
    assert f"there is {name}" in refused(copy)
