"""The slate reader over a real Ray cluster of two nodes, one of which is killed (`make test-ray`)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import SLATES as BOARDS
from clips import Part, Recipe, make, moving, slate, still

from a2d import over_dataset
from a2d.engines.errors import BundleError
from a2d.runtime.cli.log import main
from a2d.runtime.farm.clips import many_machines
from a2d.runtime.farm.pool import Work, connect, pooled
from a2d.runtime.footage.sampling import SLATES
from a2d.runtime.footage.slate import MIN_CONFIDENCE
from a2d.runtime.log import LogJob, log

ray = pytest.importorskip("ray", reason='the extra "ray"; make test-ray installs it')

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

CLIPS = 8


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    memory = {"num_cpus": 1, "object_store_memory": 100_000_000}
    made = Cluster(initialize_head=True, head_node_args=memory | {"include_dashboard": False})
    made.memory = memory
    made.add_node(**memory)
    ray.init(made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    folder = tmp_path_factory.mktemp("day 1")
    for number in range(CLIPS):
        board = Part(24, still(slate(BOARDS[number % len(BOARDS)])))
        parts = [board, moving(number)] if number % 2 else [moving(number), board]
        make(folder, Recipe(f"A{number + 1}.mov", parts, Fraction(25), timecode=f"{10 + number}:00:00:00"))
    (folder / "B1.mov").touch()
    return folder


def files(folder: Path):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def alone(slate, card, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    log(LogJob([card], folder / "log", slate, SLATES, least=MIN_CONFIDENCE, threads=1, quiet=True))
    return files(folder)


def test_a_node_that_is_killed_loses_nothing_and_does_nothing_twice(cluster, slate, card, alone, tmp_path):
    said: list[str] = []
    nodes: list[int] = []

    def killing(rows, work: Work):
        for number, row in enumerate(pooled(rows, work)):
            if number == 1:
                cluster.remove_node(next(node for node in cluster.list_all_nodes() if node is not cluster.head_node))
                nodes.append(len([node for node in ray.nodes() if node["Alive"]]))
            yield row

    job = LogJob([card], tmp_path / "log", slate, SLATES, least=MIN_CONFIDENCE, quiet=True)
    made = log(job, said.append, many_machines(killing))
    assert nodes == [1] and made.read == CLIPS + 1
    assert len(said) == len(set(said)) == CLIPS
    assert files(tmp_path) == alone
    cluster.add_node(**cluster.memory)
    cluster.wait_for_nodes()


def test_the_command_writes_the_same_and_goes_on_where_it_was(cluster, slate, card, alone, tmp_path, capsys):
    arguments = [str(card), "-o", str(tmp_path / "log"), "--bundle", str(slate), "--on", "ray"]
    assert main(arguments) == 2  # a clip is empty
    out, err = capsys.readouterr()
    assert f"{CLIPS + 1} clips, {CLIPS + 1} of them new, 1 not readable" in out and "B1.mov is empty" in err
    assert files(tmp_path) == alone
    assert main(arguments) == 2 and "0 of them new" in capsys.readouterr().out


def test_a_dataset_has_the_answers_of_one_machine(cluster, slate):
    import ray.data
    from clips import FRAMES

    import a2d

    names = [str(FRAMES / name) for name in BOARDS[:5]] + [str(FRAMES / "missing.png")]
    rows = ray.data.from_items([{"path": name} for name in names])
    made = {row["path"]: row for row in over_dataset(rows, str(slate), image="path", batch_size=2).take_all()}
    assert set(made) == set(names)
    for reading in a2d.load(slate, threads=1).each(names):
        row = made[str(reading.image)]
        if reading.result is None:
            assert "missing.png" in row["a2d_error"] and row["a2d_text"] == ""
        else:
            assert (row["a2d_text"], tuple(row["a2d_tokens"])) == (reading.text, reading.result.tokens)
            assert np.allclose(row["a2d_confidence"], reading.result.confidence, atol=1e-6)


def test_what_an_actor_finds_wrong_is_said_here(cluster, card, tmp_path):
    from a2d.runtime.decode.options import Options
    from a2d.runtime.farm.clips import ClipReader

    keywords = {"bundle": str(tmp_path / "gone.a2d"), "precision": None, "prompt": None, "options": Options(),
                "sampling": SLATES, "together": 1}  # fmt: skip
    connect("ray")  # joined already
    with pytest.raises(BundleError, match="gone.a2d"):
        list(pooled([{"number": 0, "file": b"x"}], Work(ClipReader, keywords)))
