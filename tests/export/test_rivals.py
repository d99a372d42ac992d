"""Other engines beside a2d: their processes, their environments, the weights they are given, and the table."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_model import tiny_checkpoint

import a2d
from a2d.engines.errors import EngineError, RequestError
from a2d.export.checkpoint.directory import Checkpoint
from a2d.export.families import describe
from a2d.export.peers import checkpoint_again, engines, environment
from a2d.export.peers.checkpoint_again import write_again
from a2d.export.peers.engines import ENGINES
from a2d.export.peers.process import rival_process
from a2d.runtime.bundle.files import Bundle
from a2d.runtime.cli.bench import Rivals
from a2d.runtime.cli.bench import main as bench
from a2d.runtime.decode.contract import autoregressive
from a2d.runtime.measure.bench import PeerRun, endless, random_prompt
from a2d.runtime.pace.measured import random_tokens

PROCESSES = Path(environment.__file__).with_name("processes")

COUNTING = f"""
import sys
sys.path.insert(0, {str(PROCESSES)!r})
from lines import answer
def tokens(form, prompt, following):
    last = prompt[-1]
    for given in [*following[:-1], None]:
        last = (last + len(form)) % 50
        yield last
        last = last if given is None else given
answer("1.2", ["a", "bb"], tokens)
"""


def counting(*more: str) -> list[str | Path]:
    return [sys.executable, "-c", COUNTING, *more]


# -- a process


def test_a_process_decodes_and_follows():
    with rival_process("Counter", [counting()]) as rival:
        assert (rival.name, tuple(rival.forms)) == ("Counter 1.2", ("a", "bb"))
        run = rival.decode("bb", np.array([1, 4]), 3)
        assert run.tokens == (6, 8, 10) and run.seconds > 0 and run.forwards == 3
        assert tuple(rival.preferred("a", np.array([1]), [7, 20, 3])) == (2, 8, 21)


def test_a_process_that_ends_is_told_with_what_it_said():
    dying = [sys.executable, "-c", "import sys; sys.exit('no such kernel')"]
    said = pytest.raises(EngineError, match=r"Dying ended with status 1. It said:\nno such kernel")
    with said, rival_process("Dying", [dying]):
        pass


def test_the_next_command_is_tried_where_one_does_not_start():
    dying = [sys.executable, "-c", "import os; os.abort()"]
    with rival_process("Counter", [dying, counting()]) as rival:
        assert rival.decode("a", np.array([0]), 2).tokens == (1, 2)


def test_a_process_that_ends_on_the_way_is_an_error_and_not_a_wait():
    once = "import sys, json; print(json.dumps({'version': '0', 'forms': ['x']}), flush=True); sys.stdin.readline()"
    with rival_process("Once", [[sys.executable, "-c", once]]) as rival:
        for _ in range(2):
            with pytest.raises(EngineError, match="Once ended with status 0"):
                rival.decode("x", np.array([1]), 2)


def test_too_few_tokens_are_an_error():
    short = (
        "import sys, json; print(json.dumps({'version': '0', 'forms': ['x']}), flush=True); sys.stdin.readline();"
        "print(json.dumps({'tokens': [1], 'seconds': 1.0}), flush=True); sys.stdin.readline()"
    )
    said = pytest.raises(EngineError, match="Short 0, x: got 1 tokens, expected 2")
    with rival_process("Short", [[sys.executable, "-c", short]]) as rival, said:
        rival.decode("x", np.array([1]), 2)


def test_the_processors_time_is_told_beside_the_clocks():
    with rival_process("Counter", [counting()]) as rival:
        run = rival.decode("a", np.array([1]), 40)
        assert run.cpu_seconds is not None and 0 <= run.cpu_seconds < 60


def test_a_model_that_genais_builder_does_not_make_is_told_with_what_it_said(floats, monkeypatch, tmp_path):
    builder = tmp_path / engines.BUILDER
    builder.parent.mkdir(parents=True)
    builder.write_text("import sys; sys.exit('no such architecture: ' + sys.argv[6])")
    monkeypatch.setattr(engines, "environment", lambda *_: Path(sys.executable))
    monkeypatch.setattr(engines, "site_of", lambda _: tmp_path)
    said = pytest.raises(EngineError, match=r"builder makes no fp32 model .*It said:\nno such architecture: fp32")
    with said, ENGINES["onnxruntime-genai"](Bundle.open(floats), 1):
        pass


GENAI = """
import numpy as np
__version__ = "0"
class Config:
    def __init__(self, folder): pass
    def overlay(self, text): pass
