"""`a2d tune`: a curve over settings, the setting of choice, and the profile that loading uses."""

from __future__ import annotations

import json
import shutil

import pytest

import a2d
from a2d.__main__ import main
from a2d.calibration.collect import samples
from a2d.calibration.tune.choice import chosen, frontier, lines
from a2d.calibration.tune.sweep import Curve, Point, Setting, settings, swept
from a2d.engines.errors import BundleError, RequestError
from a2d.runtime.decode.options import Options


@pytest.fixture
def bundle(floats, tmp_path):
    return shutil.copytree(floats, tmp_path / "mine.a2d")


def point(accuracy: float, seconds: float, setting: Setting | None = None) -> Point:
    made = Point(setting or Setting(int(1000 * seconds)), seconds=[seconds])
    made.right.add(round(100 * accuracy), 100)
    return made


def test_the_fastest_that_is_right_enough_is_taken():
    points = (point(0.9, 0.8), point(0.9, 0.4), point(0.85, 0.2), point(0.2, 0.1), point(0.1, 0.3))
    curve = Curve(points, "right", 100, (), False)
    assert chosen(curve, 0.0) is points[1] and chosen(curve, 0.06) is points[2] and chosen(curve, 1) is points[3]
    assert frontier(points) == [points[3], points[2], points[1]]
    drawn = list(lines(curve, points[1]))
    assert [line[0] for line in drawn[1:]] == [" ", " ", " ", "*", " "] and "8.0x" in drawn[1]
    assert sum("beaten" in line for line in drawn) == 2


def test_settings_halve_and_the_slow_one_is_always_there():
    assert [s.name for s in settings(8, (), ())][:4] == ["8 steps", "4 steps", "2 steps", "1 step"]
    assert [s.name for s in settings(8, (2,), ())] == ["8 steps", "2 steps"]
    assert [s.name for s in settings(8, (), (0.5, 0.9))] == ["8 steps", "threshold 0.9", "threshold 0.5"]
    for block, steps, thresholds, said in ((1, (), (), "one token per forward"), (8, (9,), (), "expected 1 to the"),
                                           (8, (), (1.5,), "expected 0 to 1")):  # fmt: skip
        with pytest.raises(RequestError, match=said):
            settings(block, steps, thresholds)


def test_the_profile_is_what_loading_uses_until_it_is_reset(bundle, data, capsys, tmp_path):
    report = tmp_path / "curve.html"
    flags = ["--data", str(data), "--max-tokens", "12", "--threads", "1"]
    assert main(["tune", str(bundle), *flags, "--report", str(report), "--within", "1"]) == 0
    out = capsys.readouterr().out
    assert "accuracy against time" in out and "answers that are those of one token a step" in out
    model = a2d.load(bundle)
    fastest = model.profile
    assert fastest is not None and model.manifest.decode.steps == fastest.steps
    assert model.bundle.manifest.decode.steps != fastest.steps or fastest.threshold is not None
    asked = {"steps": fastest.steps} | ({} if fastest.threshold is None else {"threshold": fastest.threshold})
    assert model.generate([5, 6, 7]).tokens == model.generate([5, 6, 7], **asked).tokens
    page = report.read_text()
    assert page.count("<circle") == len(settings(model.manifest.decode.block_size, (), ())) and "taken" in page
    assert main(["run", str(bundle), "--token-ids", "5,6,7", "--max-tokens", "8"]) == 0
    assert f"profile.json (tuned {fastest.made} on 6 of data.jsonl)" in capsys.readouterr().err
    assert main(["tune", str(bundle), "--reset"]) == 0
    assert a2d.load(bundle).profile is None


def test_truths_decide_where_every_sample_has_one(bundle, tmp_path, capsys):
    model = a2d.load(bundle)
    said = model.generate([5, 6, 7], steps=1, max_tokens=8)
    rows = [{"tokens": [5, 6, 7], "truth": "x"}, {"tokens": [8, 9], "truth": "y"}]
    path = tmp_path / "truths.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert said.text == ""  # no tokenizer: nothing is read, so that nothing is right
    found = swept(model, samples.load(path, None, 2, 0), Options(max_tokens=8), [Setting(4), Setting(1)], quiet=True)
    assert found.measure == "answers that are the truth" and [p.accuracy for p in found.points] == [0.0, 0.0]
    assert main(["tune", str(bundle), "--data", str(path), "--dry-run", "--json", "--max-tokens", "8"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 2 and not (bundle / "profile.json").exists()


def test_an_interruption_leaves_the_curve_so_far_and_no_profile(bundle, data, monkeypatch, capsys):
    import a2d.calibration.tune.sweep as sweeping

    real, calls = sweeping._count, []

    def interrupted(*arguments):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        real(*arguments)

    monkeypatch.setattr(sweeping, "_count", interrupted)
    assert main(["tune", str(bundle), "--data", str(data), "--max-tokens", "8"]) == 130
    assert "interrupted: the samples so far" in capsys.readouterr().out and not (bundle / "profile.json").exists()


@pytest.mark.parametrize(("flags", "said"), [
    (["--steps", "2"], "name what to try with --try-steps"),
    (["--budget", "1s"], "--budget: this is what is chosen here"),
    (["--within", "2"], "--within: got 2.0"),
    (["--try-steps", "a"], "expected numbers by comma"),
    (["--try-steps", "99"], "expected 1 to the block size"),
    (["--data", "nowhere.jsonl"], "cannot be read"),
])  # fmt: skip
def test_bad_input_is_said_before_anything_is_decoded(floats, flags, said, capsys):
    assert main(["tune", str(floats), *flags]) == 2
    assert said in capsys.readouterr().err and not (floats / "profile.json").exists()


def test_a_profile_of_another_export_says_nothing_and_a_damaged_one_is_an_error(bundle, data):
    assert main(["tune", str(bundle), "--data", str(data), "--max-tokens", "8", "--try-steps", "1"]) == 0
    path = bundle / "profile.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"manifest": "0" * 64}))
    assert a2d.load(bundle).profile is None
    for text in ("{", json.dumps(kept | {"steps": 0}), json.dumps(kept | {"more": 1})):
        path.write_text(text)
        with pytest.raises(BundleError, match="is no profile; remove it, or make it again"):
            a2d.load(bundle)
