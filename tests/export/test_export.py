"""Checkpoint in, bundle out: what is written, once, where, and by which command."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from safetensors.torch import load_file, save_file

from a2d.calibration.exported import EXPORTED
from a2d.engines import load_engine
from a2d.engines.errors import ContractError
from a2d.export import cli, job, variants
from a2d.export.checkpoint.directory import INDEX, WEIGHTS, Checkpoint
from a2d.export.export_plan import plan as plan_of
from a2d.export.job import Job, export
from a2d.export.parity import torch_engine as engine_module
from a2d.export.precision import PRECISIONS
from a2d.export.synthetic import Synthetic, checkpoint
from a2d.export.write import weight_file as store_module
from a2d.runtime.bundle.files import Bundle
from a2d.runtime.bundle.staging import HashedFile, Staging

SMALL = Synthetic(layers=1, hidden=16, heads=2, kv_heads=1, head_dim=8, intermediate=16, vocab=64, max_context=64)


def test_bundle_is_complete_and_untouched(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    opened.check()
    assert sorted(p.name for p in bundle.iterdir()) == sorted([*opened.manifest.files, "manifest.json"])
    beside = {path.name for path in bundle.parent.iterdir() if bundle.name in path.name}
    assert beside <= {bundle.name, f"{bundle.name}.lock"}
    for variant in opened.manifest.variants.values():
        for graph in variant.graphs.values():
            onnx.checker.check_model(str(bundle / graph), full_check=True)


def test_manifest_says_what_the_checkpoint_is(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert (manifest.family, manifest.name) == ("qwen3", "tiny")
    assert (manifest.model.layers, manifest.model.vocab, manifest.model.max_context) == (2, 160, 128)
    assert (manifest.decode.mask_token_id, manifest.decode.forbid_token_ids) == (3, (3,))
    assert [v.kv_dtype for v in manifest.variants.values()] == ["float32", "float16"]
    assert {row.verdict for v in manifest.variants.values() for row in v.parity} <= {"PASS", "AMBIGUOUS"}
    assert {row.graph for row in manifest.variants["fp32"].parity} - {"prompt"} == {
        "logits",  # against transformers, once; the rest by graph
        "backbone",
        "denoise",
        "sample",
        "decode",
    }


def external(path: Path) -> dict[str, ir.ExternalTensor]:
    values = ir.load(path).graph.initializers.values()
    return {str(v.name): v.const_value for v in values if isinstance(v.const_value, ir.ExternalTensor)}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_weights_are_stored_once(bundle: Path, tiny: Path, precision: str) -> None:
    variant = Bundle.open(bundle).manifest.variants[precision]
    tensors = {graph: external(bundle / file) for graph, file in variant.graphs.items()}
    tied = {
        tensors["backbone"]["embedding"].offset,
        tensors["denoise"]["lm_head"].offset,
        tensors["sample"]["lm_head"].offset,
    }
    assert len(tied) == 1
    spans = sorted({(t.offset, t.offset + t.length) for some in tensors.values() for t in some.values()})
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    parameters = sum(Checkpoint.open(tiny).entry(n).bytes for n in Checkpoint.open(tiny).files) // 4
    width = PRECISIONS[precision].bytes
    assert sum(end - start for start, end in spans) == parameters * width
    assert parameters * width <= variant.weights_bytes <= parameters * width + 65536 * len(spans)
    assert {t.location for some in tensors.values() for t in some.values()} == {variant.weights}


def test_big_tensors_start_where_every_system_can_map_them(tmp_path: Path) -> None:
    with Staging(tmp_path / "b") as staging:
        weights = store_module.TorchWeightFile.new(PRECISIONS["fp16"], staging)
        for i, count in enumerate((7, 32768, 5, 32767, 100_000)):
            weights.write(str(i), torch.full((count,), i, dtype=torch.float16))
        shapes = {name: at.shape for name, at in weights.file.tensors.items()}
        assert weights.file.size == store_module.planned_bytes(shapes, weights.precision)
        weights.file.close()
        offsets = {name: at.offset for name, at in weights.file.tensors.items()}
        assert (offsets["1"] % 65536, offsets["4"] % 65536) == (0, 0)
        assert not any(offset % 64 for offset in offsets.values())
        raw = np.fromfile(staging.path / weights.file.name, np.float16)
        assert all(
            (raw[at.offset // 2 :][: at.shape[0]] == int(name)).all() for name, at in weights.file.tensors.items()
        )


def test_no_projection_needs_a_transpose(bundle: Path) -> None:
    graph = ir.load(bundle / "backbone.fp32.onnx").graph
    weights = {name for name, value in graph.initializers.items() if isinstance(value.const_value, ir.ExternalTensor)}
    users = {n.op_type for n in graph for v in n.inputs if v is not None and v.name in weights}
    assert users <= {"MatMul", "Gather", "Mul", "Add"}


def test_half_precision_keeps_float_inputs_for_scalars(bundle: Path) -> None:
    engine = load_engine("onnxruntime", bundle / "sample.fp16.onnx", precision="fp16")
    kinds = {name: port.dtype for name, port in engine.inputs.items()}
    assert (kinds["hidden"], kinds["carry"]) == ("float16", "float16")
    assert {kinds[name] for name in ("noise", "threshold", "temperature", "top_p")} == {"float32"}


def test_sharded_equals_single(tiny: Path, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny, tmp_path / "tiny"))
    tensors = load_file(copy / WEIGHTS)
    (copy / WEIGHTS).unlink()
    table = {name: f"shard-{i % 3}.safetensors" for i, name in enumerate(tensors)}
    for file in set(table.values()):
        save_file({n: t for n, t in tensors.items() if table[n] == file}, copy / file)
    (copy / INDEX).write_text(json.dumps({"weight_map": table}))
    made = export(Job(copy, tmp_path / "out", quiet=True, decode_parity=False))
    single = Bundle.open(bundle).manifest
    assert made.files["weights.fp32.data"] == single.files["weights.fp32.data"]


def test_text_files_travel(tiny: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny, tmp_path / "tiny"))
    (copy / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}, "added_tokens": []}')
    (copy / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": {"content": "<e>"}, "bos_token": "<b>", "x": 1})
    )
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    text = export(Job(copy, tmp_path / "out", quiet=True, decode_parity=False)).text
    assert (text.tokenizer, text.chat_template) == ("tokenizer.json", "chat_template.jinja")
    assert text.special_tokens == {"eos_token": "<e>", "bos_token": "<b>"}
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (copy / "tokenizer.json").read_bytes()


def run(*arguments: object) -> int:
    return cli.main([str(a) for a in arguments], EXPORTED)


def test_command(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.a2d"
    assert run(tiny, "-o", out, "--max-context", 64, "--stop-token", "2,4", "--stop-token", 5) == 0
    said = capsys.readouterr()
    for word in (
        "decode contract",
        "generation_config.json, a2d",
        "command line",
        "peak memory about",
        "PASS",
        f"a2d run {out}",
    ):
        assert word in said.out
    assert "weights fp32: 100%" in said.err
    manifest = Bundle.open(out).manifest
    assert (manifest.decode.stop_token_ids, manifest.model.max_context) == ((2, 4, 5), 64)
    assert run(tiny, "-o", out) == 2
    assert "--force" in capsys.readouterr().err
    assert run(tiny, "-o", out, "--force", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--precision", "int3"], ["'int3'", "fp16", "int8", "fp8"]),
        (["--precision", "fp32,fp32"], ["each once"]),
        (["--mask-token", "999"], ["mask_token_id: got 999", "--mask-token"]),
        (["--alignment", "middle"], ["'middle'", "tail", "left"]),
        (["--block-size", "0"], ["block_size: got 0"]),
        (["--threshold", "1.5"], ["threshold: got 1.5"]),
        (["--steps", "9"], ["steps: got 9"]),
        (["--max-context", "4096"], ["max_context: got 4096", "at most 128"]),
        (["--max-context", "8"], ["more than a block of 8"]),
        (["--stop-token", "<end>"], ["'<end>'", "no tokenizer.json"]),
        (["--default-prompt", "hello"], ["prompt: got 'hello' (command line)", "tokenizer.json"]),
        (["--letterbox", "224x112"], ["letterbox (command line): qwen3 reads no images"]),
    ],
)
def test_bad_input(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    assert run(tiny, "-o", tmp_path / "sub" / "out", *arguments) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words)
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_missing_contract_is_listed(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copytree(tiny, tmp_path / "bare"))
    (copy / "generation_config.json").unlink()
    assert run(copy, "-o", tmp_path / "out", "--block-size", 8) == 2
    said = capsys.readouterr().err
    assert all(flag in said for flag in ("--mask-token", "--stop-token", "--alignment"))
    assert "--block-size" not in said


@pytest.mark.parametrize("size", ["224", "224x", "axb", "0x112", "224x112x3", "99999x112"])
def test_a_letterbox_is_width_by_height(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("x", "-o", "y", "--letterbox", size)
    assert f"got {size!r}, expected WIDTHxHEIGHT" in capsys.readouterr().err


def saying(tiny: Path, copy: Path, own: dict, tokenizer: bool = True) -> Path:
    """A copy of the checkpoint whose author says `own` of how it is to be asked."""
    shutil.copytree(tiny, copy)
    if tokenizer:
        (copy / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {}}}))
    generation = json.loads((copy / "generation_config.json").read_text())
    generation["a2d"] |= own
    (copy / "generation_config.json").write_text(json.dumps(generation))
    return copy


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"sentences": ["no slate", "nothing"]}, "none of 2 has a value \\(generation_config.json, a2d\\)"),
        ({"sentences": ["take {take"]}, "(?s)cannot be \\(generation_config.json, a2d\\).*has no end"),
        ({"sentences": ["take {take:[0-9}"]}, "(?s)cannot be \\(generation_config.json, a2d\\).*take"),
        ({"sentences": ["{take:int}"]}, "begins with a value, expected some text before it"),
        ({"sentences": ["a {x:int}", "a b"]}, "more than one begins with 'a '"),
        ({"unknown": "-"}, "unknown: got '-' \\(generation_config.json, a2d\\) without sentences"),
    ],
)
def test_sentences_that_cannot_be_are_told_before_anything_is_traced(tiny, tmp_path, own, message) -> None:
    with pytest.raises(ContractError, match=message):
        plan_of(Job(saying(tiny, tmp_path / "said", own), tmp_path / "out", quiet=True))
    assert not (tmp_path / "out").exists()


def test_sentences_want_a_tokenizer(tiny: Path, tmp_path: Path) -> None:
    copy = saying(tiny, tmp_path / "said", {"sentences": ["take {take:int}"]}, tokenizer=False)
    with pytest.raises(ContractError, match="sentences: this checkpoint has no tokenizer.json"):
        plan_of(Job(copy, tmp_path / "out", quiet=True))


def test_a_prompt_and_sentences_are_kept_in_the_manifest(tiny: Path, tmp_path: Path) -> None:
    own = {"prompt": "what is it", "sentences": ["take {take:-|[0-9]+}", "no slate"], "unknown": "-"}
    copy = saying(tiny, tmp_path / "asked", own)
    said: list[str] = []
    made = export(Job(copy, tmp_path / "out", quiet=True, decode_parity=False), said.append)
    assert made.text.default_prompt == "what is it"
    assert (made.text.sentences, made.text.unknown) == (tuple(own["sentences"]), "-")
    assert Bundle.open(tmp_path / "out").manifest.text == made.text
    assert "'what is it'" in said[0] and "generation_config.json, a2d" in said[0]
    assert "--prompt" not in said[-1]
    flags = ["--default-prompt", "and that", "--force", "--quiet"]
    assert run(copy, "-o", tmp_path / "out", *flags) == 0
    assert Bundle.open(tmp_path / "out").manifest.text.default_prompt == "and that"


def test_unknown_flag_is_argparse_s_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("x", "-o", "y", "--blocksize", "3")
    assert caught.value.code == 2
    assert "--block-size" in capsys.readouterr().err


STAGES = [
    (job, "builder_of"),
    (variants, "_weights"),
    (variants, "save_graph"),
    (job, "prove"),
    (job, "_text_files"),
    (job, "_manifest"),
    (Checkpoint, "read"),
    (HashedFile, "write"),
]


@pytest.mark.parametrize(("owner", "name"), STAGES)
def test_interrupted_anywhere_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, interrupted)
    assert run(tiny, "-o", tmp_path / "out", "--quiet") == 130
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, written = HashedFile.write, 0

    def full(self: HashedFile, data: bytes | memoryview) -> None:
        nonlocal written
        written += len(data)
        if written > 20_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, data)

    monkeypatch.setattr(HashedFile, "write", full)
    assert run(tiny, "-o", tmp_path / "out", "--quiet") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def miswritten(monkeypatch: pytest.MonkeyPatch) -> None:
    write = store_module.TorchWeightFile.write

    def off(self: store_module.TorchWeightFile, name: str, tensor: torch.Tensor) -> None:
        write(self, name, tensor * 1.001 if name == "layers.1.down" else tensor)

    monkeypatch.setattr(store_module.TorchWeightFile, "write", off)


def test_weights_are_read_back_and_compared(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    miswritten(monkeypatch)
    assert run(tiny, "-o", tmp_path / "out", "--quiet") == 2
    assert "layers.1.down was not written as it was read" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_graph_is_found_and_not_published(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A weight that is off by one part in a thousand, in one matrix."""
    miswritten(monkeypatch)
    monkeypatch.setattr(engine_module, "_same", lambda name, made, written: made)
    assert run(tiny, "-o", tmp_path / "out", "--quiet") == 2
    said = capsys.readouterr().err
    assert "FAIL" in said
    assert "No bundle was written" in said
    assert list(tmp_path.iterdir()) == []


def test_bf16_is_checked_from_its_own_bytes(tmp_path: Path) -> None:
    made = checkpoint(tmp_path / "c", replace(SMALL, dtype="BF16"))
    manifest = export(Job(made, tmp_path / "b", (PRECISIONS["bf16"],), quiet=True))
    variant = manifest.variants["bf16"]
    assert variant.kv_dtype == "bfloat16"
    graphs = [row for row in variant.parity if row.graph not in ("logits", "prompt")]
    assert all("bf16 weights in fp32" in row.check and row.verdict == "PASS" for row in graphs) and graphs
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == sorted([*manifest.files, "manifest.json"])
    stored = external(tmp_path / "b" / "backbone.bf16.onnx")["layers.0.out"]
    raw = np.fromfile(tmp_path / "b" / variant.weights, np.uint8, stored.length, offset=stored.offset)
    source = Checkpoint.open(made).read("model.layers.0.self_attn.o_proj.weight")
    assert torch.equal(torch.from_numpy(raw).view(torch.bfloat16).reshape(16, 16), source.T)
