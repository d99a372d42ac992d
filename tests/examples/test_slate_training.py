"""The layout of training rows, the batched forward, and runs that stop and go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import train
from recipe import network, state
from recipe.copies import autoregressive_mask, diffusion_mask, draw_noise, wanted
from recipe.course import Budget, Now, Plan, greatest_difficulty, now
from recipe.feed import batches, render
from recipe.grid import Grid
from recipe.shapes import SHAPES, Shape, begin
from recipe.training import Run, Where, _Log
from recipe.words import MASK, STOP, Words
from transformers import Qwen2_5_VLForConditionalGeneration

from a2d.runtime.decode.block import Layout

CHECKPOINT = Path(__file__).parents[2] / "examples" / "slate" / "model"
PROMPT, ANSWER = 11, 16
GRID = network.frame_grid(CHECKPOINT)
PATH = "classic"
"""The drawing path that needs nothing but Pillow."""


@pytest.mark.parametrize("block", [1, 2, 4, 8])
def test_clean_rows_reach_as_far_as_the_runtime_lets_settled_rows(block: int) -> None:
    mask = diffusion_mask(PROMPT, ANSWER, block, 1)
    reach = Layout(PROMPT, block, "left", "causal_prompt").reach(0, PROMPT + ANSWER)
    keys = np.arange(PROMPT + ANSWER)
    assert np.array_equal(mask[: PROMPT + ANSWER, : PROMPT + ANSWER], keys < reach[:, None])
    assert not mask[: PROMPT + ANSWER, PROMPT + ANSWER :].any()


@pytest.mark.parametrize("block", [1, 2, 4, 8])
@pytest.mark.parametrize("copy", [1, 2])
def test_a_noisy_block_sees_prompt_earlier_clean_blocks_and_itself(block: int, copy: int) -> None:
    mask = diffusion_mask(PROMPT, ANSWER, block, 2)
    start = PROMPT + copy * ANSWER
    for row in range(ANSWER):
        first = row // block * block
        expected = {*range(PROMPT), *range(PROMPT, PROMPT + first), *range(start + first, start + first + block)}
        assert set(np.flatnonzero(mask[start + row])) == expected


def test_an_answer_of_half_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of the block size 8"):
        diffusion_mask(PROMPT, 12, 8, 1)


def test_noise_hides_rows_and_changes_nothing_else() -> None:
    rows = np.arange(64).reshape(2, 32)
    noisy = draw_noise(np.random.default_rng(0), rows, 8, 0.5, 0.3)
    hidden = noisy == MASK
    assert 0 < hidden.sum() < rows.size
    assert np.array_equal(noisy[~hidden], rows[~hidden])
    assert (draw_noise(np.random.default_rng(0), rows, 8, 0.5, 1.0) == MASK).all()
    assert (draw_noise(np.random.default_rng(0), rows, 1, 0.1, 0.0) == MASK).all()


def test_rows_behind_the_block_with_the_stop_token_are_not_wanted() -> None:
    rows = np.array([[5, 6, 7, STOP, STOP, STOP, STOP, STOP]])
    assert wanted(rows, 1).sum() == 4
    assert wanted(rows, 2).sum() == 4
    assert wanted(rows, 8).sum() == 8


def test_the_course_anneals_block_and_noise() -> None:
    plan, ar = Plan(stages=("adapt",), shares=(1.0,)), Plan(stages=("ar",), shares=(1.0,))
    assert [now(plan, p).block for p in (0.0, 0.05, 0.1, 0.5, 1.0)] == [1, 2, 4, 8, 8]
    assert now(plan, 0.141).high < now(plan, 0.6).high == 1.0
    every = Plan(shares=(1.0, 2.0, 1.0))
    stages = ["look", "look", "ar", "ar", "adapt", "adapt"]
    assert [now(every, p).stage for p in (0.0, 0.24, 0.25, 0.74, 0.75, 1.0)] == stages
    assert {now(ar, p).stage for p in (0.0, 1.0)} == {"ar"}
    assert greatest_difficulty(plan, 0.0) == plan.d_start
    assert greatest_difficulty(plan, 1.0) == plan.d_end


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="look, ar, adapt"):
        Plan(stages=("diffuse",), shares=(1.0,))
    with pytest.raises(ValueError, match="one for each stage"):
        Plan(shares=(1.0,))
    with pytest.raises(ValueError, match="--samples or --minutes"):
        Budget().progress(0, 0.0)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the first reader's shape, whose patches are not merged."""
    made = tmp_path_factory.mktemp("small")
    begin("small", CHECKPOINT, made)
    return made


