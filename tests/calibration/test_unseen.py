"""A model that sees, calibrated on samples in which nothing is seen: told, and the vision tower stays as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from a2d.calibration.job import Job, calibrate
from a2d.calibration.quantize.recipes import recipes
from a2d.runtime.bundle.files import Bundle


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A bundle of a tiny vision-language model without words."""
    import vl_published

    from a2d.export.decode_contract import Flags
    from a2d.export.job import Job as Export
    from a2d.export.job import export

    folder = tmp_path_factory.mktemp("seeing")
    vl_published.fast_dvlm(folder / "ck")
    flags = Flags.of(stop_token_ids=("2",), mask_token_id="94", block_size=8)
    export(Export(folder / "ck", folder / "vl.a2d", flags=flags, quiet=True, decode_parity=False, parity="own"))
    return folder / "vl.a2d"


def calibrated(seeing, folder, row):
    """Layers of int8 by name, and what was said, for a calibration on that row and one of words."""
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(folder / "a.png")
    rows = [{"tokens": [5, 6, 7, 8, 9]}, row]
    (folder / "d.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    said: list[str] = []
    out = folder / "q.a2d"
    calibrate(Job(seeing, out, recipes("int8"), data=folder / "d.jsonl", quiet=True), said.append)
    layers = json.loads((out / "calibration.json").read_text())["recipes"]["int8"]["layers"]
    return {layer["layer"]: layer["form"] for layer in layers}, "\n".join(said)


def of_tower(layers):
    return {form for name, form in layers.items() if name.startswith("vision.")}


def test_a_tower_that_saw_nothing_stays_high_and_that_is_told(seeing, tmp_path):
    layers, said = calibrated(seeing, tmp_path, {"tokens": [9, 8, 7]})
    assert of_tower(layers) == {"high"} and "warning: no sample has a picture" in said


def test_a_tower_that_saw_a_picture_is_quantized(seeing, tmp_path):
    picture = Bundle.open(seeing).manifest.vision.image_token_id
    layers, said = calibrated(seeing, tmp_path, {"tokens": [5, picture, 6], "images": ["a.png"]})
    assert "static" in of_tower(layers) and "not seen" not in said
