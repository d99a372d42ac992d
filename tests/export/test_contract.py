"""The decode contract is collected from the nearest source, and nothing is guessed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from a2d.engines.errors import ContractError
from a2d.export.checkpoint.author_config import Asking, asking
from a2d.export.checkpoint.directory import Checkpoint
from a2d.export.decode_contract import FIELDS, Flags, Resolved, resolve
from a2d.export.families.decoder import A2D_CONTRACT
from a2d.export.families.family import Family
from a2d.export.graphs.shapes import DecoderShape
from a2d.runtime.inputs.images import Letterbox

SHAPE = DecoderShape(1, 16, 2, 2, 8, 16, 300, 1e-6, (1.0,) * 4)
FULL = Flags.of(mask_token_id="7", stop_token_ids=("2",), block_size=8, prompt_alignment="tail")


def but(flags: Flags, **changed: Any) -> Flags:
    """`flags` with some given anew, or with None taken away."""
    given = {name: value for name, value in {**flags.given, **changed}.items() if value is not None}
    return Flags(given, flags.contract)


TOKENS = [{"id": 11, "content": "<|mask|>"}, {"id": 12, "content": "<|im_end|>"}]


def found(
    flags: Flags | None = None,
    config: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
    tokenizer: dict[str, Any] | None = None,
    tokenizer_config: dict[str, Any] | None = None,
    family: dict[str, object] | None = None,
    shape: DecoderShape = SHAPE,
) -> Resolved:
    checkpoint = Checkpoint(
        path=None,  # type: ignore[arg-type]
        config=config or {},
        generation=generation or {},
        tokenizer=tokenizer,
        tokenizer_config=tokenizer_config or {},
    )
    return resolve(
        flags or Flags(), checkpoint, Family("test", shape, {}, config=None, max_context=512, contract=family or {})
    )


def test_flags() -> None:
    made = found(but(FULL, stop_token_ids=("2", "5"), threshold=0.9, steps=4, schedule="linear-round"))
    c = made.contract
    assert (c.mask_token_id, c.stop_token_ids, c.block_size, c.prompt_alignment) == (7, (2, 5), 8, "tail")
    assert (c.forbid_token_ids, c.threshold, c.steps, c.schedule) == ((7,), 0.9, 4, "linear-round")
    assert made.origins["block_size"] == "command line"
    assert made.origins["forbid_token_ids"] == "default: the mask"
    assert made.origins["shift"] == "guess"


def test_all_missing_fields_are_listed_with_their_flags() -> None:
    with pytest.raises(ContractError) as caught:
        found()
    for name in ("mask_token_id", "stop_token_ids", "block_size", "prompt_alignment"):
        assert name in str(caught.value)
        assert f"the setting {name} looked in" in str(caught.value)


@pytest.mark.parametrize("key", ["block_size", "bd3lm_block_size", "bd_size"])
@pytest.mark.parametrize("where", ["config", "generation"])
def test_keys_of_releases(key: str, where: str) -> None:
    said = {key: 16, "mask_token_id": 9, "eos_token_id": [3, 4]}
    made = found(Flags.of(prompt_alignment="tail"), **{where: said})  # type: ignore[arg-type]
    assert (made.contract.block_size, made.contract.mask_token_id, made.contract.stop_token_ids) == (16, 9, (3, 4))
    assert key in made.origins["block_size"]


def test_text_config_counts() -> None:
    made = found(but(FULL, stop_token_ids=None), config={"text_config": {"eos_token_id": 5}})
    assert made.contract.stop_token_ids == (5,)


def test_own_object_comes_before_keys_and_after_flags() -> None:
    own = {"block_size": 4, "prompt_alignment": "left", "mask_token_id": 8, "stop_token_ids": [1]}
    made = found(
        Flags.of(prompt_alignment="tail"), config={"a2d": own, "block_size": 99}, generation={"eos_token_id": 6}
    )
    assert made.contract.block_size == 4
    assert made.contract.prompt_alignment == "tail"
    assert made.contract.stop_token_ids == (1,)
    assert made.origins["block_size"] == "config.json, a2d"


def test_generation_config_before_config() -> None:
    made = found(FULL, config={"a2d": {"steps": 2}}, generation={"a2d": {"steps": 4}})
    assert made.contract.steps == 4


@pytest.mark.parametrize("own", [{"blok_size": 4}, [1], "x", 3])
def test_own_object_is_strict(own: object) -> None:
    with pytest.raises(ContractError, match="a2d has"):
        found(FULL, config={"a2d": own})


@pytest.mark.parametrize(
    "own",
    [{"steps": "four"}, {"threshold": 2}, {"stop_token_ids": 5}, {"block_size": True}, {"forbid_token_ids": [-1]}],
)
def test_own_object_is_typed(own: dict[str, object]) -> None:
    name = next(iter(own))
    with pytest.raises(ContractError, match=name):
        found(
            but(FULL, stop_token_ids=None if name == "stop_token_ids" else ("2",), block_size=None),
            config={"a2d": {"block_size": 8} | own},
        )


def asked(given: Asking | None = None, **files: dict[str, Any]) -> Asking:
    checkpoint = Checkpoint(path=None, config={}, **files)  # type: ignore[arg-type]
    return asking(given or Asking(), checkpoint)


def test_the_object_says_how_to_ask_beside_the_contract() -> None:
    own = {"steps": 4, "prompt": "read the slate", "letterbox": {"height": 112, "width": 224}}
    assert found(FULL, generation={"a2d": own}).contract.steps == 4
    made = asked(generation={"a2d": own})
    assert (made.prompt, made.letterbox) == ("read the slate", Letterbox(112, 224, (0, 0, 0)))
    assert set(made.origins.values()) == {"generation_config.json, a2d"}
    assert [line.split()[0] for line in made.lines()] == ["prompt", "letterbox"]


def test_how_to_ask_comes_from_the_nearest_source() -> None:
    far, near = {"prompt": "far", "letterbox": {"height": 28, "width": 28}}, {"prompt": "near", "letterbox": None}
    checkpoint = Checkpoint(path=None, config={"a2d": far}, generation={"a2d": near})  # type: ignore[arg-type]
    made = asking(Asking(), checkpoint)
    assert (made.prompt, made.letterbox) == ("near", Letterbox(28, 28))
    assert made.origins == {"prompt": "generation_config.json, a2d", "letterbox": "config.json, a2d"}
    assert asking(Asking(prompt="nearer"), checkpoint).prompt == "nearer"
    assert asked() == Asking()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"prompt": 3}, "generation_config.json: .*\n.*prompt: got 3, expected a text"),
        ({"letterbox": "224x112"}, "letterbox: got '224x112', expected an object"),
        ({"letterbox": {"height": 112}}, "letterbox.width: missing"),
        ({"letterbox": {"height": 0, "width": 224}}, "letterbox.height: got 0"),
        ({"sentences": "take {take:int}"}, "sentences: got 'take {take:int}', expected"),
        ({"sentences": [1]}, "sentences.*: got 1, expected a text"),
        ({"sentences": ["no"], "unknown": 1}, "unknown: got 1, expected a text"),
        ({"sentence": ["no"]}, "a2d has \\['sentence'\\], expected an object with keys of: .*sentences, unknown"),
        ({"origins": {}}, "a2d has \\['origins'\\], expected an object with keys of: .*prompt, letterbox"),
    ],
)
def test_how_to_ask_is_typed(own: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        asked(generation={"a2d": own})


def test_family() -> None:
    made = found(but(FULL, prompt_alignment=None), family=dict(A2D_CONTRACT))
    assert (made.contract.prompt_alignment, made.contract.schedule) == ("left", "linear-round")
    assert made.origins["schedule"] == "family test"


@pytest.mark.parametrize("text", ["<|mask|>", "<|MASK|>", "[MASK]", "<mask>", "|<MASK>|"])
def test_mask_by_an_added_token(text: str) -> None:
    made = found(but(FULL, mask_token_id=None), tokenizer={"added_tokens": [{"id": 11, "content": text}]})
    assert made.contract.mask_token_id == 11


@pytest.mark.parametrize("named", ["<M>", {"content": "<M>"}])
def test_mask_by_the_tokenizers_name(named: object) -> None:
    made = found(
        but(FULL, mask_token_id=None),
        tokenizer={"added_tokens": [*TOKENS, {"id": 20, "content": "<M>"}]},
        tokenizer_config={"mask_token": named},
    )
    assert made.contract.mask_token_id == 20


@pytest.mark.parametrize("texts", [["<|mask|>", "[MASK]"], ["<|unmask|>"], ["mask"]])
def test_no_mask_by_doubtful_tokens(texts: list[str]) -> None:
    tokens = [{"id": i, "content": text} for i, text in enumerate(texts)]
    with pytest.raises(ContractError, match="the setting mask_token_id"):
        found(but(FULL, mask_token_id=None), tokenizer={"added_tokens": tokens})


def test_tokens_by_text() -> None:
    tokenizer = {"added_tokens": TOKENS, "model": {"vocab": {"hello": 30}}}
    flags = but(FULL, mask_token_id="<|mask|>", stop_token_ids=("<|im_end|>", "hello"), forbid_token_ids=("none",))
    made = found(flags, tokenizer=tokenizer).contract
    assert (made.mask_token_id, made.stop_token_ids, made.forbid_token_ids) == (11, (12, 30), ())
    assert found(
        but(flags, mask_token_id="x"),
        tokenizer={"model": {"vocab": [["x", 0.0], ["<|im_end|>", 0.0], ["hello", 0.0]]}},
    )


def test_unknown_text_names_the_special_tokens() -> None:
    with pytest.raises(ContractError, match=r"'<mask>'.*<\|mask\|>"):
        found(but(FULL, mask_token_id="<mask>"), tokenizer={"added_tokens": TOKENS})
    with pytest.raises(ContractError, match="no tokenizer"):
        found(but(FULL, mask_token_id="<mask>"))


def test_everything_impossible_is_listed() -> None:
    with pytest.raises(ContractError) as caught:
        found(
            but(
                FULL,
                mask_token_id="300",
                stop_token_ids=("300", "-1"),
                prompt_alignment="right",
                shift="x",
                positions="mrope",
            )
        )
    text = str(caught.value)
    for part in ("mask_token_id: got 300", "got -1", "prompt_alignment: got 'right'", "shift: got 'x'", "positions:"):
        assert part in text
    assert "stop_token_ids: got [300, -1], expected tokens other than the mask" in text


def test_steps_over_the_block_size() -> None:
    with pytest.raises(ContractError, match="steps: got 9"):
        found(but(FULL, steps=9))


@pytest.mark.parametrize("block", [0, -3, 1 << 20])
def test_block_size_that_cannot_be(block: int) -> None:
    with pytest.raises(ContractError, match=rf"block_size: got {block}.*the setting block_size"):
        found(but(FULL, block_size=block))


def test_positions_of_mrope() -> None:
    shape = replace(SHAPE, rope_axes=(0, 1, 1, 2))
    assert found(FULL, shape=shape, family={"positions": "mrope"}).contract.positions == "mrope"
    assert found(but(FULL, positions="arange_x3"), shape=shape).contract.positions == "arange_x3"
    with pytest.raises(ContractError, match="positions"):
        found(but(FULL, positions="arange"), shape=shape)


def test_lines_name_every_field() -> None:
    lines = found(FULL).lines()
    assert len(lines) == len(FIELDS)
    assert json.dumps(lines).count("command line") == 4


GENERIC = {"mask_token_id": "9", "stop_token_ids": ("5",), "block_size": 4, "prompt_alignment": "left"}


def test_what_a_generic_family_leaves_open_is_called_a_guess_with_what_settles_it() -> None:
    made = found(Flags(GENERIC), config={}, generation={})
    assert made.guessed == ("context_mask", "shift", "schedule")
    assert [made.origins[name] for name in made.guessed] == ["guess"] * 3 and made.origins["steps"] == "default"
    said = "\n".join(made.notes())
    assert said.startswith("warning: ")
    assert all(f"[{name}=" in said for name in made.guessed) and "[positions=" not in said


@pytest.mark.parametrize("name", ["context_mask", "shift", "schedule"])
def test_a_field_that_is_given_is_no_guess(name: str) -> None:
    values = {"context_mask": "token_causal", "shift": "right_prev_row", "schedule": "linear-round"}
    assert name not in found(Flags({**GENERIC, name: values[name]}), config={}, generation={}).guessed


@pytest.mark.parametrize(
    ("flags", "family", "own"),
    [
        (Flags({"stop_token_ids": ("5",)}, "autoregressive"), None, {}),
        (Flags({k: v for k, v in GENERIC.items() if k != "prompt_alignment"}), {"prompt_alignment": "tail"}, {}),
        (Flags(GENERIC), None, {"a2d": {"steps": 2}}),
    ],
)
def test_a_contract_a_family_and_an_author_leave_nothing_to_guess(flags: Flags, family: Any, own: Any) -> None:
    made = found(flags, config={}, generation=own, family=family)
    assert made.guessed == () and made.notes() == []
