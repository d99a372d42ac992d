"""`a2d film` on a network of two towers where something is wrong: requests, boards, numbers, disks and interrupts."""

from __future__ import annotations

import csv
import json
import resource
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("diffusers")
from film_bundles import loader
from PIL import Image
from towers_checkpoints import RECIPES, Opened, checkpoint, written

from a2d.__main__ import main

SHOT = ["--size", "32x48", "--frames", "29", "--steps", "2", "--guidance", "1", "--prompt", "A boat"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("edge")
    checkpoint(folder, RECIPES["edge"])
    return Opened(folder)


@pytest.fixture
def place(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle, from which commands are given."""
    written(tmp_path / "edge.a2d", opened)
    monkeypatch.setattr("a2d.runtime.model.load_engine", loader(opened.engine))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def film(*arguments: str) -> int:
    return main(["film", "edge.a2d", *SHOT, *arguments])


def spoiled(opened: Opened, graph: str, call: int, monkeypatch: pytest.MonkeyPatch, spoil) -> None:
    """`spoil` is done to what the graph gives on its n-th call."""
    engine, calls = opened.engine(graph), []
    run = engine.run

    def spoiling(*arguments, **more):
        calls.append(1)
        made = run(*arguments, **more)
        return spoil(made) if len(calls) == call else made

    monkeypatch.setattr(engine, "run", spoiling)


def decoded(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames", "20"], "frames: got 20, expected 1 + 4 k"),
        (["--size", "33x48"], "height: got 33, expected a multiple of 16 pixels: the nearest is 32"),
        (["--window", "2"], "window: this bundle makes a clip at once"),
        (["--prompt", "word " * 5000], "prompt: got"),
        (["--negative", "word " * 5000, "--guidance", "3"], "negative: got"),
        (["--guidance-interval", "900,100", "--guidance", "3"], "interval"),
        (["--noise", "none.npz"], "none.npz is no npz file of arrays"),
        (["--image", "none.png"], "cannot find an image at 'none.png'"),
        (["--steps", "0"], "steps"),
        (["--fps", "0"], "fps"),
    ],
)
def test_bad_input_is_an_error_and_leaves_nothing(place, capsys, arguments, message):
    assert film("--json", *arguments) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in place.iterdir()] == ["edge.a2d"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"noise": np.zeros((48, 2, 2, 3), np.float32)}, "noise: got shape [48, 2, 2, 3]"),
        ({"noise": np.full((48, 8, 2, 3), np.nan, np.float32)}, "are not finite"),
        ({"sound": np.zeros(3)}, "expected noise"),
    ],
)
def test_noise_that_does_not_fit_is_refused(place, capsys, arrays, message):
    np.savez("noise.npz", **arrays)
    assert film("--json", "--noise", "noise.npz") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("fit", "said"), [("bars", "scaled, with black bars"), ("crop", "cropped")])
def test_a_board_of_another_shape_is_fitted_and_that_is_said(place, capsys, fit, said):
    Image.new("RGB", (100, 100), (200, 30, 30)).save("board.png")
    more = [] if fit == "bars" else ["--fit", "crop"]
    assert film("--frames", "5", "--image", "board.png", "-o", "a.mp4", *more) == 0
    told = capsys.readouterr().err
    assert "the picture is 100x100, the clip 48x32" in told
    assert said in told


def test_a_velocity_that_is_no_number_is_named_by_its_step(place, opened, monkeypatch, capsys):
    spoiled(opened, "velocity", 2, monkeypatch, lambda made: {"velocity": made["velocity"] * np.nan})
    assert film("-o", "a.mp4") == 2
    assert "block 0, step 1: the velocity is not finite" in capsys.readouterr().err
    assert [path.name for path in place.iterdir()] == ["edge.a2d"]


def test_pixels_that_are_no_numbers_are_named_and_the_clip_so_far_stays(place, opened, monkeypatch, capsys):
    spoiled(opened, "pixels_next", 6, monkeypatch, lambda made: {**made, "pixels": made["pixels"] * np.nan})
    assert film("-o", "a.mp4") == 2
    told = capsys.readouterr().err
    assert "block 0, latent frame 6: the pixels are not finite" in told
    assert "a.mp4 holds the first 13 frames" in told
    assert decoded(place / "a.mp4") == 13


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_ctrl_c_leaves_the_clip_so_far(place, opened, monkeypatch, capsys, name):
    def interrupt(_):
        raise KeyboardInterrupt

    spoiled(opened, "pixels_next", 5, monkeypatch, interrupt)
    assert film("-o", name) == 130
    assert "interrupted" in (told := capsys.readouterr().err)
    assert "holds the first 13 frames" in told
    assert (len([*Path(name).glob("0*.png")]) if name == "frames" else decoded(Path(name))) == 13


def test_a_full_disk_in_the_middle_of_a_clip_leaves_what_was_written(place, capsys):
    """A limit on the size of files stands for the disk: what is written beyond it fails in the same way."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, kept[1]))
    try:
        status = film("-o", "a.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert status == 1
    told = capsys.readouterr().err
    assert "File too large" in told
    assert f"holds the first {decoded(place / 'a.mp4')} frames" in told


def test_a_list_with_two_equal_ids_is_refused_whole(place, capsys):
    with Path("reel.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerows([["id", "seconds", "prompt"], ["A1", "1", "A boat."], ["a1", "1", "A ball."]])
    assert main(["film", "edge.a2d", "--shots", "reel.csv", "-o", "out"]) == 2
    assert "id 'a1' stands 2 times, expected once" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_list_of_shots_becomes_clips(place, capsys):
    with Path("reel.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerows(
            [["id", "seconds", "prompt", "seed"], ["A1", "0.2", "A boat.", "1"], ["A2", "0.2", "A ball.", "2"]]
        )
    asked = ["--size", "32x48", "--steps", "1", "--guidance", "1", "--json"]
    assert main(["film", "edge.a2d", "--shots", "reel.csv", "-o", "out", *asked]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["shots"] == 2
    assert decoded(Path("out") / "A1.mp4") >= 5
