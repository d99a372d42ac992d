"""`a2d bench` of bundles that film: parts that add up, and a floor that is counted as it says."""

from __future__ import annotations

import json

import pytest
from film_bundles import WEIGHT, loader, tiny

from a2d.__main__ import main


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    path, ready = tiny(tmp_path / "tiny.a2d", window=6, sink=1)
    monkeypatch.setattr("a2d.runtime.model.load_engine", loader(ready))
    return path


def test_parts_and_floor(bundle, capsys):
    assert main(["bench", str(bundle), "--frames", "25", "--repeats", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["frames"], found["forwards"]) == (25, 4 * 3 + 2)
    assert 0 < found["end_to_end_fps"] < min(found[f"{part}_fps"] for part in ("denoise", "commit", "pixels"))
    assert 0 <= found["python_share"] < 1 and found["overlap"] > 0
    # The last block has 1 latent frame of 6 rows, and sees 5 others; 2 layers of 2 heads of 12.
    rows, seen = 6, 5 * 6
    width = 2 * 12 * 2
    assert (
        found["forward_flops"] == 2 * WEIGHT.elements * rows + 4 * rows * (seen + rows) * width + 4 * rows * 32 * width
    )
    assert found["forward_bytes"] == 900 + 2 * 2 * 2 * 12 * seen * 4
    floors = {
        "bytes": found["forward_bytes"] / found["read_bandwidth"],
        "flops": found["forward_flops"] / found["flops_rate"],
    }
    assert found["bound"] == max(floors, key=floors.get)
    assert found["floor_ms"] == pytest.approx(1e3 * max(floors.values()))


def test_words_for_people_and_refusals(bundle, capsys):
    assert main(["bench", str(bundle), "--frames", "9", "--repeats", "1"]) == 0
    said = capsys.readouterr().out
    lines = ("9 frames of 32x48", "VAE alone", "commits beside pixels", "the floor is bound by")
    assert [line for line in lines if line not in said] == []
    assert main(["bench", str(bundle), "--against", "torch"]) == 2
    assert "measured by itself" in capsys.readouterr().err
