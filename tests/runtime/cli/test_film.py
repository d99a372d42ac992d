"""`a2d film` on bundles of the numpy network: what it writes, what it prints, and how it ends early."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from film_bundles import loader, tiny, write
from film_contracts import steps
from film_network import Pixels, contract_of, engines, published
from patience import PATIENCE
from PIL import Image

from a2d.__main__ import main
from a2d.runtime.cli.live_film import picture
from a2d.runtime.film.contract import Schedule, TextSpec
from a2d.runtime.film.presets import Preset
from a2d.runtime.model import Model

TESTS = Path(__file__).parents[2]
GOLDEN = TESTS / "data" / "golden-frames"
PROMPT = "A red ball rolls across the wet street."

PRESETS = {
    "draft": Preset("a quick look", height=16, width=32, steps="1"),
    "wide": Preset("a wide still", frames=1, height=16, width=64, fps=12.0),
}


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A tiny bundle whose engines are at hand."""
    path, ready = tiny(tmp_path / "tiny.a2d", window=6, sink=1, presets=PRESETS)
    monkeypatch.setattr("a2d.runtime.model.load_engine", loader(ready))
    return path


def film(bundle: Path, *arguments: object) -> int:
    return main(["film", str(bundle), "--prompt", PROMPT, *map(str, arguments)])


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


# -- the golden cases, by the flags that they come with


class Given(Pixels):
    latents: np.ndarray

    def encode(self, image):
        assert image.shape == self.shape and image.min() >= 0 and image.max() <= 1
        return self.latents


@pytest.mark.parametrize("commit", ["separate", "merged"])
@pytest.mark.parametrize("name", ["v1/case-1", "v1/case-2", "v2/case-1", "v2/case-2"])
def test_golden_cases_by_their_flags(name, commit, tmp_path, monkeypatch, capsys):
    folder = (GOLDEN / name).parent
    case, arrays = json.loads((GOLDEN / f"{name}.json").read_text()), np.load(GOLDEN / f"{name}.npz")
    spec = TextSpec("tokenizer.json", arrays["text_rows"].shape[1], case["text_length"], 1, "wan")
    schedule = Schedule(steps(len(case["first_steps"])), steps(len(case["steps"])))
    made = contract_of(case, folder / "checkpoint", text=spec, schedule=schedule)
    pixels = Given(made)
    pixels.shape = (case["height"], case["width"], 3)
    pixels.latents = arrays["image_latent"] if case["image"] else None
    rows = lambda tokens: arrays["text_rows"][: len(tokens)]  # noqa: E731
    ready = engines(published(folder / "checkpoint"), made, rows, pixels)
    monkeypatch.setattr("a2d.runtime.model.load_engine", loader(ready))
    path = write(tmp_path / "b.a2d", made, folder / "checkpoint" / "tokenizer" / "tokenizer.json")
    flags = [str(folder / flag) if flag.startswith("case-") else flag for flag in case["film"]]
    monkeypatch.chdir(tmp_path)
    assert main(["film", str(path), *flags, "--commit", commit]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {k: last[k] for k in ("event", "frames", "height", "width", "fps")} == {
        "event": "done", **{k: case[k] for k in ("frames", "height", "width", "fps")},
    }  # fmt: skip
    assert last["forwards"] == case[f"forwards_{commit}"]
    assert set(last["seconds"]) == {"text", "denoise", "commit", "pixels", "total"}
    np.testing.assert_allclose(np.load("out.npy"), arrays["latents"], atol=5e-5)
    saved = np.load("out.npz")
    assert saved["frames"].dtype == np.uint8 and saved["frames"].shape == arrays["frames"].shape
    assert saved["pixels"].shape == arrays["pixels"].shape
    np.testing.assert_array_equal(saved["frames"], np.rint(saved["pixels"] * 255))


# -- files


def test_the_text_encoder_is_gone_before_the_network_is_loaded(bundle, tmp_path, monkeypatch):
    """The two together are what would not fit."""
    told: list[tuple[str, str]] = []
    load, unload = Model.engine, Model.unload
    monkeypatch.setattr(Model, "engine", lambda self, graph: told.append(("load", graph)) or load(self, graph))
    monkeypatch.setattr(Model, "unload", lambda self, graph: told.append(("unload", graph)) or unload(self, graph))
    assert film(bundle, "--frames", 9, "--save", tmp_path / "a.npz") == 0
    assert told.index(("load", "text")) < told.index(("unload", "text")) < told.index(("load", "frames"))


@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_a_movie_has_all_frames_at_the_true_rate_and_says_how_it_was_made(bundle, tmp_path, ending):
    out = tmp_path / f"shot{ending}"
    assert film(bundle, "--frames", 9, "--seed", 5, "-o", out, "--save", tmp_path / "a.npz") == 0
    frames = np.load(tmp_path / "a.npz")["frames"]
    seen = decoded(out)
    assert len(seen) == 9 and seen[0].shape == (32, 48, 3)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(seen, frames, strict=True)) < 12
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 16 and stream.frames == 9
        said = json.loads(container.metadata["comment"])
    assert (said["seed"], said["prompt"], said["fps"], len(said["steps"])) == (5, PROMPT, 16.0, 4)
    assert len(said["manifest_sha256"]) == 64
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", f"shot{ending}", "tiny.a2d"]


