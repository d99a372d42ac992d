"""The cache of traced pieces: what is kept, what makes it another entry, and what is left aside."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest
import torch

from a2d.export.graphs.backbone import Final, Layer
from a2d.export.graphs.kind import TraceSpec
from a2d.export.graphs.kinds import kinds
from a2d.export.graphs.shapes import DecoderShape, Network
from a2d.export.precision import PRECISIONS
from a2d.export.write import trace as tracing
from a2d.export.write.graph_models import Builder
from a2d.export.write.piece_cache import PieceCache, default_folder, statements
from a2d.export.write.trace import Traced, key_of, trace

SHAPE = DecoderShape(1, 8, 2, 2, 4, 8, 24, 1e-6, (1.0, 0.5))
DYNAMIC = torch.export.Dim.DYNAMIC


def final(shape: DecoderShape = SHAPE, rows: int = 4, dtype: torch.dtype = torch.float32) -> TraceSpec:
    with torch.device("meta"):
        module = Final(shape).to(dtype)
    return TraceSpec(module, {"x": torch.zeros(1, rows, shape.hidden, dtype=dtype)}, {"x": {1: DYNAMIC}}, ("hidden",))


def text(piece: Traced) -> str:
    return ir.to_proto(piece.graph).SerializeToString(deterministic=True).hex()


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many recipes each trace was asked for."""
    counts: list[int] = []
    whole = tracing._traced
    monkeypatch.setattr(tracing, "_traced", lambda recipes: counts.append(len(recipes)) or whole(recipes))
    return counts


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_second_trace_reads_what_the_first_has_kept(tmp_path: Path, traces: list[int]) -> None:
    cache = PieceCache(tmp_path)
    first = trace({"final": final()}, cache)["final"]
    second = trace({"final": final(), "other": final(replace(SHAPE, norm_eps=1e-5))}, cache)
    assert traces == [1, 1]
    assert text(second["final"]) == text(first) != text(second["other"])
    assert (second["final"].inputs, second["final"].weights) == (("x",), ("norm",))


def test_no_folder_keeps_nothing(traces: list[int]) -> None:
    for _ in range(2):
        trace({"final": final()}, PieceCache(None))
    assert traces == [1, 1]


def test_a_piece_is_the_same_whatever_it_was_traced_with() -> None:
    network, fp32, company = Network(SHAPE), (PRECISIONS["fp32"],), default_folder()
    builders = Builder(network, fp32, ("sample", "backbone")), Builder(network, fp32, None, company)
    names = {piece.name for graph in ("backbone", "sample") for piece in kinds(network)[graph].pieces(network)}
    names.remove("settle")  # reads the size of a block from one or another of the inputs that all have it
    alone, together = ([text(builder.traced(name, torch.float32)) for name in names] for builder in builders)
    assert alone == together
    cached = trace({"final": final()}), trace({"other": final(replace(SHAPE, hidden=16)), "final": final()})
    assert text(cached[0]["final"]) == text(cached[1]["final"])


@pytest.mark.parametrize("harm", [b"", b"short", None])
def test_a_harmed_entry_is_left_aside_and_written_anew(tmp_path: Path, traces: list[int], harm: bytes | None) -> None:
    cache = PieceCache(tmp_path)
    first = trace({"final": final()}, cache)["final"]
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if harm is None else harm)
    assert text(trace({"final": final()}, cache)["final"]) == text(first)
    assert traces == [1, 1]
    assert entry.read_bytes() == whole
    assert entries(tmp_path) == [entry]


def test_a_folder_that_cannot_be_written_to_is_no_error(tmp_path: Path, traces: list[int]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    for _ in range(2):
        assert trace({"final": final()}, PieceCache(blocked))
    assert traces == [1, 1]


def test_many_at_once_leave_one_whole_entry(tmp_path: Path) -> None:
    cache, content = PieceCache(tmp_path), bytes(range(256)) * 4000
    wrong: list[object] = []

    def work() -> None:
        for _ in range(30):
            cache.put("key", content)
            if cache.get("key") != content:
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert len(entries(tmp_path)) == 1


def test_the_key_is_of_everything_that_a_trace_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = key_of(final())
    assert key_of(final()) == plain
    assert not re.search(r" at 0x[0-9a-f]+", plain)
    with torch.device("meta"):
        layer = replace(final(), module=Layer(SHAPE))
    others = [final(rows=5), final(replace(SHAPE, norm_eps=1e-5)), final(dtype=torch.float16), layer]
    others += [replace(final(), outputs=("other",)), replace(final(), dynamic={})]
    assert len({plain, *(key_of(other) for other in others)}) == 1 + len(others)
    monkeypatch.setattr(tracing, "VERSIONS", ("another",))
    assert key_of(final()) != plain


def test_the_folder_is_the_platforms_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert default_folder() == Path(os.environ["A2D_CACHE"])  # where tests keep theirs
    monkeypatch.delenv("A2D_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "a2d"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "a2d"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    assert default_folder() == tmp_path / "Local" / "a2d"
    monkeypatch.setattr("sys.platform", "darwin")
    assert default_folder() == Path.home() / "Library" / "Caches" / "a2d"


def test_words_about_the_code_trace_nothing_anew() -> None:
    code = '"""Doubles."""\nx = 2\n"""A number."""\ndef f(a):\n    """Double."""\n    return a * x\n'
    said = (
        '"""Doubling."""\n\nx = 2\n"""The factor."""\ndef f(a):\n    """Give twice `a`."""\n    return a * x  # twice\n'
    )
    assert statements(code) == statements(said) != statements(code.replace("a * x", "a + x"))
    assert statements('x = "a"') != statements('x = "b"')
