"""Checkpoints held against transformers' own class, tokenizer and processor: what is misread cannot pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import published
import pytest
import torch
import transformers
import vl_published
from altered import change, shards
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from a2d.export import cli
from a2d.export.checkpoint import directory, turns
from a2d.export.checkpoint.weight_files import INDEX, _sharded
from a2d.export.decode_contract import Flags
from a2d.export.export_plan import Job, plan
from a2d.export.families import qwen2_5_vl, text
from a2d.export.job import export
from a2d.export.parity import stock, stock_model
from a2d.export.parity.stock import held_against_stock
from a2d.export.parity.stock_picture import size_row, stock_processor
from a2d.runtime.bundle.files import Bundle

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"]
VOCAB = 272
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for p in m.content %}{% if p.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
AR = Flags.of("autoregressive", stop_token_ids=("<|im_end|>",))


def words(path: Path) -> dict[str, int]:
    """A byte-level tokenizer with control tokens behind its 256 bytes, its settings, and a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    made.save(str(path / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[0], "eos_token": SPECIAL[2]}
    (path / "tokenizer_config.json").write_text(json.dumps(said | {"chat_template": TEMPLATE}))
    return {token: made.token_to_id(token) for token in SPECIAL}


@pytest.fixture
def qwen3(tmp_path: Path) -> Path:
    """A text model whose head is the embedding."""
    torch.manual_seed(0)
    sizes = {key: value for key, value in published.SIZES.items() if key not in ("torch_dtype", "rope_scaling")}
    config = transformers.Qwen3Config(**sizes | {"vocab_size": VOCAB, "head_dim": 16}, tie_word_embeddings=True)
    transformers.Qwen3ForCausalLM(config).float().save_pretrained(tmp_path / "ck")
    words(tmp_path / "ck")
    return tmp_path / "ck"


@pytest.fixture
def seeing(tmp_path: Path) -> Path:
    """A vision-language model as transformers saves it."""
    model = vl_published.qwen2_5_vl(VOCAB, tied=True)
    model.save_pretrained(tmp_path / "ck")
    ids = words(tmp_path / "ck")
    names = {"image_token_id": "<|image_pad|>", "vision_start_token_id": "<|vision_start|>"}
    change(tmp_path / "ck", "config.json", **{name: ids[token] for name, token in names.items()})
    (tmp_path / "ck" / "preprocessor_config.json").write_text(json.dumps(vl_published.PREPROCESSOR))
    return tmp_path / "ck"


def found(path: Path, flags: Flags = AR) -> stock.Stock:
    return held_against_stock(plan(Job(path, path.parent / "b.a2d", flags=flags)))


def failing(path: Path) -> list[str]:
    """Checks that fail, by the name of what is compared."""
    return [row.graph for row in found(path).rows if row.verdict != "PASS"]


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `a2d-export` says of it; nothing is written."""
    output = path.parent / "out.a2d"
    flags = ["--contract", "autoregressive", "--stop-token", "<|im_end|>", "--quiet"]
    assert cli.main([str(path), "-o", str(output), *flags]) == 2
    assert not output.exists()
    return capsys.readouterr().err


# -- right readings


def test_a_text_model_is_held_against_its_own_class(qwen3: Path) -> None:
    rows = found(qwen3).rows
    assert [row.verdict for row in rows] == ["PASS"] * 3
    assert any("Qwen3ForCausalLM" in row.check for row in rows)


def test_a_model_that_sees_is_held_with_a_picture_and_sizes(seeing: Path) -> None:
    rows = found(seeing).rows
    assert [row.graph for row in rows] == ["prompt", "prompt", "picture", "logits", "logits"]
    assert {row.verdict for row in rows} == {"PASS"}
    assert "with a picture" in rows[-1].check and "4 conversations" in rows[1].check


RELEASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "sdar": (published.sdar, "Qwen3ForCausalLM"),
    "Fast_dLLM_Qwen": (published.fast_dllm, "Qwen2ForCausalLM"),
    "sdar_moe": (published.sdar_moe, "Qwen3MoeForCausalLM"),
    "diffusionvl_qwenvl": (vl_published.diffusionvl_qwenvl, "Qwen2_5_VLForConditionalGeneration"),
    "fast_dvlm": (vl_published.fast_dvlm, "Qwen2_5_VLForConditionalGeneration"),
    "sdar_v": (vl_published.sdar_v, "LlavaOnevisionForConditionalGeneration"),
}


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_with_code_of_its_own_is_held_against_the_class_that_it_is_made_of(name: str, tmp_path: Path) -> None:
    write, kind = RELEASES[name]
    write(tmp_path / "ck")
    given = {"stop_token_ids": ("2",), "mask_token_id": "94"}
    made = found(tmp_path / "ck", Flags.of(**given))
    assert {row.verdict for row in made.rows} == {"PASS"} and not made.notes
    assert kind in [row.check.split(" as ")[1] for row in made.rows if row.graph == "logits"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_16_bits_are_compared_as_they_are_stored(qwen3: Path, dtype: torch.dtype) -> None:
    narrow = {name: value.to(dtype) for name, value in load_file(qwen3 / "model.safetensors").items()}
    save_file(narrow, qwen3 / "model.safetensors", {"format": "pt"})
    rows = found(qwen3).rows
    assert {row.verdict for row in rows} == {"PASS"} and rows[-1].max_error < 1e-5


def test_what_transformers_cannot_load_is_told(qwen3: Path) -> None:
    made = {f"_orig_mod.{name}": value for name, value in load_file(qwen3 / "model.safetensors").items()}
    save_file(made, qwen3 / "model.safetensors", {"format": "pt"})
    (note,) = found(qwen3).notes
    assert "Qwen3ForCausalLM does not find" in note


def test_a_class_that_makes_another_tokenizer_of_the_files_is_told(qwen3: Path) -> None:
    change(qwen3, "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer")  # which splits words by its own rule
    made = found(qwen3)
    assert {row.verdict for row in made.rows} == {"PASS"}
    assert any("Qwen2Tokenizer encodes" in note and "a2d follows tokenizer.json" in note for note in made.notes)


@pytest.mark.parametrize("size", [{"min_pixels": 64, "max_pixels": 1024}, {"longest_edge": 4096}])
def test_a_processor_that_transformers_cannot_use_is_told(size: dict[str, int], seeing: Path) -> None:
    plain = {k: v for k, v in vl_published.PREPROCESSOR.items() if "pixels" not in k}
    (seeing / "preprocessor_config.json").write_text(json.dumps(plain | {"size": size}))
    made = found(seeing)
    assert [row.graph for row in made.rows if row.verdict == "PASS"] == ["prompt", "prompt", "logits"]
    assert "does not take a picture" in made.notes[-1]


SPELLINGS = [
    {"size": {"shortest_edge": 64, "longest_edge": 512}},
    {"min_pixels": 64, "max_pixels": 512},
    {"min_pixels": 64, "max_pixels": 512, "size": {"shortest_edge": 16, "longest_edge": 4096}},
    {"max_pixels": 4096},
    {"min_pixels": 4096},
    {"min_pixels": None, "max_pixels": None, "size": {"shortest_edge": 64, "longest_edge": 512}},
]


@pytest.mark.parametrize("where", ["preprocessor", "nested", "nested beside an old one"])
@pytest.mark.parametrize("limits", SPELLINGS, ids=str)
def test_limits_are_read_as_transformers_reads_them(limits: dict[str, Any], where: str, seeing: Path) -> None:
    old = seeing / "preprocessor_config.json"
    said = {k: v for k, v in vl_published.PREPROCESSOR.items() if "pixels" not in k} | limits
    if where == "preprocessor":
        old.write_text(json.dumps(said))
    else:
        if where != "nested beside an old one":
            old.unlink()
        nested = {"processor_class": "Qwen2_5_VLProcessor", "image_processor": said}
        (seeing / "processor_config.json").write_text(json.dumps(nested))
    opened = plan(Job(seeing, seeing.parent / "b.a2d", flags=AR))
    row, difference = size_row(stock_processor(opened.checkpoint), opened.family.vision)
    assert row.verdict == "PASS", difference


def test_a_head_of_another_precision_is_another_head(qwen3: Path) -> None:
    tensors = load_file(qwen3 / "model.safetensors")
    rounded = tensors["model.embed_tokens.weight"].bfloat16()
    save_file(tensors | {"lm_head.weight": rounded}, qwen3 / "model.safetensors", {"format": "pt"})
    assert not plan(Job(qwen3, qwen3.parent / "b", flags=AR)).family.shape.tied and not failing(qwen3)


def test_the_reference_is_in_the_bundle_and_can_be_left_out(qwen3: Path, tmp_path: Path) -> None:
    said: list[str] = []
    for parity in ("transformers", "own"):
        job = Job(qwen3, tmp_path / f"{parity}.a2d", flags=AR, quiet=True, parity=parity, decode_parity=False)
        export(job, said.append)
    rows = {p: Bundle.open(tmp_path / f"{p}.a2d").variant("fp32").parity for p in ("transformers", "own")}
    assert any("Qwen3ForCausalLM" in row.check for row in rows["transformers"])
    assert not any("Qwen3ForCausalLM" in row.check for row in rows["own"])
    assert any("own reading of the checkpoint is the reference" in text for text in said)


def test_a_reference_that_there_is_not_prints_the_table(qwen3: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([str(qwen3), "--dry-run", "--contract", "autoregressive", "--parity", "theirs"]) == 2
    assert "expected one of" in capsys.readouterr().out


PLAIN = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}{{ image_token }}"


@pytest.mark.parametrize(
    "files",
    [
        {"special_tokens_map": {"eos_token": "<|endoftext|>"}},
        {"special_tokens_map": {"eos_token": {"content": "<|endoftext|>", "lstrip": False}}},
        {"tokenizer_config": {"extra_special_tokens": {"image_token": "<|image_pad|>"}}},
        {"tokenizer_config": {"eos_token": {"content": "<|im_start|>", "__type": "AddedToken"}}},
        {
            "tokenizer_config": {"added_tokens_decoder": {"258": {"content": "<|im_end|>", "special": True}}},
            "special_tokens_map": {"eos_token": "<|endoftext|>"},
        },
    ],
    ids=str,
)
def test_special_tokens_are_those_that_transformers_finds(files: dict[str, Any], qwen3: Path) -> None:
    change(qwen3, "tokenizer_config.json", chat_template=PLAIN)
    for name, fields in files.items():
        change(qwen3, f"{name}.json", **fields)
    assert not failing(qwen3) and len([row for row in found(qwen3).rows if row.graph == "prompt"]) == 2


# -- planted misreadings


def another_head(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    table = tensors["model.embed_tokens.weight"]
    save_file(tensors | {"lm_head.weight": table.flip(0).contiguous()}, path / "model.safetensors", {"format": "pt"})


def test_a_head_that_is_taken_to_be_tied_fails(qwen3: Path, monkeypatch, capsys) -> None:
    another_head(qwen3)
    assert not failing(qwen3)
    monkeypatch.setattr(text, "with_head", lambda shape, *_: (shape, ()))
    assert failing(qwen3) == ["logits"]
    said = refused(qwen3, capsys)
    assert "does not read it as transformers" in said and "--parity own" in said


def test_a_head_that_is_taken_to_be_the_embedding_fails(qwen3: Path, monkeypatch, capsys) -> None:
    another_head(qwen3)
    change(qwen3, "config.json", tie_word_embeddings=False)
    assert not failing(qwen3)
    monkeypatch.setattr(text, "decoder_shape", lambda *a, **k: replace(decoder_shape(*a, **k), tied=True))
    monkeypatch.setattr(text, "with_head", lambda shape, *_: (shape, ()))
    assert failing(qwen3) == ["logits"]
    refused(qwen3, capsys)


decoder_shape = text.decoder_shape


def test_stale_shards_fail(qwen3: Path, monkeypatch, capsys) -> None:
    new = (qwen3 / "model.safetensors").read_bytes()
    stale = {name: value * 0.5 for name, value in load_file(qwen3 / "model.safetensors").items()}
    save_file(stale, qwen3 / "model.safetensors", {"format": "pt"})
    shards(qwen3)
    (qwen3 / "model.safetensors").write_bytes(new)
    assert not failing(qwen3)
    monkeypatch.setattr(directory, "weight_files", lambda path: _sharded(path, INDEX))
    assert failing(qwen3) == ["logits"]
    refused(qwen3, capsys)


@pytest.mark.parametrize("changed", [{"max_pixels": 512}, {"min_pixels": 900}, {"max_pixels": 4096}])
def test_other_limits_of_pixels_fail(changed: dict[str, int], seeing: Path, monkeypatch, capsys) -> None:
    was = qwen2_5_vl._spec
    monkeypatch.setattr(qwen2_5_vl, "_spec", lambda *a: replace(was(*a), **changed))
    assert "picture" in failing(seeing)
    assert "patches to transformers" in refused(seeing, capsys)


@pytest.mark.parametrize(
    "changed",
    [{"image_mean": (0.5, 0.5, 0.5)}, {"image_std": (0.5, 0.5, 0.5)}, {"resample": 2}, {"rescale_factor": 1.0}],
)
def test_another_preparation_of_pictures_fails(changed: dict[str, Any], seeing: Path, monkeypatch) -> None:
    was = qwen2_5_vl._spec
    monkeypatch.setattr(qwen2_5_vl, "_spec", lambda *a: replace(was(*a), **changed))
    assert failing(seeing) == ["logits"]


@pytest.mark.parametrize("wrong", [{}, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}])
def test_other_special_tokens_in_a_template_fail(wrong: dict[str, str], qwen3: Path, monkeypatch, capsys) -> None:
    for module in (stock, turns):
        monkeypatch.setattr(module, "special_tokens", lambda _: wrong)
    assert failing(qwen3) == ["prompt"]
    assert "to transformers, and" in refused(qwen3, capsys)


@pytest.mark.parametrize(
    "changed", [{"inv_freq": lambda s: tuple(f * 1.01 for f in s.inv_freq)}, {"norm_eps": lambda s: 1e-2}]
)
def test_another_rotary_base_or_norm_fails(changed: dict[str, Callable[..., Any]], qwen3: Path, monkeypatch) -> None:
    def misread(*given: Any, **more: Any) -> Any:
        shape = decoder_shape(*given, **more)
        return replace(shape, **{name: make(shape) for name, make in changed.items()})

    monkeypatch.setattr(text, "decoder_shape", misread)
    assert failing(qwen3) == ["logits"]


def test_layers_widen_one_at_a_time_and_are_narrow_again(qwen3: Path) -> None:
    narrow = {name: value.bfloat16() for name, value in load_file(qwen3 / "model.safetensors").items()}
    save_file(narrow, qwen3 / "model.safetensors", {"format": "pt"})
    opened = stock_model.stock_model(directory.Checkpoint.open(qwen3), "Qwen3ForCausalLM", None)
    layers, widths = opened.model.model.layers, []
    for layer in layers:
        layer.mlp.register_forward_hook(lambda *_: widths.append([x.mlp.up_proj.weight.dtype for x in layers]))
    opened.logits(input_ids=torch.arange(5)[None])
    narrow_, wide = torch.bfloat16, torch.float32
    assert widths == [[wide, narrow_], [narrow_, wide]]
    assert all(p.dtype == narrow_ for layer in layers for p in layer.parameters())
