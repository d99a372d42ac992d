"""Checkpoints that film held against diffusers' and transformers' own classes: what is misread cannot pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")
import torch
from film_checkpoints import RECIPES, checkpoint, draft_vae, original

from a2d.export import cli
from a2d.export.checkpoint import wan_names
from a2d.export.checkpoint.sources import Source
from a2d.export.export_plan import Job
from a2d.export.film import stock
from a2d.export.film.plan import FilmPlan, plan_film
from a2d.export.film.stock import film_held_against_stock
from a2d.runtime.film import positions
from a2d.runtime.film.contract import TextSpec

GIVEN = {"block_frames": 2, "steps": (1000, 500), "height": 64, "width": 64}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stock") / "checkpoint"
    checkpoint(folder, RECIPES["plain"])
    return folder


def planned(path: Path, draft: Path | None = None, **film: Any) -> FilmPlan:
    return plan_film(Job(path, path.parent / "b.a2d", film=film or GIVEN, draft=draft, quiet=True))


def failing(plan: FilmPlan) -> list[str]:
    """Checks that fail, by the name of what is compared; each says in words by how much."""
    found = film_held_against_stock(plan)
    wrong = [row.graph for row in found.rows if row.verdict != "PASS"]
    assert len(found.differences) == len(wrong)
    return wrong


# -- right readings


def test_texts_of_more_tokens_than_the_network_has_rows_for_are_cut_as_prompts_are() -> None:
    spec = TextSpec("tokenizer.json", 8, 4, 1)
    cases = (
        ([5, 6, 1], [5, 6, 1]),
        ([5, 6], [5, 6, 1]),
        ([5, 6, 7, 8, 9], [5, 6, 7, 1]),
        ([5, 6, 7, 8, 1], [5, 6, 7, 1]),
    )
    assert all(stock.fitted(given, spec) == wanted for given, wanted in cases)
    assert stock.fitted([5, 6, 7, 8, 9], replace(spec, eos_id=None)) == [5, 6, 7, 8]


def test_a_network_of_short_prompts_is_read_as_transformers_does(plain: Path) -> None:
    assert failing(planned(plain, **GIVEN, text_length=12)) == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_part_is_held_against_its_own_class(recipe: str, plain: Path, tmp_path: Path) -> None:
    path, draft = plain, None
    if recipe == "plain":
        draft_vae(draft := tmp_path / "draft")
    else:
        checkpoint(path := tmp_path / "checkpoint", RECIPES[recipe], torch.bfloat16)
    made = film_held_against_stock(planned(path, draft, **({} if RECIPES[recipe].own else GIVEN)))
    vae = "AutoencoderTiny" if recipe == "tiny" else "AutoencoderKLWan"
    classes = [row.check.rpartition(" as ")[2] for row in made.rows]
    wanted = ["tokenizer.json", "UMT5EncoderModel", "WanTransformer3DModel", vae, vae]
    assert classes == wanted + (["AutoencoderTiny"] if draft else [])
    assert {row.verdict for row in made.rows} == {"PASS"}
    assert made.notes == []


def test_names_of_the_authors_are_renamed_as_diffusers_does(plain: Path, tmp_path: Path, monkeypatch: Any) -> None:
    path = shutil.copytree(plain, tmp_path / "checkpoint")
    original(path)
    plan = planned(path)
    monkeypatch.setattr(stock, "CHECKS", stock.CHECKS[:1])
    (row,) = film_held_against_stock(plan).rows
    assert (row.graph, row.verdict) == ("names", "PASS")
    monkeypatch.setitem(wan_names.PARTS, "blocks.{}.cross_attn.o", "blocks.{}.attn1.to_out.0")
    assert failing(plan) == ["names"]


# -- wrong ones


def _swapped(sources: Mapping[str, Source], one: str, other: str) -> dict[str, Source]:
    return {**sources, one: sources[other], other: sources[one]}


def _queries(plan: FilmPlan) -> FilmPlan:
    """Queries and keys of one layer change places."""
    source = plan.family.sources["layers.1.qkv_weight"]
    q, k, v = source.names
    return _with(plan, {**plan.family.sources, "layers.1.qkv_weight": replace(source, names=(k, q, v))})


def _with(plan: FilmPlan, sources: Mapping[str, Source]) -> FilmPlan:
    return replace(plan, family=replace(plan.family, sources=sources))


def _network(plan: FilmPlan, **parts: Any) -> FilmPlan:
    return replace(plan, family=replace(plan.family, network=replace(plan.family.network, **parts)))


def _theta(plan: FilmPlan) -> FilmPlan:
    contract = plan.resolved.contract
    turned = replace(contract, network=replace(contract.network, rope_theta=2.0))
    return replace(plan, resolved=replace(plan.resolved, contract=turned))


def _mean(plan: FilmPlan) -> FilmPlan:
    pixels = plan.network.pixels
    return _network(plan, pixels=replace(pixels, mean=(pixels.mean[0] + 0.01, *pixels.mean[1:])))


def _buckets(plan: FilmPlan) -> FilmPlan:
    return _network(plan, text=replace(plan.network.text, max_distance=8))


def _epsilon(plan: FilmPlan) -> FilmPlan:
    return _network(plan, wan=replace(plan.network.wan, eps=1e-2))


def _depths(plan: FilmPlan) -> FilmPlan:
    """Two layers of the text encoder change places."""
    return _with(plan, _swapped(plan.family.sources, "text.layers.0.out", "text.layers.1.out"))


FAULTS: dict[str, tuple[tuple[Callable[[FilmPlan], FilmPlan], ...], list[str]]] = {
    "queries and keys": ((_queries,), ["velocity"]),
    "rotation, and distances of text": ((_theta, _buckets), ["text rows", "velocity"]),
    "an epsilon, layers of text, mean of the latents": (
        (_epsilon, _depths, _mean), ["text rows", "velocity", "pixels", "latents"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_misread_fails_in_its_own_part(name: str, plain: Path) -> None:
    faults, wanted = FAULTS[name]
    plan = planned(plain)
    for fault in faults:
        plan = fault(plan)
    assert failing(plan) == wanted


def test_a_tokenizer_that_loses_a_token_fails(plain: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(stock, "CHECKS", stock.CHECKS[1:2])
    tokenized = stock.tokenized
    monkeypatch.setattr(stock, "tokenized", lambda *given: _shorter(tokenized(*given)))
    assert failing(planned(plain)) == ["prompt"]


def _shorter(prompt: Any) -> Any:
    return replace(prompt, tokens=prompt.tokens[1:])


# -- what the command does with it


def exported(path: Path, output: Path, *flags: str) -> int:
    given = ("--block-frames", "2", "--steps-list", "1000,500", "--size", "64x64", "--quiet")
    return cli.main([str(path), "-o", str(output), *given, *flags])


def test_nothing_is_written_of_a_misread_checkpoint_unless_that_is_asked_for(
    plain: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    later = lambda times, width: positions.sinusoid([t + 1 for t in times], width)  # noqa: E731
    monkeypatch.setattr(stock, "sinusoid", later)
    assert exported(plain, tmp_path / "b.a2d") == 2
    said = capsys.readouterr().err
    assert "a2d does not read it as diffusers" in said and "velocity" in said and "--parity own" in said
    assert list(tmp_path.iterdir()) == []
    assert exported(plain, tmp_path / "b.a2d", "--parity", "own") == 0
    rows = json.loads((tmp_path / "b.a2d" / "manifest.json").read_text())["variants"]["fp32"]["parity"]
    assert not any("WanTransformer3DModel" in row["check"] for row in rows)


def test_an_unknown_reference_is_refused(plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exported(plain, tmp_path / "b.a2d", "--parity", "theirs") == 2
    assert "transformers" in capsys.readouterr().err


def test_a_class_that_cannot_be_loaded_is_told_and_the_others_are_held(plain: Path, monkeypatch: Any) -> None:
    def broken(*_: Any) -> Any:
        raise AttributeError("no attribute 'blocks'")

    monkeypatch.setattr("diffusers.WanTransformer3DModel.from_config", broken)
    plan = planned(plain)
    left = {name: file for name, file in plan.checkpoint.files.items() if not name.endswith("final_layer_norm.weight")}
    found = film_held_against_stock(replace(plan, checkpoint=replace(plan.checkpoint, files=left)))
    assert [row.graph for row in found.rows] == ["prompt", "pixels", "latents"]
    alone = "; there the reference is a2d's own reading of the checkpoint alone"
    lost = "UMT5EncoderModel does not find 1 of its tensors, encoder.final_layer_norm.weight among them"
    assert found.notes == [
        f"transformers' UMT5EncoderModel does not run it: {lost}{alone}",
        f"diffusers' WanTransformer3DModel does not run it: no attribute 'blocks'{alone}",
    ]


def test_without_diffusers_that_is_told(plain: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(stock, "find_spec", lambda name: None if name == "diffusers" else object())
    found = film_held_against_stock(planned(plain))
    assert found.rows == []
    assert found.notes[0].startswith("diffusers is not installed; there the reference is a2d's own")
