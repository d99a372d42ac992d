"""ONNX Runtime in particular: inputs are read where they lie, outputs stay where they were made, threads sleep."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
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


@pytest.fixture
def taken(engine):
    """Addresses of what ONNX Runtime has been given, by name, a dict for each run."""
    seen, real = [], engine._session

    def run(outputs, feeds):
        seen.append({name: array.ctypes.data for name, array in feeds.items()})
        return real.run(outputs, feeds)

    engine._session = SimpleNamespace(run=run)
    return seen


def test_the_cache_is_read_where_it_lies(engine, taken):
    past = engine.memory.zeros((1, 2, 8, 4), "float32")
    new = np.ones((1, 2, 8, 4), np.float32)
    for value in (3, 5):  # appending to the cache is writing into the same memory
        past.numpy()[:] = value
        assert (engine.run({"past": past, "new": new})["all"] == value + 1).all()
    assert taken == [{"past": past.numpy().ctypes.data, "new": new.ctypes.data}] * 2


def test_an_input_of_half_a_gigabyte_costs_nothing_to_pass(tmp_path):
    """ONNX Runtime itself does not copy it: the process grows by less than a tenth of it."""
    resource = pytest.importorskip("resource")
    big = np.zeros((1, 2, 1 << 26, 1), np.float32)
    first = helper.make_tensor_value_info("past", TensorProto.FLOAT, [1, 2, "rows", 1])
    size = helper.make_tensor_value_info("all", TensorProto.INT64, [4])
    graph = helper.make_graph([helper.make_node("Shape", ["past"], ["all"])], "g", [first], [size])
    opset = [helper.make_opsetid("", 17)]
    (tmp_path / "g.onnx").write_bytes(helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())
    engine = load_engine("onnxruntime", tmp_path / "g.onnx", threads=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert engine.run({"past": big})["all"].tolist() == list(big.shape)
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < big.nbytes / 10


def test_ill_feeds_are_refused_between_good_ones(engine):
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


def test_a_kept_output_is_read_where_it_was_made(engine, taken):
    x = np.ones((1, 2, 3, 4), np.float32)
    kept = engine.run({"past": x, "new": x}, keep=["all"])["all"]
    engine.run({"past": kept, "new": x})
    assert taken[-1]["past"] == kept.numpy().ctypes.data


def test_strided_and_unaligned_inputs_are_copied(engine, taken):
    wide = np.arange(64, dtype=np.float32).reshape(1, 2, 4, 8)
    made = engine.run({"past": wide[..., ::2], "new": wide[..., 1::2]})["all"]
    assert np.array_equal(made, wide[..., ::2] + wide[..., 1::2])
    odd = np.zeros(32 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(1, 2, 4, 4)
    odd[:] = 7
    assert (engine.run({"past": odd, "new": odd})["all"] == 14).all()
    assert wide.ctypes.data not in taken[0].values() and odd.ctypes.data not in taken[1].values()


@pytest.fixture
def options(monkeypatch):
    """The session options of every engine loaded meanwhile."""
    seen = []
    real = ort.InferenceSession

    def session(path, options, providers, **more):
        seen.append((options, providers))
        return real(path, options, providers=providers, **more)

    monkeypatch.setattr(onnxruntime.ort, "InferenceSession", session)
    return seen


@pytest.mark.parametrize(("chosen", "entry"), [({}, "0"), ({"spinning": True}, "1"), ({"spinning": False}, "0")])
def test_threads_sleep_unless_asked_to_spin(tmp_path, options, chosen, entry):
    load_engine("onnxruntime", save(tmp_path / "g.onnx", TensorProto.FLOAT), **chosen)
    ((made, providers),) = options
    assert made.get_session_config_entry("session.intra_op.allow_spinning") == entry
    assert [name for name, _ in providers] == ["CPUExecutionProvider"]


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


@pytest.mark.parametrize(("chosen", "sends"), [({}, False), ({"ORT_DISABLE_TELEMETRY": "0"}, True)])
def test_nothing_is_sent_to_the_maker_of_onnx_runtime_unless_it_is_asked_for(tmp_path, chosen, sends):
    """What it would send is kept in the user's cache first: no such file, no telemetry."""
    path, home = save(tmp_path / "g.onnx", TensorProto.FLOAT), tmp_path / "home"
    home.mkdir()
    code = "from a2d.engines import load_engine\nfrom pathlib import Path\nimport sys"
    code += "\nload_engine('onnxruntime', Path(sys.argv[1]))"
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, "-c", code, path], env={**kept, "HOME": str(home), **chosen}, check=True)
    found = [file.name for file in home.rglob("*") if file.is_file() and "onnxruntime" in str(file)]
    assert not found or sends, found


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
@pytest.mark.parametrize("folder", [b"caf\xe9", "caf\u00e9".encode()])
def test_a_graph_and_its_weights_below_a_folder_of_any_name_are_read(tmp_path, folder):
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + folder))
    place.mkdir()
    values = np.arange(600, dtype=np.float32)
    weight = onnx.numpy_helper.from_array(values, "w")
    io = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [600]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", io[:1], io[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, str(tmp_path / "g.onnx"), save_as_external_data=True, location="g.weights", size_threshold=0)
    for name in ("g.onnx", "g.weights"):
        (tmp_path / name).rename(place / name)
    made = load_engine("onnxruntime", place / "g.onnx").run({"x": np.ones(600, np.float32)})["y"]
    assert np.array_equal(made, values + 1)