class Model:
    def __init__(self, config): pass
class GeneratorParams:
    def __init__(self, model): pass
    def set_search_options(self, **chosen): self.chosen = chosen
class Generator:
    def __init__(self, model, params):
        self.own, self.seen = 0, []
        assert params.chosen["min_length"] == params.chosen["max_length"], "an end token would end the answer"
    def append_tokens(self, tokens): self.seen += tokens.tolist()
    def get_logits(self):
        assert not self.own
        return np.eye(1, 9, (self.seen[-1] + 1) % 9, dtype=np.float32)[None]
    def generate_next_token(self):
        self.own += 1
        self.seen.append((self.seen[-1] + 2) % 9)
    def get_next_tokens(self): return self.seen[-1:]
"""


def test_genai_answers_freely_by_its_own_loop_and_follows_by_its_logits(tmp_path):
    (tmp_path / "onnxruntime_genai.py").write_text(GENAI)
    job = {"threads": 1, "forbidden": [7], "models": {"int4": "nowhere"}}
    (tmp_path / "job.json").write_text(json.dumps(job))
    begin = f"import runpy, sys; sys.path[:0] = [{str(tmp_path)!r}, {str(PROCESSES)!r}]; sys.argv = sys.argv[1:]; "
    code = begin + "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, PROCESSES / "run_genai.py", tmp_path / "job.json"]
    with rival_process("onnxruntime-genai", [command]) as rival:
        run = rival.decode("int4", np.array([1, 3]), 3)
        assert run.tokens == (5, 7, 0) and run.first_seconds is not None and run.first_cpu_seconds is not None
        assert tuple(rival.preferred("int4", np.array([1, 3]), [6, 2, 5])) == (4, 0, 3)  # never the forbidden 7


# -- an environment


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """What pip was asked for, and the status that it ends with; no environment is really made."""
    asked, status = [], [0]

    def create(folder, with_pip):
        assert with_pip
        Path(folder).mkdir(parents=True)

    def run(command, **_):
        asked.append(command[5:])
        return subprocess.CompletedProcess(command, status[0], "", "ERROR: no matching distribution\n")

    monkeypatch.setenv("A2D_CACHE", str(tmp_path))
    monkeypatch.setattr(environment.venv, "create", create)
    monkeypatch.setattr(environment.subprocess, "run", run)
    return asked, status


def test_an_environment_is_made_once_and_anew_for_other_packages(pip, tmp_path, capsys):
    asked, _ = pip
    first = environment.environment("engine", ("x", "y"), ", a minute")
    assert first.is_relative_to(tmp_path / "rivals" / "engine") and "once, a minute" in capsys.readouterr().err
    assert environment.environment("engine", ("x", "y")) == first and asked == [["x", "y"]]
    assert capsys.readouterr().err == ""
    environment.environment("engine", ("x",))
    assert asked == [["x", "y"], ["x"]]


def test_an_environment_that_fails_says_why_and_leaves_nothing(pip, tmp_path):
    pip[1][0] = 1
    with pytest.raises(EngineError, match=r"engine: pip could not install x .*package index.*\nERROR: no matching"):
        environment.environment("engine", ("x",))
    assert not (tmp_path / "rivals" / "engine").exists()


# -- the weights


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """The checkpoint that `floats` is made of."""
    return tiny_checkpoint(tmp_path_factory.mktemp("rivals") / "tiny")


def test_the_weights_are_the_checkpoints_again(floats, tiny, tmp_path):
    write_again(Bundle.open(floats), tmp_path)
    again, source = load_file(tmp_path / "model.safetensors"), load_file(tiny / "model.safetensors")
    assert again.keys() == source.keys()
    assert all(np.array_equal(again[name], source[name]) for name in source)
    read, held = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path, tiny))
    same = ("model_type", "num_key_value_heads", "head_dim", "rms_norm_eps", "tie_word_embeddings", "vocab_size")
    assert {name: read[name] for name in same} == {name: held[name] for name in same}
    assert read["rope_theta"] == pytest.approx(held["rope_theta"])


@pytest.mark.parametrize(
    ("change", "word"),
    [({"mlp": "relu2"}, "relu2"), ({"rope_scale": 2.0}, "rotary"), ({"qkv_bias": True}, "biases beside norms")],
)
def test_a_decoder_that_others_have_no_word_for_is_refused(tiny, change, word):
    config = json.loads((tiny / "config.json").read_text())
    shape = replace(describe(Checkpoint(tiny, config)).shape, **change)
    with pytest.raises(RequestError, match=word):
        checkpoint_again._config(shape, 128)


def test_the_command_offers_the_engines_that_there_are():
    from a2d.__main__ import _rivals

    assert set(_rivals().engines) == set(ENGINES)


# -- the table


class Same:
    """An engine that is a2d itself, one token per forward, in fp32; its other form knows one token."""

    name, forms = "Same 3", ("exact", "stuck")

    def __init__(self, path: Path) -> None:
        self.model, self.asked = a2d.load(path, precision="fp32", threads=1), []

    def decode(self, form, prompt, tokens):
        self.asked.append(form)
        if form == "stuck":
            return PeerRun((9,) * tokens, 0.5, tokens)
        session = endless(self.model, autoregressive(self.model.manifest.decode))
        return PeerRun(session.generate(self.model.prompt(prompt), max_tokens=tokens).tokens, 1.0, tokens)

    def preferred(self, form, prompt, following):
        return self.decode(form, prompt, len(following)).tokens


def test_the_table_has_every_way_in_turn(floats, capsys):
    made: list[Same] = []

    @contextmanager
    def engine(bundle, threads):
        assert threads == 1
        made.append(Same(bundle.path))
        yield made[0]

    flags = ["--against", "same", "--prompt-tokens", "12", "--max-tokens", "16", "--repeats", "2"]
    assert bench([str(floats), *flags, "--json"], Rivals(engines={"same": engine})) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["engines"]}
    blocks, single, exact, stuck = rows.values()
    assert [*rows][2:] == ["Same 3, exact", "Same 3, stuck"]
    assert made[0].asked[:6] == ["exact", "stuck"] * 3  # a warm-up, and both repeats
    assert blocks["ratio"] == 1.0 and blocks["agreement"] is None and single["tokens_per_forward"] == 1.0
    assert exact["tokens_per_second"] == 15.0 and stuck["tokens_per_second"] == 30.0
    assert exact["tokens_per_cpu_second"] == 15.0 and blocks["tokens_per_cpu_second"] > 0
    assert exact["ratio"] == pytest.approx(2 * stuck["ratio"])
    assert single["agreement"] == exact["agreement"] == 1.0 > stuck["agreement"]
    assert bench([str(floats), *flags], Rivals(engines={"same": engine})) == 0
    assert "Same 3, stuck" in capsys.readouterr().out


def test_an_unknown_engine_names_those_that_there_are(floats, capsys):
    assert bench([str(floats), "--against", "vllm"], Rivals(engines={"same": lambda *_: None})) == 2
    assert "same" in capsys.readouterr().err


def test_the_prompt_of_a_rival_has_as_many_tokens(floats):
    model = a2d.load(floats, threads=1)
    assert len(random_prompt(model, 12)) == 12


def test_random_tokens_are_no_special_ones_of_a_model_with_or_without_a_mask(floats):
    manifest = Bundle.open(floats).manifest
    contract = replace(autoregressive(manifest.decode), mask_token_id=None)
    alone = replace(manifest, words=replace(manifest.words, decode=contract))
    for one in (manifest, alone):
        special = {one.decode.mask_token_id, *one.decode.stop_token_ids}
        assert not special & set(random_tokens(one, 500).tolist())