def test_a_rate_of_television_is_written_as_a_fraction(bundle, tmp_path):
    assert film(bundle, "--frames", 5, "--fps", 23.976, "-o", tmp_path / "a.mp4") == 0
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(24000, 1001)


def test_a_folder_of_pictures_has_every_frame_without_loss(bundle, tmp_path, capsys):
    out = tmp_path / "frames"
    assert film(bundle, "--frames", 5, "-o", out, "--save", tmp_path / "a.npz") == 0
    frames = np.load(tmp_path / "a.npz")["frames"]
    assert sorted(p.name for p in out.iterdir()) == [*(f"{i:06}.png" for i in range(5)), "film.json"]
    for i, frame in enumerate(frames):
        with Image.open(out / f"{i:06}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), frame)
            assert json.loads(image.info["a2d"])["prompt"] == PROMPT
    # A shorter film takes the longer one's frames away; a folder of somebody else's is not touched.
    assert film(bundle, "--frames", 1, "-o", out) == 0
    assert sorted(p.name for p in out.iterdir()) == ["000000.png", "film.json"]
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "notes.txt").touch()
    capsys.readouterr()
    assert film(bundle, "--frames", 1, "-o", tmp_path / "else") == 2
    assert "holds notes.txt, which no film has written" in capsys.readouterr().err


def test_seconds_and_a_draft(bundle, tmp_path, capsys):
    assert film(bundle, "--seconds", 1, "-o", tmp_path / "a.mp4") == 0
    assert len(decoded(tmp_path / "a.mp4")) == 17  # 16 frames are asked for, and 17 are 1 + 4 k
    assert film(bundle, "--draft", "--frames", 5, "--json") == 0
    said = capsys.readouterr()
    last = json.loads(said.out.splitlines()[-1])
    assert (last["height"], last["width"], last["steps"]) == (16, 32, [1000.0])
    assert "a draft: the final film of this seed is another picture" in said.err
    assert film(bundle, "--preset", "draft", "--frames", 5, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["preset"] == last["preset"] == "draft"


def test_a_preset_is_a_row_of_the_bundle_and_what_is_asked_for_wins(bundle, capsys):
    def made(*arguments: object) -> dict[str, object]:
        assert film(bundle, "--preset", "wide", "--json", *arguments) == 0
        last = json.loads(capsys.readouterr().out.splitlines()[-1])
        return {name: last[name] for name in ("preset", "frames", "height", "width", "fps")}

    wide = {"preset": "wide", "frames": 1, "height": 16, "width": 64, "fps": 12.0}
    assert made() == wide
    assert made("--width", 32, "--seconds", 0.4) == wide | {"width": 32, "frames": 5}
    assert film(bundle, "--preset", "card", "--json") == 2
    said = capsys.readouterr()
    rows = [
        "a2d film: preset: got 'card', this bundle has",
        "  draft            a quick look",
        "  wide             a wide still",
    ]
    assert said.err.splitlines() == rows and not said.out
    assert film(bundle, "--preset", "wide", "--draft", "--json") == 2
    assert "got 'wide' and a draft, expected one of them" in capsys.readouterr().err


def test_a_board_of_another_shape_is_fitted_and_that_is_said(bundle, tmp_path, capsys):
    Image.new("RGB", (100, 100), (200, 30, 30)).save(tmp_path / "board.png")
    assert film(bundle, "--frames", 5, "--image", tmp_path / "board.png", "-o", tmp_path / "a.mp4") == 0
    said = capsys.readouterr().err
    assert "the picture is 100x100, the clip 48x32: scaled, with black bars" in said and "--fit crop fills" in said


def test_the_same_seed_gives_the_same_film(bundle, tmp_path):
    for name in ("a", "b"):
        assert film(bundle, "--frames", 9, "--seed", 3, "--latents", tmp_path / f"{name}.npy") == 0
    assert film(bundle, "--frames", 9, "--seed", 4, "--latents", tmp_path / "c.npy") == 0
    a, b, c = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.1


# -- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames", "20", "--json"], "frames: got 20, expected 1 + 4 k"),
        (["--size", "33x48", "--json"], "height: got 33, expected a multiple of 16 pixels: the nearest is 32"),
        (["--size", "big", "--json"], "got 'big', expected height and width like 480x832"),
        (["--size", "32x48", "--height", "32", "--json"], "--size and --height or --width: expected one of them"),
        ([], "nothing would be left of the film"),
        (["-o", "a.gif"], "got the ending '.gif', expected one of"),
        (["--noise", "none.npz", "--json"], "none.npz is no npz file of arrays"),
        (["--image", "none.png", "--json"], "cannot find an image at 'none.png'"),
        (["--window", "2", "--json"], "window: got 2 latent frames with a sink of 1, expected at least 4"),
    ],
)
def test_bad_input_is_an_error_and_leaves_nothing(bundle, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert film(bundle, *arguments) == 2
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.a2d"]


def test_a_bundle_of_words_does_not_film_and_one_of_film_does_not_talk(bundle, tmp_path, monkeypatch, capsys):
    import bundles

    words = bundles.write(tmp_path / "words.a2d")
    monkeypatch.setattr("a2d.runtime.model.load_engine", lambda *_, **__: object())
    monkeypatch.setattr("a2d.runtime.model.text_of", lambda _: None)
    assert film(words, "--json") == 2
    assert "decodes words and does not film" in capsys.readouterr().err
    assert main(["run", str(bundle), "--prompt", "hello"]) == 2
    assert "this bundle films, and decodes no words; use a2d film" in capsys.readouterr().err


# -- how it ends early


def test_a_velocity_that_is_no_number_ends_the_film_with_its_place(bundle, tmp_path, monkeypatch, capsys):
    _, ready = tiny(tmp_path / "other.a2d", window=6, sink=1)
    engine, count = ready("frames"), []
    script = engine._script

    def spoiled(feeds):
        count.append(1)
        made = dict(script(feeds))
        return made | {"velocity": made["velocity"] * np.nan} if len(count) == 8 else made

    engine._script = spoiled
    monkeypatch.setattr("a2d.runtime.model.load_engine", loader(ready))
    out = tmp_path / "a.mp4"
    assert film(bundle, "--frames", 33, "-o", out) == 2
    said = capsys.readouterr().err
    assert "block 1, step 2: the velocity is not finite" in said and "a.mp4 holds the first 9 frames" in said
    assert len(decoded(out)) == 9


def process(bundle: Path, *arguments: object, **more) -> subprocess.Popen:
    command = [
        sys.executable,
        str(TESTS / "film_bundles.py"),
        "film",
        str(bundle),
        "--prompt",
        PROMPT,
        *map(str, arguments),
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS, **more)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "frames"])
def test_ctrl_c_leaves_the_clip_so_far(bundle, tmp_path, name):
    out = tmp_path / name
    with process(bundle, "--frames", 161, "--json", "-o", out) as run:
        blocks = 0
        while blocks < 3:
            blocks += json.loads(run.stdout.readline())["event"] == "block"
        os.kill(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130 and "interrupted; " in said and "holds the first" in said
    frames = len(list(out.glob("0*.png"))) if out.is_dir() else len(decoded(out))
    assert frames >= 33 and f"the first {frames} frames" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "tiny.a2d"])


