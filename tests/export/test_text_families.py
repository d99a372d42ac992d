"""Published text families: read as released, and decoded token for token as a slow loop on transformers' classes does.

Every family is exported once; random cases run on its bundle.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import block_reference
import numpy as np
import published
import pytest
import torch
from block_reference import How
from published import Opened

from a2d.export.export_plan import plan
from a2d.export.job import Job
from a2d.export.report import decided
from a2d.runtime.decode.noise import uniform
from a2d.runtime.decode.options import Options
from a2d.runtime.schema import to_json

CASES = 32


def drawn(name: str, case: int) -> tuple[list[int], How, dict[str, Any]]:
    """A random case: the prompt, what the reference is to do, and the same as options."""
    rng = np.random.default_rng(zlib.crc32(f"{name} {case}".encode()))
    fast = name == "Fast_dLLM_Qwen"
    cached = fast and case % 2 == 1
    block = int(rng.choice([8, 16, 32] if cached else [4, 8, 16, 32] if fast else [2, 3, 4, 8, 16]))
    chosen: dict[str, Any] = {
        "block_size": block,
        "max_tokens": int(rng.integers(block if cached else 1, 3 * block + 12)),
        "steps": int(rng.choice([block, block, rng.integers(1, block + 1)])),
        "threshold": float(rng.choice([0.3, 0.6, 0.9, 1.0])),
    }
    rule = "confidence" if fast else str(rng.choice(["confidence"] * 4 + ["entropy", "sequential"]))
    if rule != "confidence":
        chosen |= {"rule": rule, "threshold": None, "entropy_bound": float(rng.uniform(0.1, 3))}
    if rng.random() < 0.3:
        chosen |= {"temperature": float(rng.uniform(0.4, 1.5)), "seed": int(rng.integers(1 << 30))}
        chosen |= {"top_k": int(rng.choice([0, 5, 20])), "top_p": float(rng.choice([1.0, 0.9, 0.7]))}
    if name == "llada2_moe" and case % 2 and rule == "confidence":
        chosen |= {"replace_above": float(rng.choice([0.3, 0.6, 0.9])), "revise_steps": int(rng.integers(0, 8))}
    if fast:
        chosen |= {"sub_block_size": int(rng.choice([2, 4] if cached else [2, 4, 8, 32])), "block_cache": cached}
    prompt = rng.integers(4, published.VOCAB - 3, rng.integers(1, 40)).tolist()
    return prompt, _how(block, chosen, fast), chosen


def _how(block: int, chosen: dict[str, Any], fast: bool) -> How:
    return How(
        block=block,
        mask=published.VOCAB - 2,
        stops=published.STOPS,
        max_tokens=chosen["max_tokens"],
        steps=chosen["steps"],
        threshold=chosen["threshold"],
        rule=chosen.get("rule", "confidence"),
        bound=chosen.get("entropy_bound", 0.0),
        temperature=chosen.get("temperature", 0.0),
        top_k=chosen.get("top_k", 0),
        top_p=chosen.get("top_p", 1.0),
        filtered=not fast,
        edit=chosen.get("replace_above"),
        post_steps=chosen.get("revise_steps", 16),
        sub=min(chosen.get("sub_block_size", block), block),
        fast_dllm=fast,
        block_cache=chosen.get("block_cache", False),
    )


RELEASED = {
    "sdar": {"mask_token_id": 151669, "block_size": 4, "shift": "none", "opening": "masked", "threshold": None},
    "Fast_dLLM_Qwen": {
        "mask_token_id": 151665,
        "block_size": 32,
        "sub_block_size": 8,
        "shift": "right_in_block",
        "opening": "predicted",
        "last_block": "cut",
        "threshold": 0.9,
    },
    "llada2_moe": {"mask_token_id": 156895, "block_size": 32, "shift": "none", "threshold": 0.95},
    "sdar_moe": {"mask_token_id": 151669, "block_size": 4, "shift": "none", "opening": "masked", "threshold": None},
}
"""What the contract of each release is, of which its config.json says next to nothing."""

VOCABULARY = {"sdar": 151936, "Fast_dLLM_Qwen": 151936, "llada2_moe": 157184, "sdar_moe": 151936}
NARROW = {"hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 8}


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_a_release_is_read_without_flags(name: str, tmp_path: Path) -> None:
    """No mask id, often no block size, two shards, keys that nobody knows, and remote code that is not run."""
    published.PUBLISHED[name](tmp_path, vocab=VOCABULARY[name], mask=None, **NARROW)
    made = plan(Job(tmp_path, tmp_path / "bundle"))
    contract = to_json(made.resolved.contract)
    assert {key: contract[key] for key in RELEASED[name]} == RELEASED[name]
    assert (contract["prompt_alignment"], contract["context_mask"]) == ("tail", "block_causal")
    assert contract["stop_token_ids"] == list(published.STOPS)  # generation_config.json's before the family's
    told = decided(made)
    assert f"family {name}" in told
    assert "config.json names remote code (auto_map); it is not run" in told


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_what_the_checkpoint_says_goes_before_the_family(name: str, tmp_path: Path) -> None:
    """Fine-tunes have other mask ids in their tokenizers, and some write them and the block size down."""
    published.PUBLISHED[name](tmp_path)
    made = plan(Job(tmp_path, tmp_path / "bundle"))
    assert made.resolved.contract.mask_token_id == published.VOCAB - 2
    assert "tokenizer.json, added token" in made.resolved.origins["mask_token_id"]
    config = json.loads((tmp_path / "config.json").read_text())
    key = "bd_size" if "bd_size" in config else "block_size"
    (tmp_path / "config.json").write_text(json.dumps(config | {"mask_token_id": 90, key: 16}))
    made = plan(Job(tmp_path, tmp_path / "bundle"))
    assert (made.resolved.contract.mask_token_id, made.resolved.contract.block_size) == (90, 16)
    assert made.resolved.origins["block_size"] == f"config.json, {key}"


def noise(seed: int) -> block_reference.Noise:
    return lambda block, step, rows: torch.from_numpy(uniform(seed, block, step, rows)[0])


@pytest.mark.parametrize("case", range(CASES))
@pytest.mark.parametrize("name", published.PUBLISHED)
def test_decodes_as_the_reference(family: Callable[[str], Opened], name: str, case: int) -> None:
    model, runtime = family(name)
    prompt, how, chosen = drawn(name, case)
    expected = block_reference.decode(model, prompt, how, noise(chosen.get("seed", 0)))
    for commit in ("merged", "separate"):
        assert list(runtime.generate(prompt, options=Options(**chosen, commit=commit)).tokens) == expected


def test_a_block_cache_is_an_approximation(family: Callable[[str], Opened]) -> None:
    """The reference above follows it exactly; whole forwards give other tokens, as docs/decoding.md says."""
    _, runtime = family("Fast_dLLM_Qwen")
    differ = 0
    for case in range(1, CASES, 2):
        prompt, _, chosen = drawn("Fast_dLLM_Qwen", case)
        results = [runtime.generate(prompt, options=Options(**{**chosen, "block_cache": x})) for x in (True, False)]
        differ += results[0].tokens != results[1].tokens
    assert 0 < differ < CASES // 2


def test_the_first_token_of_a_block_comes_of_its_commit(family: Callable[[str], Opened]) -> None:
    """At every block boundary, so also right behind a prompt that ends at one."""
    _, runtime = family("Fast_dLLM_Qwen")
    steps = list(runtime.stream([5] * 8, block_size=8, max_tokens=24, threshold=1.0))
    assert [step.accepted.tolist() for step in steps if step.index == 0] == [[0]] * (steps[-1].block + 1)


def test_editing_changes_accepted_tokens(family: Callable[[str], Opened]) -> None:
    """LLaDA2.1's cases are not LLaDA2.0's: what the reference was held against above did edit."""
    _, runtime = family("llada2_moe")
    cases = [drawn("llada2_moe", case) for case in range(CASES)]
    edits = [(prompt, chosen) for prompt, _, chosen in cases if "replace_above" in chosen]
    differ = 0
    for prompt, chosen in edits:
        plain = {key: value for key, value in chosen.items() if key != "replace_above"}
        results = [runtime.generate(prompt, options=Options(**some)) for some in (chosen, plain)]
        differ += results[0].tokens != results[1].tokens
    assert differ > len(edits) / 2
