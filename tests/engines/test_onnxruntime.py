"""ONNX Runtime in particular: inputs are bound where they lie, outputs stay where they were made, threads sleep."""

from __future__ import annotations

from pathlib import Path

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
        self.addresses: dict[str, int] = {}

    def bind_input(self, name, device, number, element, shape, address):
        self.addresses[name] = address
        self._binding.bind_input(name, device, number, element, shape, address)

    def __getattr__(self, name):
        return getattr(self._binding, name)


@pytest.fixture
def bindings(engine, monkeypatch):
    made = []

    class Session:
        def io_binding(self):
            made.append(Watched(real.io_binding()))
            return made[-1]

        def run_with_iobinding(self, binding):
            real.run_with_iobinding(binding._binding)

    real = engine._session
    monkeypatch.setattr(engine, "_session", Session())
    return made


def test_the_cache_is_bound_by_address_and_never_copied(engine, bindings):
    past = engine.memory.zeros((1, 2, 8, 4), "float32")
    new = np.ones((1, 2, 8, 4), np.float32)
    for value in (3, 5):  # appending to the cache is writing into the same memory
        past.numpy()[:] = value
        assert (engine.run({"past": past, "new": new})["all"] == value + 1).all()
    addresses = [past.numpy().ctypes.data, new.ctypes.data]
    assert [list(binding.addresses.values()) for binding in bindings] == [addresses] * 2


def test_a_kept_output_is_bound_where_it_was_made(engine, bindings):
    x = np.ones((1, 2, 3, 4), np.float32)
    kept = engine.run({"past": x, "new": x}, keep=["all"])["all"]
    engine.run({"past": kept, "new": x})
    assert bindings[1].addresses["past"] == kept.numpy().ctypes.data


def test_strided_inputs_are_copied_and_live_until_the_run_is_over(engine, bindings):
    wide = np.arange(64, dtype=np.float32).reshape(1, 2, 4, 8)
    made = engine.run({"past": wide[..., ::2], "new": wide[..., 1::2]})["all"]
    assert np.array_equal(made, wide[..., ::2] + wide[..., 1::2])
    assert wide.ctypes.data not in bindings[0].addresses.values()


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