def test_a_kill_leaves_the_clip_so_far_under_a_hidden_name(bundle, tmp_path):
    with process(bundle, "--frames", 161, "--json", "-o", tmp_path / "a.mp4") as run:
        blocks = 0
        while blocks < 3:
            blocks += json.loads(run.stdout.readline())["event"] == "block"
        time.sleep(0.2)
        run.kill()
    (part,) = tmp_path.glob(".a.mp4.*.partial")
    assert len(decoded(part)) >= 21


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_full_disk_in_the_middle_of_a_clip_leaves_what_was_written(bundle, tmp_path, name):
    """A limit on the size of files stands for the disk: what is written beyond it fails in the same way."""
    limit = 30_000 if name == "a.mp4" else 2_000
    out = tmp_path / name

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    size = ["--size", "64x96"] if name == "a.mp4" else ["--size", "128x192"]
    with process(bundle, "--frames", 161, *size, "-o", out, preexec_fn=full) as run:
        _, said = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, said
    if name == "a.mp4":
        seen = decoded(out)
        assert 0 < len(seen) < 161 and "File too large" in said and f"holds the first {len(seen)} frames" in said
    else:
        assert not list(out.glob("*.partial")) and "Nothing half written" in said


# -- the terminal


def test_a_picture_on_a_terminal_keeps_its_shape_and_colours():
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[:16], frame[16:] = (255, 0, 0), (0, 0, 255)
    drawn = picture(frame, 24, 20).split("\n")
    assert len(drawn) == 8 and drawn[0].count("\u2580") == 24
    assert "\x1b[38;2;255;0;0m" in drawn[0] and "\x1b[48;2;0;0;255m" in drawn[-1]


def test_previews_and_a_live_line(bundle, tmp_path, monkeypatch, capsys):
    assert film(bundle, "--frames", 9, "--preview") == 0
    assert capsys.readouterr().err.count("\u2580") > 100
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert film(bundle, "--frames", 21, "-o", tmp_path / "a.mp4") == 0
    said = capsys.readouterr().err
    assert "block 1 of 2, step 1 of 4" in said and "fps: denoise" in said and "21 frames at 16 a second" in said
