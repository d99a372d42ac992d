"""Checkpoints as the world saves them: files of two ages, heads, prefixes, pointers, vocabularies, turns, templates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from altered import change
from safetensors.torch import load_file, save_file

from a2d.engines.errors import CheckpointError, ContractError
from a2d.export import cli
from a2d.export.checkpoint.directory import Checkpoint
from a2d.export.checkpoint.turns import check_template, turn_notes
from a2d.export.decode_contract import Flags
from a2d.export.export_plan import Job, plan
from a2d.export.families import describe

SIZES = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64, "head_dim": 8, "eos_token_id": 2,
}  # fmt: skip
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0f" * 32 + "\nsize 987654321\n"
FLAGS = Flags.of(contract="autoregressive", stop_token_ids=("2",))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.Qwen3Config(**SIZES, tie_word_embeddings=True)
    transformers.Qwen3ForCausalLM(config).save_pretrained(tmp_path / "ck")
    return tmp_path / "ck"


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


def save(path: Path, made: dict[str, torch.Tensor], name: str = "model.safetensors") -> None:
    save_file({key: value.contiguous().clone() for key, value in made.items()}, path / name, {"format": "pt"})


def shards(path: Path, made: dict[str, torch.Tensor], count: int = 2) -> None:
    names = sorted(made)
    table = {name: f"model-{i % count + 1:05}-of-{count:05}.safetensors" for i, name in enumerate(names)}
    for file in set(table.values()):
        save(path, {name: made[name] for name in names if table[name] == file}, file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))


def planned(path: Path, **more: object):
    return plan(Job(path, path.parent / "b.a2d", flags=FLAGS, **more))  # type: ignore[arg-type]


def dry(path: Path, *flags: str) -> int:
    return cli.main([str(path), "--dry-run", "--contract", "autoregressive", "--stop-token", "2", *flags])


# -- weights


@pytest.mark.parametrize("count", [2, 3])
def test_a_whole_file_goes_before_older_shards_as_in_transformers(checkpoint, count, capsys):
    shards(checkpoint, {name: torch.ones_like(value) for name, value in tensors(checkpoint).items()}, count)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(checkpoint).model.norm.weight
    opened = Checkpoint.open(checkpoint)
    assert torch.equal(opened.read("model.norm.weight"), theirs)
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(opened.read(name), tensors(checkpoint)[name])
    assert (
        dry(checkpoint) == 0
        and "model.safetensors.index.json and its shards beside it are not" in capsys.readouterr().out
    )


def test_shards_alone_are_read(checkpoint):
    shards(checkpoint, tensors(checkpoint))
    (checkpoint / "model.safetensors").unlink()
    assert Checkpoint.open(checkpoint).notes == () and planned(checkpoint)


@pytest.mark.parametrize(("other", "tied", "word"), [(True, False, "lm_head.weight is not"), (False, True, None)])
def test_a_stored_head_that_is_not_the_embedding_is_used(checkpoint, other, tied, word, capsys):
    made = tensors(checkpoint)
    table = made["model.embed_tokens.weight"]
    save(checkpoint, made | {"lm_head.weight": table + (torch.randn_like(table) if other else 0)})
    found = planned(checkpoint).family
    assert found.shape.tied == tied and ("lm_head" in found.sources) != tied
    assert dry(checkpoint) == 0
    assert (word or "lm_head") not in capsys.readouterr().out or word is not None


def test_one_changed_number_is_another_head(checkpoint):
    made = tensors(checkpoint)
    head = made["model.embed_tokens.weight"].clone()
    head[-1, -1] += 1
    save(checkpoint, made | {"lm_head.weight": head})
    assert not planned(checkpoint).family.shape.tied


@pytest.mark.parametrize("said", [False, None])
def test_a_head_that_is_missing_says_what_it_nearly_always_is(checkpoint, said):
    change(checkpoint, "config.json", tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match="set tie_word_embeddings to true in config.json"):
        planned(checkpoint)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"base_model.model.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: name.replace("model.layers.0.", "model.layers.0._orig_mod."),
        lambda name: name.replace(".mlp.", "._fsdp_wrapped_module.mlp."),
    ],
)
def test_what_wrappers_wrote_into_names_is_left_out_and_told(checkpoint, rename, capsys):
    made = tensors(checkpoint)
    save(checkpoint, {rename(name): value for name, value in made.items()})
    opened = Checkpoint.open(checkpoint)
    assert set(opened.files) == set(made) and all(torch.equal(opened.read(name), made[name]) for name in made)
    assert dry(checkpoint) == 0 and "left over from a wrapper" in capsys.readouterr().out


def test_a_name_with_and_without_a_wrapper_is_refused(checkpoint):
    made = tensors(checkpoint)
    save(checkpoint, made | {"model._orig_mod.norm.weight": made["model.norm.weight"]})
    with pytest.raises(CheckpointError, match="stand there twice"):
        Checkpoint.open(checkpoint)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"])
def test_a_pointer_of_git_lfs_is_called_one(checkpoint, name):
    (checkpoint / name).write_text(POINTER)
    with pytest.raises(CheckpointError, match=r"Git LFS pointer to a file of 0.988 GB.*git lfs pull"):
        Checkpoint.open(checkpoint)


# -- tokenizers and turns

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(path: Path, **config: object) -> None:
    words = {text: i for i, text in enumerate(["a", "b", "<|endoftext|>", "<|im_start|>", "<|im_end|>"])}
    added = [{"id": i, "content": text, "special": True} for text, i in words.items() if text.startswith("<")]
    (path / "tokenizer.json").write_text(json.dumps({"added_tokens": added, "model": {"type": "BPE", "vocab": words}}))
    (path / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("files", [("vocab.json", "merges.txt"), ("tokenizer.model",), ("vocab.txt",)])
def test_a_vocabulary_in_an_older_form_says_how_to_write_it_anew(checkpoint, files):
    for name in files:
        (checkpoint / name).write_text("{}")
    with pytest.raises(CheckpointError, match="expected tokenizer.json.*save_pretrained"):
        Checkpoint.open(checkpoint)


@pytest.mark.parametrize(
    ("config", "stops", "told"),
    [
        ({"eos_token": "<|im_end|>", "chat_template": TEMPLATE}, (2,), ["the tokenizer's eos <|im_end|> (4)"]),
        ({"eos_token": "<|endoftext|>", "chat_template": TEMPLATE}, (2,), ["the chat template's end of a turn"]),
        ({"eos_token": {"content": "<|im_end|>"}}, (2,), ["the tokenizer's eos <|im_end|> (4)"]),
        ({"eos_token": "<|im_end|>", "chat_template": TEMPLATE}, (2, 4), []),
        ({"eos_token": "<|endoftext|>"}, (2,), []),
    ],
)  # fmt: skip
def test_tokens_that_end_a_turn_and_stop_nothing_are_told(checkpoint, config, stops, told):
    tokenizer(checkpoint, **config)
    opened = Checkpoint.open(checkpoint)
    lines = list(turn_notes(opened, opened.chat_template, stops))
    assert len(lines) == len(told) and all(line.startswith(start) for line, start in zip(lines, told, strict=True))
    assert all("[stop_token_ids=2,4]" in line for line in lines)


def test_an_eos_that_only_the_tokenizer_names_stops(checkpoint):
    tokenizer(checkpoint, eos_token="<|im_end|>")
    change(checkpoint, "config.json", eos_token_id=None)
    (checkpoint / "generation_config.json").unlink()
    made = plan(Job(checkpoint, checkpoint.parent / "b", flags=Flags(contract="autoregressive")))
    assert made.resolved.contract.stop_token_ids == (4,)
    assert made.resolved.origins["stop_token_ids"] == "tokenizer_config.json, eos_token <|im_end|>"


# -- templates

NAMED = {"chat": TEMPLATE, "tool_use": TEMPLATE + "!"}


def listed(path: Path) -> None:
    tokenizer(path, chat_template=[{"name": name, "template": text} for name, text in NAMED.items()])


def folder(path: Path) -> None:
    tokenizer(path)
    (path / "additional_chat_templates").mkdir()
    for name, text in NAMED.items():
        (path / "additional_chat_templates" / f"{name}.jinja").write_text(text)


def boxed(path: Path) -> None:
    tokenizer(path)
    (path / "chat_template.json").write_text(json.dumps({"chat_template": NAMED}))


@pytest.mark.parametrize("place", [listed, folder, boxed])
def test_templates_without_a_default_are_refused_by_name_and_chosen(checkpoint, place, capsys):
    place(checkpoint)
    with pytest.raises(CheckpointError, match="expected one of: chat, tool_use. Choose one with \\[chat_template=NAME"):
        planned(checkpoint)
    assert dry(checkpoint) == 2 and "tool_use" in capsys.readouterr().out
    assert planned(checkpoint, template="tool_use").chat_template == NAMED["tool_use"]
    assert dry(checkpoint, "--chat-template", "chat") == 0
    with pytest.raises(CheckpointError, match="no chat template is called 'rag'"):
        planned(checkpoint, template="rag")


def test_an_object_with_a_default_is_read(checkpoint):
    tokenizer(checkpoint, chat_template={"default": TEMPLATE, "other": "x"})
    assert planned(checkpoint).chat_template == TEMPLATE


@pytest.mark.parametrize("broken", ["{% for m in messages %}", "{{ m.content", "{% nonsense %}"])
def test_a_broken_template_is_refused_before_anything_is_written(checkpoint, broken, capsys):
    tokenizer(checkpoint, chat_template=broken)
    with pytest.raises(CheckpointError, match="is not valid Jinja"):
        planned(checkpoint)
    assert dry(checkpoint) == 2 and "is not valid Jinja" in capsys.readouterr().out
    assert check_template(TEMPLATE, Checkpoint.open(checkpoint))


# -- processors


def seeing(path: Path) -> None:
    text = {key: value for key, value in SIZES.items() if key != "head_dim"} | {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 16,
              "fullatt_block_indexes": [0], "window_size": 56}  # fmt: skip
    tokens = {f"{name}_token_id": 10 + i for i, name in enumerate(("image", "video", "vision_start", "vision_end"))}
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **tokens)
    transformers.Qwen2_5_VLForConditionalGeneration(config).save_pretrained(path)


SMALL = {"size": {"shortest_edge": 784, "longest_edge": 12544}}
PLAIN = {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"processor_config.json": {"image_processor": PLAIN | SMALL}}, (784, 12544)),
        ({"preprocessor_config.json": PLAIN | {"min_pixels": 1568, "max_pixels": 25088}}, (1568, 25088)),
        ({"preprocessor_config.json": PLAIN | {"min_pixels": None, "max_pixels": None}}, (3136, 1003520)),
        ({"preprocessor_config.json": PLAIN | {"size": {"shortest_edge": 1568, "longest_edge": 25088}}}, (1568, 25088)),
        (
            {
                "processor_config.json": {"image_processor": PLAIN | SMALL},
                "preprocessor_config.json": PLAIN | {"min_pixels": 1, "max_pixels": 2},
            },
            (784, 12544),
        ),
        (
            {
                "processor_config.json": {"processor_class": "Qwen2_5_VLProcessor"},
                "preprocessor_config.json": PLAIN | {"min_pixels": 1568, "max_pixels": 25088},
            },
            (1568, 25088),
        ),
    ],
)  # fmt: skip
def test_pixel_limits_are_those_of_transformers_processor(tmp_path, files, wanted):
    seeing(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    spec = describe(Checkpoint.open(tmp_path)).vision
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path, use_fast=False)
    assert (spec.min_pixels, spec.max_pixels) == wanted == (theirs.size["shortest_edge"], theirs.size["longest_edge"])


def test_a_contract_is_still_asked_for(checkpoint):
    with pytest.raises(ContractError, match="does not say how it is decoded"):
        plan(Job(checkpoint, checkpoint.parent / "b"))


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("{{ raise_exception('no talk') }}", "no talk"),
        ("{{ foo(messages) }}", "'foo' is undefined"),
        ("{{ messages[0].content.text.more }}", "has no attribute"),
        ("{% if false %}x{% endif %}", "writes nothing"),
    ],
)
def test_a_template_that_writes_no_question_is_refused_before_the_work(source, word, checkpoint, capsys):
    (checkpoint / "chat_template.jinja").write_text(source)
    with pytest.raises(CheckpointError, match=word):
        planned(checkpoint)
    assert dry(checkpoint) == 2 and word in capsys.readouterr().out


def test_a_template_that_takes_one_form_alone_is_no_broken_one(checkpoint):
    parts = "{% for m in messages %}{% for p in m.content %}{{ p.text.strip() }}{% endfor %}{% endfor %}"
    (checkpoint / "chat_template.jinja").write_text(parts)
    assert planned(checkpoint).chat_template == parts


def test_templates_in_files_of_their_own_go_before_the_settings(checkpoint):
    change(checkpoint, "tokenizer_config.json", chat_template="old {{ messages[0].content }}")
    folder = checkpoint / "additional_chat_templates"
    folder.mkdir()
    (folder / "tools.jinja").write_text("{{ messages[0].content }}")
    with pytest.raises(CheckpointError, match="expected one of: tools"):
        planned(checkpoint)
    assert planned(checkpoint, template="tools").chat_template == "{{ messages[0].content }}"
