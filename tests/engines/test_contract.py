"""What every engine does alike: one suite, run unchanged over each of them.

Covered are what comes back and where it lives, what is refused and in which words, several threads at once, memory,
and loading. An engine joins by one row in `MAKERS`, and in `READERS` if it reads ONNX files.

Engines for GPUs stand here twice. On the imaginary GPU of `fake_cuda` their own code runs anywhere. On a real one, the
same tests run where there is one; elsewhere the engine is built and the test says why it was not run.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import fake_cuda
import numpy as np
import pytest
import real_gpu
from onnx import TensorProto, helper

from a2d.engines import ENGINES, Engine, Signature, load_engine
from a2d.engines.errors import EngineError
from a2d.engines.fake import FakeEngine, Script

ELEMENTS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}

F = Signature("float32", ("rows", 4))


@dataclass(frozen=True)
class Graph:
    """One graph, as a Python function and as ONNX nodes."""

    inputs: dict[str, Signature]
    outputs: dict[str, Signature]
    script: Script
    nodes: list[tuple[str, list[str], list[str]]]


GRAPHS = {
    "sums": Graph(
        {"x": F, "y": F},
        {"sum": F, "double": F, "same": F},
        lambda feeds: {"sum": feeds["x"] + feeds["y"], "double": feeds["x"] + feeds["x"], "same": feeds["x"]},
        [("Add", ["x", "y"], ["sum"]), ("Add", ["x", "x"], ["double"]), ("Identity", ["x"], ["same"])],
    ),
    "kinds": Graph(
        {"whole": Signature("int64", (1, "n")), "flag": Signature("bool", (1, "n")), "one": Signature("float32", ())},
        {"twice": Signature("int64", (1, "n")), "no": Signature("bool", (1, "n")), "still": Signature("float32", ())},
        lambda feeds: {"twice": feeds["whole"] * 2, "no": ~feeds["flag"], "still": feeds["one"]},
        [("Add", ["whole", "whole"], ["twice"]), ("Not", ["flag"], ["no"]), ("Identity", ["one"], ["still"])],
    ),
    "pick": Graph(
        {"table": F, "row": Signature("int64", ("n",))},
        {"picked": Signature("float32", ("n", 4))},
        lambda feeds: {"picked": feeds["table"][feeds["row"]]},
        [("Gather", ["table", "row"], ["picked"])],
    ),
    "hold": Graph(
        {"x": Signature("float32", (2, 1, "rows", 4))},
        {"held": Signature("float32", (2, 1, "rows", 4))},
        lambda feeds: {"held": feeds["x"]},
        [("Identity", ["x"], ["held"])],
    ),
}


def onnx_bytes(graph: Graph) -> bytes:
    def infos(signatures: dict[str, Signature]):
        return [helper.make_tensor_value_info(n, ELEMENTS[s.dtype], s.shape) for n, s in signatures.items()]

    nodes = [helper.make_node(kind, takes, gives) for kind, takes, gives in graph.nodes]
    made = helper.make_graph(nodes, "graph", infos(graph.inputs), infos(graph.outputs))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def fake(name: str, folder: Path) -> Engine:
    graph = GRAPHS[name]
    return FakeEngine(graph.inputs, graph.outputs, graph.script, name)


def loaded(engine: str) -> Callable[[str, Path], Engine]:
    def make(name: str, folder: Path) -> Engine:
        path = folder / f"{name}.onnx"
        path.write_bytes(onnx_bytes(GRAPHS[name]))
        return load_engine(engine, path, threads=1)

    return make


def played(kind: str) -> Callable[[str, Path], Engine]:
    """An engine for GPUs on the imaginary one."""

    def make(name: str, folder: Path) -> Engine:
        graph = GRAPHS[name]
        return fake_cuda.ENGINES[kind](name, folder, onnx_bytes(graph), graph.inputs, graph.outputs)

    return make


def real(kind: str) -> Callable[[str, Path], Engine]:
    """An engine for GPUs on a real one; skips where there is none, after the build if that needs none."""
    return lambda name, folder: real_gpu.engine(kind, name, folder, onnx_bytes(GRAPHS[name]))


MAKERS = {"fake": fake, "onnxruntime": loaded("onnxruntime")}
MAKERS |= {f"{kind} (played)": played(kind) for kind in fake_cuda.ENGINES}
MAKERS |= {kind: real(kind) for kind in real_gpu.KINDS}

READERS = ["onnxruntime"]
"""Engines that read ONNX files themselves."""


@pytest.fixture(params=list(MAKERS))
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Engine]:
    return lambda name: MAKERS[request.param](name, tmp_path)


@pytest.fixture
def sums(make) -> Engine:
    return make("sums")


def rows(count: int, first: float = 0.0) -> np.ndarray:
    return np.arange(first, first + 4 * count, dtype=np.float32).reshape(count, 4)


# -- what comes back


def test_signatures_are_those_of_the_graph(make):
    for name, graph in GRAPHS.items():
        engine = make(name)
        assert (engine.inputs, engine.outputs) == (graph.inputs, graph.outputs)
        assert engine.describe


def test_all_outputs_by_default(sums):
    made = sums.run({"x": rows(3), "y": rows(3, 100)})
    assert list(made) == ["sum", "double", "same"]
    assert np.array_equal(made["sum"], rows(3) + rows(3, 100))
    assert np.array_equal(made["double"], 2 * rows(3))
    assert all(isinstance(array, np.ndarray) for array in made.values())


def test_only_the_wanted_outputs_in_their_order(sums):
    made = sums.run({"x": rows(1), "y": rows(1)}, ["same", "sum"])
    assert list(made) == ["same", "sum"]
    assert np.array_equal(made["same"], rows(1)) and np.array_equal(made["sum"], 2 * rows(1))


def test_other_types_and_scalars(make):
    feeds = {"whole": np.array([[2**40, -1]]), "flag": np.array([[True, False]]), "one": np.array(2.5, np.float32)}
    made = make("kinds").run(feeds)
    assert made["twice"].tolist() == [[2**41, -2]]
    assert made["no"].tolist() == [[False, True]] and made["no"].dtype == np.bool_
    assert made["still"].shape == () and made["still"] == 2.5


def test_inputs_need_not_be_contiguous_or_writable(sums):
    wide = np.arange(48, dtype=np.float32).reshape(3, 16)
    frozen = np.broadcast_to(np.float32(7), (3, 4))
    made = sums.run({"x": wide[:, ::4], "y": frozen})
    assert np.array_equal(made["sum"], wide[:, ::4] + 7)
    turned = np.asfortranarray(rows(4))
    assert np.array_equal(sums.run({"x": turned, "y": turned.T})["sum"], rows(4) + rows(4).T)


def test_inputs_need_not_be_aligned(sums):
    raw = np.frombuffer(b"\0" + rows(2).tobytes(), np.uint8)[1:].view(np.float32).reshape(2, 4)
    assert not raw.flags.aligned
    assert np.array_equal(sums.run({"x": raw, "y": raw})["sum"], 2 * rows(2))


def test_dynamic_axes_may_be_empty(sums):
    made = sums.run({"x": rows(0), "y": rows(0)}, keep=["double"])
    assert made["sum"].shape == made["double"].shape == (0, 4)
    again = sums.run({"x": made["double"], "y": rows(0)})
    assert again["sum"].shape == (0, 4)


def test_the_same_engine_takes_other_sizes(sums):
    for count in (3, 1, 5):
        assert sums.run({"x": rows(count), "y": rows(count)})["sum"].shape == (count, 4)


# -- what is kept


def test_kept_outputs_are_buffers(sums):
    made = sums.run({"x": rows(2), "y": rows(2)}, keep=["double"])
    assert isinstance(made["sum"], np.ndarray) and not isinstance(made["double"], np.ndarray)
    assert (made["double"].shape, made["double"].dtype) == ((2, 4), "float32")
    assert np.array_equal(made["double"].numpy(), 2 * rows(2))


def test_buffers_feed_the_same_and_another_engine(make):
    one, other = make("sums"), make("pick")
    kept = one.run({"x": rows(3), "y": rows(3)}, ["double"], keep=["double"])["double"]
    again = one.run({"x": kept, "y": kept}, ["sum"], keep=["sum"])["sum"]
    assert np.array_equal(again.numpy(), 4 * rows(3))
    assert np.array_equal(other.run({"table": again, "row": np.array([2, 0])})["picked"], 4 * rows(3)[[2, 0]])


def test_buffers_outlive_later_runs_their_feeds_and_the_engine(make):
    engine = make("sums")
    x = rows(64)
    made = engine.run({"x": x, "y": x}, keep=["sum", "same"])
    for i in range(20):
        engine.run({"x": rows(64, i), "y": rows(64, i)}, keep=["sum", "same"])
    x[:] = -1
    del engine
    gc.collect()
    assert np.array_equal(made["sum"].numpy(), 2 * rows(64))
    assert np.array_equal(made["same"].numpy(), rows(64))
    assert np.array_equal(made["double"], 2 * rows(64))


def test_outputs_share_no_memory_with_feeds(sums):
    x = rows(2)
    made = sums.run({"x": x, "y": x})
    made["same"][:] = 9
    assert np.array_equal(x, rows(2))


# -- what is refused


def ill_typed_buffer(engine: Engine):
    return engine.memory.zeros((2, 4), "int64")


@pytest.mark.parametrize(
    ("feeds", "faults"),
    [
        ({"x": rows(2)}, ["'y' is missing"]),
        ({}, ["'x' is missing", "'y' is missing"]),
        ({"x": rows(2), "y": rows(2), "z": rows(2)}, ["'z' is not an input"]),
        ({"x": rows(2).astype(np.float64), "y": rows(2)}, ["'x' is float64, expected float32"]),
        ({"x": rows(2).astype(">f4"), "y": rows(2)}, ["'x' is >f4, expected float32"]),
        ({"x": ill_typed_buffer, "y": rows(2)}, ["'x' is int64, expected float32"]),
        ({"x": rows(2)[0], "y": rows(2)}, ["'x' has shape [4], expected ['rows', 4]"]),
        ({"x": rows(2)[:, :3], "y": rows(2)}, ["'x' has shape [2, 3], expected ['rows', 4]"]),
        ({"x": [[1.0] * 4], "y": None}, ["'x' is a list, expected an ndarray or a Buffer", "'y' is a NoneType"]),
        (
            {"x": rows(2).astype(np.int64), "zz": rows(1)},
            ["'y' is missing", "'zz' is not an input", "'x' is int64", "x float32['rows', 4], y float32"],
        ),
    ],
)
def test_feeds_that_do_not_fit_are_listed_together(sums, feeds, faults):
    feeds = {name: feed(sums) if callable(feed) else feed for name, feed in feeds.items()}
    with pytest.raises(EngineError) as caught:
        sums.run(feeds)
    assert [fault for fault in faults if fault not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("outputs", "keep", "faults"),
    [
        (["sun", "double", "trouble"], [], ["'sun' is not an output", "'trouble' is not", "are sum, double, same"]),
        (["sum"], ["double"], ["'double' is to be kept, but is not returned"]),
        (None, ["sun"], ["'sun' is to be kept, but is not returned"]),
        (["sum", "sum"], [], ["'sum' is asked for 2 times"]),
        ([], [], ["no output is asked for"]),
        (["sun"], ["double"], ["'sun' is not an output", "'double' is to be kept"]),
    ],
)
def test_outputs_that_do_not_fit_are_listed_together(sums, outputs, keep, faults):
    with pytest.raises(EngineError) as caught:
        sums.run({"x": rows(1), "y": rows(1)}, outputs, keep)
    assert [fault for fault in faults if fault not in str(caught.value)] == []


def test_what_goes_wrong_inside_names_the_graph_and_leaves_the_engine_usable(make):
    engine = make("pick")
    if engine.describe.startswith("TensorRT") and "Imaginary" not in engine.describe:
        pytest.skip("TensorRT reads what is out of range as it likes, and says nothing")
    with pytest.raises(EngineError, match=r"pick.*failed"):
        engine.run({"table": rows(2), "row": np.array([7])})
    assert np.array_equal(engine.run({"table": rows(2), "row": np.array([1])})["picked"], rows(2)[1:])


# -- threads and time


def test_threads_do_not_disturb_each_other(sums):
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for i in range(20):
                x = np.full((3 + number, 4), number * 100 + i, np.float32)
                kept = sums.run({"x": x, "y": x}, ["sum"], keep=["sum"])["sum"]
                made = sums.run({"x": kept, "y": x})
                wrong.extend([number] if not (np.asarray(made["sum"]) == 3 * x).all() else [])
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_busy_seconds_grow_with_every_run_even_a_failing_one(make):
    engine = make("pick")
    assert engine.busy_seconds == 0
    engine.run({"table": rows(2), "row": np.array([1])})
    first = engine.busy_seconds
    assert first > 0
    with suppress(EngineError):  # TensorRT has no bounds to be out of
        engine.run({"table": rows(2), "row": np.array([7])})
    assert engine.busy_seconds > first


# -- memory


def test_zeros_are_zero_and_feed_the_engine(sums):
    zeros = sums.memory.zeros([3, 4], "float32")
    assert (zeros.shape, zeros.dtype) == ((3, 4), "float32")
    assert not zeros.numpy().any()
    assert np.array_equal(sums.run({"x": rows(3), "y": zeros})["sum"], rows(3))


def filled(make, count: int, first: float):
    """A buffer `[2, 1, count, 4]` that holds other numbers in every row."""
    x = np.arange(first, first + 8 * count, dtype=np.float32).reshape(2, 1, count, 4)
    return make("hold").run({"x": x}, ["held"], keep=["held"])["held"]


@pytest.mark.parametrize(("start", "count", "at"), [(0, 2, 0), (1, 2, 3), (0, 3, 2), (2, 1, 4), (3, 0, 5), (0, 0, 0)])
def test_rows_are_copied_and_nothing_else(make, sums, start, count, at):
    source, target = filled(make, 3, 500), filled(make, 5, 1)
    before, expected = source.numpy().copy(), target.numpy().copy()
    expected[..., at : at + count, :] = before[..., start : start + count, :]
    sums.memory.copy_rows(source, start, count, target, at)
    assert np.array_equal(target.numpy(), expected)
    assert np.array_equal(source.numpy(), before)


@pytest.mark.parametrize(
    ("start", "count", "at"), [(2, 2, 0), (0, 2, 4), (-1, 1, 0), (0, 1, -1), (0, -1, 0), (0, 1, 5)]
)
def test_rows_that_are_not_there_are_refused(make, sums, start, count, at):
    source, target = filled(make, 3, 500), filled(make, 5, 1)
    before = target.numpy().copy()
    with pytest.raises(EngineError, match=rf"cannot copy {count} rows from {start} of float32\[2, 1, 3, 4\]"):
        sums.memory.copy_rows(source, start, count, target, at)
    assert np.array_equal(target.numpy(), before)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 1, 5, 3), "float32"), ((1, 1, 5, 4), "float32"), ((2, 1, 5, 4), "float16")]
)
def test_buffers_that_are_not_alike_are_refused(make, sums, shape, dtype):
    with pytest.raises(EngineError, match="expected buffers alike"):
        sums.memory.copy_rows(filled(make, 3, 500), 0, 1, sums.memory.zeros(shape, dtype), 0)


# -- loading


@pytest.fixture(params=READERS)
def loader(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "sums.onnx"
    path.write_bytes(onnx_bytes(GRAPHS["sums"]))
    return path


def test_unknown_engines_print_the_table(path):
    with pytest.raises(EngineError, match=f"got 'tensorflow', expected one of {', '.join(ENGINES)}"):
        load_engine("tensorflow", path)


def test_engines_that_are_not_installed_say_how_to_install_them(path, monkeypatch):
    monkeypatch.setitem(ENGINES, "absent", ".no_such_module")
    with pytest.raises(EngineError, match="'absent' is not installed here.*pip install absent"):
        load_engine("absent", path)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"device": "abacus"}, "got 'abacus'.*cpu"),
        ({"precision": "bf16"}, "'bf16' does not run on .*Use fp32 or fp16.*precision=fp32"),
        ({"precision": "fp7"}, "'fp7' does not run on"),
        ({"threads": 0}, "threads: got 0, expected a whole number, 1 to"),
        ({"threads": -2}, "threads: got -2, expected a whole number, 1 to"),
    ],
)
def test_what_a_machine_cannot_do_says_what_it_can(loader, path, wanted, message):
    with pytest.raises(EngineError, match=message):
        load_engine(loader, path, **wanted)


@pytest.mark.parametrize("keep", [0, 1, 7, 40, -1])
def test_truncated_graphs_are_refused(loader, path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(EngineError, match=r"sums\.onnx"):
        load_engine(loader, path)


def test_what_is_no_graph_is_refused(loader, path, tmp_path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    for nothing in (path, tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(EngineError, match=nothing.name):
            load_engine(loader, nothing)


def external(path: Path, location: str, length: int = 16) -> None:
    """A graph that adds four numbers from a file at `location`."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": str(length)}.items():
        weights.external_data.add(key=key, value=value)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with weights in it, beside weights that are none of its business."""
    (tmp_path / "secret.bin").write_bytes(rows(1, 5).tobytes())
    inside = tmp_path / "bundle"
    inside.mkdir()
    (inside / "weights.bin").write_bytes(rows(1, 1).tobytes())
    return inside


def test_external_data_in_the_folder_is_read(loader, folder):
    external(folder / "g.onnx", "weights.bin")
    engine = load_engine(loader, folder / "g.onnx")
    assert np.array_equal(engine.run({"x": rows(1)})["y"], rows(1) + rows(1, 1))


@pytest.mark.parametrize("location", ["../secret.bin", "sub/../../secret.bin", "ABSOLUTE", "link.bin"])
def test_external_data_outside_the_folder_is_refused(loader, folder, location):
    (folder / "sub").mkdir()
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    external(folder / "g.onnx", str(folder.parent / "secret.bin") if location == "ABSOLUTE" else location)
    with pytest.raises(EngineError, match=r"g\.onnx.*cannot load it.*(escapes|[Aa]bsolute path)"):
        load_engine(loader, folder / "g.onnx")


@pytest.mark.parametrize(("location", "length"), [("none.bin", 16), ("weights.bin", 1 << 40), ("", 16)])
def test_external_data_that_is_missing_or_too_short_is_refused(loader, folder, location, length):
    external(folder / "g.onnx", location, length)
    with pytest.raises(EngineError, match=r"g\.onnx.*cannot load it"):
        load_engine(loader, folder / "g.onnx")
    (folder / "weights.bin").write_bytes(b"short")
    external(folder / "g.onnx", "weights.bin")
    with pytest.raises(EngineError, match=r"g\.onnx.*cannot load it"):
        load_engine(loader, folder / "g.onnx")