@pytest.fixture(scope="module")
def merged(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the shape that sees more pixels, begun with the small one's weights, its patches merged."""
    made = tmp_path_factory.mktemp("shape")
    begin("coarse", small, made)
    return made


@pytest.mark.parametrize("shape", ["shipped", "small", "merged"])
def test_the_batched_forward_is_transformers_forward(shape: str, small: Path, merged: Path) -> None:
    checkpoint = {"shipped": CHECKPOINT, "small": small, "merged": merged}[shape]
    reader = network.load(checkpoint).eval()
    grid, words = reader.grid, Words(checkpoint, reader.grid)
    batch = render("forward", 0, 2, 0.3, grid, PATH)
    rows = torch.from_numpy(np.hstack([np.tile(words.prompt, (2, 1)), words.rows(batch.answers)]))
    positions = torch.from_numpy(words.positions(rows.shape[1] - len(words.prompt)))
    sees = torch.from_numpy(autoregressive_mask(len(words.prompt), rows.shape[1] - len(words.prompt)))
    first = len(words.prompt) - 1
    slow = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    image = rows == int(words.prompt[words.image.start])
    size = torch.tensor([[1, grid.height // grid.patch, grid.width // grid.patch]] * 2)
    with torch.no_grad():
        features = reader.features(torch.from_numpy(batch.pixels))
        hidden, scores = reader.hidden(
            features, rows, words.image, reader.turn(positions), torch.where(sees, 0.0, -1e9), first
        )
        theirs = slow(
            input_ids=rows,
            pixel_values=_as_transformers(reader, torch.from_numpy(batch.pixels)),
            image_grid_thw=size,
            mm_token_type_ids=image.long(),
        ).logits
    torch.testing.assert_close(reader.logits(hidden), theirs[:, first:], atol=2e-3, rtol=1e-3)
    assert scores.shape == (2, network.GUIDED[1], rows.shape[1] - first, grid.tokens)


def _as_transformers(reader: network.Reader, pixels: torch.Tensor) -> torch.Tensor:
    """Patches in the order of transformers' processor: token by token, each with its patches row by row, two frames."""
    grid = reader.grid
    x = (pixels.float() / 255 - reader.mean) / reader.std
    sides = (grid.rows, grid.merge, grid.patch, grid.columns, grid.merge, grid.patch, 3)
    x = x.view(len(x), *sides).permute(0, 1, 4, 2, 5, 7, 3, 6)[:, :, :, :, :, :, None]
    twice = x.expand(*x.shape[:6], 2, *x.shape[7:])
    return twice.reshape(len(pixels) * grid.tokens * grid.merge**2, -1)


def test_a_new_shape_begins_with_the_weights_that_fit(small: Path, merged: Path) -> None:
    before, after = network.load(small).network.state_dict(), network.load(merged).network.state_dict()
    same = {name for name, weight in after.items() if name in before and before[name].shape == weight.shape}
    assert {name for name in after if name not in same} == {
        f"model.visual.merger.mlp.{part}" for part in ("0.weight", "0.bias", "2.weight")
    }
    assert all(torch.equal(after[name], before[name]) for name in same)
    size = (merged / "model.safetensors").stat().st_size
    assert size < 24_000_000
    with pytest.raises(KeyError, match="coarse"):
        begin("fat", CHECKPOINT, merged / "other")


def test_every_shape_is_whole_windows_of_whole_tokens() -> None:
    for shape in SHAPES.values():
        grid = Grid(shape.width, shape.height, shape.patch, shape.merge, shape.window)
        assert grid.tokens * grid.side**2 == shape.width * shape.height
        assert max(shape.full) < shape.depth and shape.vision % 32 == 0
    with pytest.raises(ValueError, match="whole windows of whole tokens"):
        Grid(450, 224, 14, 2, Shape(448, 224, 14, 112).window)


def test_workers_bring_the_same_batches_in_order() -> None:
    alone = batches("w", 40, 2, lambda first: 0.3, GRID, 0, PATH)
    several = batches("w", 40, 2, lambda first: 0.3, GRID, 2, PATH)
    for _ in range(3):
        a, b = next(alone), next(several)
        assert a.first == b.first
        assert a.answers == b.answers
        assert np.array_equal(a.pixels, b.pixels)
    several.close()


def test_values_are_found_in_the_rows_of_an_answer() -> None:
    words = Words(CHECKPOINT, GRID)
    answer = "scene 12A take 3 roll - date 2025-03-14 fps 23.976"
    rows, values = words.rows([answer, "no slate"]), words.values([answer, "no slate"])
    found = {int(place): chr(token) for token, place in zip(rows[0], values[0], strict=True) if place >= 0}
    date = {30 + i: char for i, char in enumerate("2025-03-14")}
    fps = {40 + i: char for i, char in enumerate("23.976")}
    assert found == {0: "1", 1: "2", 2: "A", 10: "3", 20: "-"} | date | fps
    assert (values[1] == -1).all()


def test_the_guided_heads_learn_where_to_look(tmp_path: Path) -> None:
    run = Run(Plan(batch=4), Where(CHECKPOINT, tmp_path, fresh=True, bf16=False))
    batch = render("gaze", 0, 4, 0.0, GRID, PATH)
    losses = [run.step(batch, Now("ar", 1, 1.0, 1.0, 0.01))["gaze"] for _ in range(6)]
    assert losses[-1] < losses[0]


def test_looking_trains_the_tower_alone(tmp_path: Path) -> None:
    run = Run(Plan(batch=2), Where(CHECKPOINT, tmp_path, bf16=False))
    before = {name: t.clone() for name, t in run.reader.state_dict().items()}
    assert set(run.step(render("look", 0, 2, 0.1, GRID, PATH), Now("look", 1, 1.0, 1.0, 0.01))) == {
        "chars",
        "kinds",
        "places",
    }
    moved = {name for name, t in run.reader.state_dict().items() if not torch.equal(t, before[name])}
    assert any(".visual." in name for name in moved)
    assert not any(".language_model." in name for name in moved)


def test_what_is_logged_of_a_stage_is_of_that_stage_alone(tmp_path: Path) -> None:
    run = Run(Plan(), Where(CHECKPOINT, tmp_path, fresh=True))
    log = _Log(Budget(samples=1), run)
    log.EVERY = 1e9
    for _ in range(9):
        log.add(Now("look", 1, 1.0, 1.0, 0.0), {"chars": 1.0})
    run.seen = 1  # the budget is spent, so that the next one is written
    log.add(Now("ar", 1, 1.0, 1.0, 0.0), {"text": 4.0, "chars": 2.0})
    line = json.loads((tmp_path / "log.jsonl").read_text(encoding="utf-8"))
    assert (line["stage"], line["text"], line["chars"]) == ("ar", 4.0, 2.0)


@pytest.mark.parametrize("stage", ["ar", "adapt"])
def test_ten_steps_run_and_leave_a_checkpoint_that_transformers_reads(stage: str, tmp_path: Path) -> None:
    run = Run(
        Plan(stages=(stage,), shares=(1.0,), batch=2, d_start=0.1, d_end=0.1, path=PATH),
        Where(CHECKPOINT, tmp_path, fresh=True),
    )
    run.train(Budget(samples=20))
    assert run.seen == 20
    made = tmp_path / ("autoregressive" if stage == "ar" else "model")
    contract = json.loads((made / "generation_config.json").read_text(encoding="utf-8"))["a2d"]
    assert contract["block_size"] == (1 if stage == "ar" else 8)
    again = network.load(made)
    for (name, mine), theirs in zip(
        run.reader.network.state_dict().items(), again.network.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=2e-3, rtol=2e-3, msg=name)
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(np.isfinite(json.loads(line)["text"]) for line in lines)


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    plan = Plan(stages=("adapt",), shares=(1.0,), batch=2, d_start=0.1, d_end=0.1, path=PATH)
    where = Where(CHECKPOINT, tmp_path, bf16=False)
    step = Now("adapt", 8, 1.0, 0.3, 0.01)
    run = Run(plan, where)
    for first in (0, 2):
        run.step(render(plan.stream, first, 2, 0.1, GRID, PATH), step)
    run.save("adapt")
    resumed = Run.resumed(where)
    assert (resumed.plan, resumed.seen) == (plan, run.seen) == (plan, 4)
    for one in (run, resumed):
        one.step(render(plan.stream, 4, 2, 0.1, GRID, PATH), step)
    for (name, a), b in zip(run.reader.state_dict().items(), resumed.reader.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0, msg=name)


def test_state_files_stay_small_and_half_a_state_is_refused(tmp_path: Path) -> None:
    tensors = [(f"t{i}", torch.full((1_000_000,), float(i))) for i in range(7)]
    state.save(tmp_path, tensors, {"seen": 1}, "a")
    state.save(tmp_path, tensors, {"seen": 2}, "b")
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 3
    assert all(file.stat().st_size < 16_000_000 and file.name.startswith("b") for file in files)
    loaded, facts = state.load(tmp_path)
    assert facts == {"seen": 2}
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors)
    files[0].unlink()
    with pytest.raises(ValueError, match=r"b-0\.safetensors"):
        state.load(tmp_path)
    with pytest.raises(ValueError, match="without --resume"):
        state.load(tmp_path / "elsewhere")


def test_a_run_of_another_shape_is_resumed_without_naming_it(tmp_path: Path) -> None:
    plan = ["--stages", "look", "ar", "--shares", "1", "1", "--batch", "2", "--path", PATH, "--fp32"]
    assert train.main(["--out", str(tmp_path), "--shape", "coarse", "--samples", "2", *plan]) == 0
    assert train.main(["--out", str(tmp_path), "--resume", "--samples", "6", "--fp32"]) == 0
    made = network.frame_grid(tmp_path / "autoregressive")
    assert (made.width, made.height, made.merge) == (448, 224, 2)
    assert json.loads((tmp_path / "state" / state.INDEX).read_text(encoding="utf-8"))["seen"] == 6
