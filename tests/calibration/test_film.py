"""Calibration of bundles that film: strata of the real loop, errors of single forwards, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import exported
from PIL import Image

from a2d.calibration.cli.calibrate import main as calibrate
from a2d.calibration.collect.observer import ObservedModel
from a2d.calibration.film import causal
from a2d.calibration.film import job as film_job
from a2d.calibration.film.job import FilmJob, calibrate_film
from a2d.calibration.film.shots import Shot, built_in, load_prompts
from a2d.calibration.source.source import Source
from a2d.engines.errors import ParityError, RequestError
from a2d.runtime.bundle.files import Bundle
from a2d.runtime.deploy.placement import Placement
from a2d.runtime.model import Model

CHECKPOINT = Path(__file__).parents[1] / "data" / "golden-frames" / "v1" / "checkpoint"
FLAGS = ["--block-frames", "3", "--steps-list", "1000,750,500,250", "--size", "64x64", "--quiet"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "bundle"
    exported(CHECKPOINT, path, *FLAGS)
    return path


@pytest.fixture(scope="module")
def quantized(bundle: Path) -> Path:
    calibrate_film(FilmJob(bundle, bundle.parent / "quantized", ("int8", "fp8"), shots=3, quiet=True))
    return bundle.parent / "quantized"


def model_of(path: Path, precision: str = "fp32") -> Model:
    return Model(Bundle.open(path), Placement("onnxruntime", "cpu", precision, threads=1))


def test_every_timestep_and_the_clean_commit_are_strata_of_their_own(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "copy")
    model = ObservedModel.of(Bundle.open(bundle), tmp_path / "copy", ("text", "frames"))
    observer = model.watch({0.0: {}})
    causal.show(model, built_in(1)[0])
    seen = observer.seen[0.0]
    assert set(seen["layers.0.qkv_weight"]) == {"t 1000", "t 937.5", "t 833.333", "t 625", "commit"}
    assert set(seen["text.layers.0.gate_up"]) == {"prompt"}
    counts = {name: h.count for name, h in seen["layers.0.qkv_weight"].items()}
    assert counts["t 1000"] * 2 == counts["commit"] * 3  # the last of three blocks is not committed


def test_one_forward_errs_as_little_as_eight_bits_allow(quantized):
    """Bars: measured at 2 % and 7 % with these weights; a broken scale gives far more."""
    variants = Bundle.open(quantized).manifest.variants
    for name, bar in (("int8", 0.05), ("fp8", 0.12)):
        rows = {row.check.split()[0]: row for row in variants[name].parity}
        assert set(rows) == {"velocity", "keys", "values"}
        assert all(0 < row.max_error < bar for row in rows.values())


def test_the_file_is_smaller_and_every_weight_of_a_step_is_counted(quantized):
    variants = Bundle.open(quantized).manifest.variants
    assert variants["int8"].weights_bytes < variants["fp32"].weights_bytes
    assert variants["int8"].step_bytes < 0.6 * variants["fp32"].step_bytes
    Bundle.open(quantized).check()


def test_a_clip_in_int8_is_close_to_the_floats_clip(quantized):
    """Errors grow over steps and blocks; the first block still has to look alike."""
    films = {}
    for name in ("fp32", "int8"):
        model = model_of(quantized, name)
        options = causal.sized(model.studio.contract, Shot("a red ball", 5))
        films[name] = next(model.film("a red ball", options=options)).pixels
    assert float(np.abs(films["fp32"] - films["int8"]).mean()) < 0.05


def test_the_command_calibrates_a_bundle_that_films(bundle, tmp_path, capsys):
    out = tmp_path / "out"
    assert calibrate(["--precision", "int8", "--samples", "1", str(bundle), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "velocity of the first block" in said and "filming 1 shots: about" in said
    assert set(Bundle.open(out).manifest.variants) == {"fp32", "int8"}
    assert calibrate(["--precision", "int4", str(bundle), "-o", str(tmp_path / "other")]) == 2


def test_a_precision_that_loses_too_much_is_not_written(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(film_job, "LOSS", 1e-4)
    with pytest.raises(ParityError, match="one forward"):
        calibrate_film(FilmJob(bundle, tmp_path / "out", ("int8",), shots=1, quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_the_loss_sees_a_weight_that_is_wrong(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "broken")
    graphs = Bundle.open(bundle).manifest.variants["fp32"].graphs
    at = Source(bundle, dict(graphs)).tensors["layers.1.qkv_weight"]
    with (tmp_path / "broken" / at.location).open("r+b") as stream:
        stream.seek(at.offset)
        stream.write(np.zeros(at.shape.numpy(), np.float32).tobytes())
    sides = [model_of(folder) for folder in (bundle, tmp_path / "broken")]
    found = {loss.kind.split()[0]: loss.largest for loss in causal.losses(*sides, built_in(1))}
    assert found["velocity"] > 0.15
    same = {loss.kind.split()[0]: loss.largest for loss in causal.losses(sides[0], sides[0], built_in(1))}
    assert same == {"velocity": 0.0, "keys": 0.0, "values": 0.0}


def test_a_shot_may_begin_with_a_picture(bundle, tmp_path):
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "board.png")
    (tmp_path / "shots.jsonl").write_text(
        '{"prompt": "a red ball", "image": "board.png"}\n{"prompt": "b", "image": ""}'
    )
    with pytest.raises(RequestError, match="line 2: got image ''"):
        load_prompts(tmp_path / "shots.jsonl", 8)
    (tmp_path / "shots.jsonl").write_text('{"prompt": "a red ball", "image": "board.png"}')
    (shot,) = load_prompts(tmp_path / "shots.jsonl", 8)
    assert shot.image == tmp_path / "board.png"
    assert {loss.largest for loss in causal.losses(model_of(bundle), model_of(bundle), [shot])} == {0.0}


def test_precisions_that_do_not_fit_are_refused_with_the_table(bundle, tmp_path):
    with pytest.raises(RequestError, match="fp8"):
        calibrate_film(FilmJob(bundle, tmp_path / "out", ("int4-weight",), quiet=True))


def test_prompts_of_a_file_are_read_as_lines_or_as_json(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes('\ufeffa red ball\r\n\r\n{"prompt": "a blue one"}\r\n'.encode())
    assert load_prompts(path, 8) == [Shot("a red ball", 0), Shot("a blue one", 1)]
    path.write_text('{"prompt": ""}')
    with pytest.raises(RequestError, match="line 1"):
        load_prompts(path, 8)
    path.write_text("\n")
    with pytest.raises(RequestError, match="no prompt"):
        load_prompts(path, 8)
