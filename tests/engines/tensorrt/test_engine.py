"""The TensorRT engine beyond the contract: profiles, waiting, captured graphs, kept kernels, and what is refused."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import fake_cuda
import numpy as np
import pytest
from onnx import TensorProto, helper

from a2d.engines import Signature, load_engine
from a2d.engines.cuda import Device
from a2d.engines.errors import EngineError
from a2d.engines.size_profile import Profile, Range
from a2d.engines.tensorrt.engine import TensorRTEngine
from a2d.engines.tensorrt.sidecar import Card, card_of

PORT = Signature("float32", ("rows", 4))

PROFILES = (Profile("step", {"rows": Range(1, 8, 16)}), Profile("prefill", {"rows": Range(1, 128, 136)}))


def double() -> bytes:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 4]) for name in ("x", "twice")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["twice"])], "g", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


CARD = Card("tensorrt", "11.4.0", (89,), {"x": PORT}, {"twice": PORT}, PROFILES, {"fp32": 1}, {}, 0.5)


def made(folder: Path, flavour: str = "tensorrt", driver: fake_cuda.Driver | None = None) -> TensorRTEngine:
    path = folder / "double.engine"
    path.write_bytes(double())
    card = replace(CARD, library=flavour)
    card.write(path)
    driver = driver or fake_cuda.Driver()
    return TensorRTEngine(fake_cuda.library(driver, flavour), path, card, Device(driver, 0))


def rows(count: int) -> np.ndarray:
    return np.arange(4 * count, dtype=np.float32).reshape(count, 4)


def test_a_run_that_keeps_everything_does_not_wait(tmp_path):
    driver = fake_cuda.Driver()
    engine = made(tmp_path, driver=driver)
    kept = engine.run({"x": rows(3)}, keep=["twice"])["twice"]
    before = driver.waits
    for _ in range(5):
        kept = engine.run({"x": kept}, keep=["twice"])["twice"]
    assert driver.waits == before
    assert np.array_equal(kept.numpy(), 64 * rows(3)) and driver.waits == before + 1


def test_each_width_takes_the_first_profile_that_fits(tmp_path):
    engine = made(tmp_path)
    for count, profile in ((1, 0), (16, 0), (17, 1), (136, 1)):
        assert np.array_equal(engine.run({"x": rows(count)})["twice"], 2 * rows(count))
        assert engine._contexts[profile].profile == profile
    assert len(engine._contexts) == 2


def test_a_width_that_no_profile_has_says_what_was_built(tmp_path):
    with pytest.raises(
        EngineError, match=r"got rows 137, .* step: rows 1 to 16; prefill: rows 1 to 136.*the setting context"
    ):
        made(tmp_path).run({"x": rows(137)})


def test_tensorrt_captures_a_run_that_comes_again(tmp_path):
    driver = fake_cuda.Driver()
    engine = made(tmp_path, driver=driver)
    given = engine.memory.uploaded(rows(4))
    for turn in range(6):
        kept = engine.run({"x": given}, keep=["twice"])["twice"]
        assert np.array_equal(kept.numpy(), 2 * rows(4))
        del kept  # its memory comes round again
        gc.collect()
        assert driver.launches == max(0, turn)
    given = engine.memory.uploaded(rows(4) + 1)
    assert np.array_equal(engine.run({"x": given})["twice"], 2 * rows(4) + 2)  # another place is another run


def test_tensorrt_rtx_captures_by_itself_and_keeps_what_it_compiled(tmp_path):
    driver = fake_cuda.Driver()
    engine = made(tmp_path, "tensorrt_rtx", driver)
    for _ in range(3):
        engine.run({"x": rows(4)})
    assert driver.launches == 0
    kernels = tmp_path / "double.kernels"
    del engine
    gc.collect()
    assert kernels.read_bytes() == b"+"
    made(tmp_path, "tensorrt_rtx")
    gc.collect()
    assert kernels.read_bytes() == b"++"


def test_a_folder_that_cannot_be_written_costs_only_the_kernels(tmp_path, monkeypatch):
    engine = made(tmp_path, "tensorrt_rtx")
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("read-only")))
    del engine
    gc.collect()
    assert not list(tmp_path.glob("*.kernels"))


# -- loading


def test_the_card_says_what_the_engine_cannot(tmp_path):
    CARD.write(tmp_path / "double.engine")
    assert Card.read(tmp_path / "double.engine") == CARD


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "10.3.0"}, r"built by tensorrt 10\.3\.0, here is tensorrt 11\.4\.0.*a2d build"),
        ({"library": "tensorrt_rtx"}, "built by tensorrt_rtx 11.4.0, here is tensorrt"),
        ({"sms": (86, 120)}, "built for sm86, sm120, Imaginary GPU is sm89"),
        ({"version": "1", "sms": (90,)}, "built by tensorrt 1, .* and was built for sm90"),
    ],
)
def test_an_engine_of_elsewhere_is_refused_before_it_is_touched(tmp_path, monkeypatch, changes, message):
    fake_cuda.install(monkeypatch, "tensorrt")
    path = tmp_path / "double.engine"
    replace(CARD, **changes).write(path)  # there is no engine: nothing has looked
    with pytest.raises(EngineError, match=message):
        load_engine("tensorrt", path, device="cuda")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read.*build it again"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"schema": 1}', "cannot be read"),
        ('{"schema": 2}', "schema 2, this a2d reads 1; update a2d"),
    ],
)
def test_a_card_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "double.engine"
    if text is not None:
        card_of(path).write_text(text)
    with pytest.raises(EngineError, match=message):
        Card.read(path)


def test_a_corrupt_engine_gives_the_first_cause(tmp_path, monkeypatch):
    fake_cuda.install(monkeypatch, "tensorrt")
    path = tmp_path / "double.engine"
    CARD.write(path)
    path.write_bytes(double()[:40])
    with pytest.raises(EngineError, match=r"TensorRT 11.* does not take it: engine is corrupt.*a2d build"):
        load_engine("tensorrt", path, device="cuda")
    path.unlink()
    with pytest.raises(EngineError, match="No such file.*a2d build"):
        load_engine("tensorrt", path, device="cuda")


def test_no_memory_for_a_context(tmp_path, monkeypatch):
    engine = made(tmp_path)
    monkeypatch.setattr(engine._kernels, "context", lambda: None)
    with pytest.raises(
        EngineError, match=r"no execution context.*bytes of device memory are free.*the setting context"
    ):
        engine.run({"x": rows(1)})


def test_a_gpu_that_fills_up_while_it_runs(tmp_path):
    engine = made(tmp_path, driver=fake_cuda.Driver(total=3000))
    with pytest.raises(EngineError, match="the GPU is out of memory.*Lower the setting max_tokens"):
        for _ in range(9):
            engine.run({"x": rows(120)})
