"""ONNX Runtime in particular: inputs are bound where they lie, outputs stay where they were made, threads sleep."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from a2d.engines import load_engine, onnxruntime
from a2d.engines.errors import EngineError


def save(path: Path, element: int, kind: str = "Add") -> Path:
    """A graph `[1, 2, rows, 4]`, `[1, 2, rows, 4]` to their sum."""
    a, b, out = (helper.make_tensor_value_info(name, element, [1, 2, "rows", 4]) for name in ("past", "new", "all"))
    graph = helper.make_graph([helper.make_node(kind, ["past", "new"], ["all"])], "g", [a, b], [out])
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
    return path


@pytest.fixture
def engine(tmp_path):
    return load_engine("onnxruntime", save(tmp_path / "g.onnx", TensorProto.FLOAT), threads=1)


class Watched:
    """An IO binding that notes the addresses it is given."""

    def __init__(self, binding) -> None:
        self._binding = binding
        self.addresses: dict[str, list[int]] = {}

    def bind_input(self, name, device, number, element, shape, address):
        self.addresses.setdefault(name, []).append(address)
        self._binding.bind_input(name, device, number, element, shape, address)

    def __getattr__(self, name):
        return getattr(self._binding, name)


@pytest.fixture
def bound(engine):
    """Addresses that the engine's inputs have been bound to, by name."""
    own, run = engine._threads, engine._session.run_with_iobinding
    own.binding = Watched(own.binding)
    engine._session = SimpleNamespace(run_with_iobinding=lambda binding: run(binding._binding))
    return own.binding.addresses


def test_the_cache_is_bound_by_address_and_never_copied(engine, bound):
    past = engine.memory.zeros((1, 2, 8, 4), "float32")
    new = np.ones((1, 2, 8, 4), np.float32)
    for value in (3, 5):  # appending to the cache is writing into the same memory
        past.numpy()[:] = value
        assert (engine.run({"past": past, "new": new})["all"] == value + 1).all()
    assert bound == {"past": [past.numpy().ctypes.data], "new": [new.ctypes.data]}  # and bound once


def test_an_input_at_another_place_or_of_another_shape_is_bound_again(engine, bound):
    memory = np.ones((1, 2, 8, 4), np.float32)
    other = memory + 1
    for past in (memory, other, memory, memory[:, :, :8], memory.reshape(1, 2, 8, 4)):
        assert (engine.run({"past": past, "new": memory})["all"] == past + 1).all()
    assert bound["past"] == [memory.ctypes.data, other.ctypes.data, memory.ctypes.data]
    half = np.ascontiguousarray(memory[:, :, :4])
    assert engine.run({"past": half, "new": half})["all"].shape == half.shape
    assert bound["past"][-1] == bound["new"][-1] == half.ctypes.data


def test_an_ill_feed_at_a_bound_place_is_refused(engine, bound):
    memory = np.ones((1, 2, 8, 4), np.float32)
    engine.run({"past": memory, "new": memory})
    with pytest.raises(EngineError, match="'past' is int32"):
        engine.run({"past": memory.view(np.int32), "new": memory})
    with pytest.raises(EngineError, match="'past' has shape"):
        engine.run({"past": memory.reshape(2, 8, 4), "new": memory})
    assert (engine.run({"past": memory, "new": memory})["all"] == 2).all()


def test_results_outlive_later_runs(engine):
    x = np.ones((1, 2, 3, 4), np.float32)
    first = engine.run({"past": x, "new": x})["all"]
    second = engine.run({"past": x * 5, "new": x})["all"]
    assert (first == 2).all() and (second == 6).all()


def test_a_kept_output_is_bound_where_it_was_made(engine, bound):
    x = np.ones((1, 2, 3, 4), np.float32)
    kept = engine.run({"past": x, "new": x}, keep=["all"])["all"]
    engine.run({"past": kept, "new": x})
    assert bound["past"][-1] == kept.numpy().ctypes.data


def test_a_strided_view_of_bound_memory_is_not_taken_for_it(engine):
    wide = np.arange(64, dtype=np.float32).reshape(1, 2, 4, 8)
    narrow, view = wide.reshape(-1)[:32].reshape(1, 2, 4, 4), wide[..., ::2]
    assert narrow.ctypes.data == view.ctypes.data and narrow.shape == view.shape
    for past in (narrow, view, narrow):
        assert np.array_equal(engine.run({"past": past, "new": narrow})["all"], past + narrow)


def test_strided_inputs_are_copied_and_live_until_the_run_is_over(engine, bound):
    wide = np.arange(64, dtype=np.float32).reshape(1, 2, 4, 8)
    for _ in range(2):
        made = engine.run({"past": wide[..., ::2], "new": wide[..., 1::2]})["all"]
        assert np.array_equal(made, wide[..., ::2] + wide[..., 1::2])
    assert wide.ctypes.data not in bound["past"] and len(bound["past"]) == 2


@pytest.fixture
def options(monkeypatch):
    """The session options of every engine loaded meanwhile."""
    seen = []
    real = ort.InferenceSession

    def session(path, options, providers):
        seen.append((options, providers))
        return real(path, options, providers=providers)

    monkeypatch.setattr(onnxruntime.ort, "InferenceSession", session)
    return seen


@pytest.mark.parametrize(("chosen", "entry"), [({}, "0"), ({"spinning": True}, "1"), ({"spinning": False}, "0")])
def test_threads_sleep_unless_asked_to_spin(tmp_path, options, chosen, entry):
    load_engine("onnxruntime", save(tmp_path / "g.onnx", TensorProto.FLOAT), **chosen)
    ((made, providers),) = options
    assert made.get_session_config_entry("session.intra_op.allow_spinning") == entry
    assert providers == ["CPUExecutionProvider"]


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_threads_are_those_asked_for(tmp_path, options, threads):
    load_engine("onnxruntime", save(tmp_path / "g.onnx", TensorProto.FLOAT), threads=threads)
    assert options[0][0].intra_op_num_threads == (threads or 0)  # 0 is ONNX Runtime's own choice


def test_half_precision_runs_on_the_cpu(tmp_path):
    engine = load_engine("onnxruntime", save(tmp_path / "g.onnx", TensorProto.FLOAT16), precision="fp16")
    x = np.full((1, 2, 3, 4), 1.5, np.float16)
    made = engine.run({"past": x, "new": x})["all"]
    assert made.dtype == np.float16 and (made == 3).all()


def test_types_without_a_name_in_numpy_are_refused(tmp_path):
    with pytest.raises(EngineError, match=r"past is tensor\(int32\).*known types are tensor\(float\)"):
        load_engine("onnxruntime", save(tmp_path / "g.onnx", TensorProto.INT32))


def test_the_description_names_version_and_provider(engine):
    assert ort.__version__ in engine.describe and "CPUExecutionProvider" in engine.describe
