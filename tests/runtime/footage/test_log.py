"""`a2d log` with a reader that knows one colour: what is read, kept, told and written, and what may go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import bundles
import numpy as np
import pytest
from clips import Part, Recipe, make, moving, sound, still
from patience import PATIENCE

from a2d.runtime import log as job
from a2d.runtime.cli.log import main
from a2d.runtime.footage import pipeline
from a2d.runtime.footage.slate import ENOUGH, caption, look, vote
from a2d.runtime.footage.writers import WRITERS
from a2d.runtime.inputs.windows import WINDOWS

TEXT = "scene 12A take 3 roll A004 date 2025-03-14 fps 24"
WHITE = Part(20, still(np.full((64, 128, 3), 250, np.uint8)))
"""What the reader below takes for a slate."""

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


def dark(seed, frames=24):
    return replace(moving(seed, frames), draw=lambda index: moving(seed).draw(index)[:64, :128] // 2)


@dataclass
class Reader:
    """A white frame is a slate, any other is none; with a prompt, that is what it answers."""

    prompt: str | None = None
    read: int = 0
    chance: float = 0.85
    sizes: list[tuple[int, ...]] = field(default_factory=list)
    """Height and width of the pictures that were read."""

    @property
    def model(self):
        return SimpleNamespace(words=bundles.MANIFEST.words)

    @property
    def judge(self):
        return vote if self.prompt is None else caption

    def looks(self, frames):
        for seconds, picture in frames:
            self.read += 1
            self.sizes.append(picture.shape[:2])
            text = TEXT if picture.mean() > 200 else "no slate"
            yield look(seconds, self.prompt or text, [(0, len(text), self.chance)])


@pytest.fixture
def reader(monkeypatch):
    made = Reader()

    def asked(chosen):
        made.prompt = chosen.prompt
        return made

    monkeypatch.setattr(job, "_reader", asked)
    return made


@pytest.fixture
def card(tmp_path):
    folder = tmp_path / "day 1"
    folder.mkdir()
    make(folder, Recipe("A1.mov", [WHITE, dark(1), dark(2)], Fraction(25), timecode="10:00:00:00"))
    make(folder, Recipe("A2 \U0001f3ac.mp4", [dark(3), dark(4)]))
    make(folder, Recipe("A10.mkv", [dark(5), WHITE], Fraction(30)))
    return folder


@pytest.fixture
def bundle(tmp_path):
    return bundles.write(tmp_path / "bundle")


@pytest.fixture
def log(tmp_path, bundle, capsys):
    """Run the command; its status, and what it said."""

    def run(*arguments, out=tmp_path / "out" / "log"):
        status = main([*map(str, arguments), "-o", str(out), "--bundle", str(bundle)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def lines(tmp_path):
    text = (tmp_path / "out" / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def state(folder):
    """Everything in a folder: content, and when it was written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def test_a_card_becomes_a_log(log, card, tmp_path, reader):
    before = state(card)
    status, out, err = log(card)
    assert (status, err.count("logging: 100%")) == (0, 1)
    assert "3 clips, 3 of them new: 7 shots, 2 slates" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"log{end}" for end in (*WRITERS, ".state")}
    found = lines(tmp_path)
    assert [(Path(line["file"]).name, line["shot"]) for line in found] == [
        *[("A1.mov", 1), ("A1.mov", 2), ("A1.mov", 3)],
        *[("A2 \U0001f3ac.mp4", 1), ("A2 \U0001f3ac.mp4", 2), ("A10.mkv", 1), ("A10.mkv", 2)],
    ]
    assert [line["start"]["timecode"] for line in found[:3]] == ["10:00:00:00", "10:00:00:20", "10:00:01:19"]
    assert [line["text"] == TEXT for line in found] == [True, False, False, False, False, False, True]
    assert [line["slate"] for line in found] == [1, 1, 1, None, None, 2, 2]
    assert found[0]["confidence"] == 0.85 and found[0]["fields"]["scene"] == "12A"
    assert sum(len(line["frames"]) for line in found) == reader.read
    assert state(card) == before


@pytest.mark.skipif(sys.platform != "linux", reason="names of files that are no UTF-8")
def looks_of(tmp_path, name):
    (first, *_) = [line for line in lines(tmp_path) if Path(line["file"]).name == name]
    return [frame["seconds"] for frame in first["frames"]]


def test_an_unsure_slate_is_looked_at_again(log, card, tmp_path, reader):
    reader.chance = 0.5
    assert log(card / "A1.mov", "--frames", "2", "--head", "0", "--tail", "0", "--looks", "3")[0] == 0
    early, late = sorted(set(looks_of(tmp_path, "A1.mov")))
    assert looks_of(tmp_path, "A1.mov") == [early] * 3 + [late] * 3
    assert len(set(reader.sizes[:3])) == 3  # all of it, and two windows


def test_a_sure_slate_is_looked_at_until_there_are_enough(log, card, tmp_path, reader):
    assert log(card / "A1.mov", "--frames", "2", "--head", "0", "--tail", "0", "--looks", "8")[0] == 0
    early, late = sorted(set(looks_of(tmp_path, "A1.mov")))
    assert looks_of(tmp_path, "A1.mov") == [early] * ENOUGH + [late]
    assert len(reader.sizes) == ENOUGH + 1 + 4  # two frames each of the shots without a slate


@pytest.mark.parametrize("looks", ["0", str(len(WINDOWS) + 1)])
def test_looks_that_there_are_not(log, card, looks):
    status, _, err = log(card, "--looks", looks)
    assert status == 2 and f"looks: got {looks}, expected 1 to {len(WINDOWS)}" in err


def test_a_name_may_be_half_a_character(log, card, tmp_path, reader):
    path = card / os.fsdecode(b"half \xff.mp4")
    (card / "A1.mov").rename(path)
    status, out, err = log(path)
    assert status == 0 and "half \\udcff.mp4: 3 shots" in out, err
    assert [line["file"] for line in lines(tmp_path)] == [str(path)] * 3
    assert "0 of them new" in log(path)[1]
    path.write_bytes(b"not footage any more")
    status, _, err = log(path)
    assert status == 2 and "half \\udcff.mp4 is damaged" in err


def test_a_second_run_reads_nothing_and_changes_nothing(log, card, tmp_path, reader, monkeypatch):
    log(card)
    before, read = state(tmp_path / "out"), reader.read
    monkeypatch.setattr(job, "_reader", lambda _: pytest.fail("the model was loaded"))
    monkeypatch.setattr(pipeline, "_Study", lambda *_: pytest.fail("a clip was opened"))
    status, out, _ = log(card)
    assert status == 0 and "0 of them new" in out and "nothing has changed" in out
    assert state(tmp_path / "out") == before and reader.read == read


def test_only_what_changed_is_read(log, card, tmp_path, reader):
    log(card)
    before = lines(tmp_path)
    make(card, Recipe("A2 \U0001f3ac.mp4", [dark(6), WHITE]))
    make(card, Recipe("A3.mp4", [dark(7)]))
    (card / "A10.mkv").unlink()
    read = reader.read
    status, out, _ = log(card)
    assert status == 0 and "3 clips, 2 of them new" in out
    after = lines(tmp_path)
    assert after[:3] == before[:3] and [Path(line["file"]).name for line in after[5:]] == ["A3.mp4"]
    assert reader.read - read == sum(len(line["frames"]) for line in after[3:])
    assert len(list((tmp_path / "out" / "log.state").iterdir())) == 3


def test_another_question_is_another_log(log, card, tmp_path, reader):
    log(card)
    status, out, _ = log(card, "--prompt", "what is this?")
    assert status == 0 and "3 of them new" in out
    assert {line["text"] for line in lines(tmp_path)} == {"what is this?"}
    assert all(len(line["frames"]) == 1 and line["fields"] == {} for line in lines(tmp_path))
    assert "0 of them new" in log(card, "--prompt", "what is this?")[1]
    assert "3 of them new" in log(card, "--prompt", "what is this?", "--frames", "2")[1]
    assert all(len(line["frames"]) == 2 for line in lines(tmp_path))
    assert "3 of them new" in log(card, "--prompt", "what is this?", "--frames", "2", "--again")[1]


def test_bad_clips_are_told_and_the_others_read(log, card, tmp_path, reader):
    (card / "B1.mov").touch()
    sound(card / "B2.mp4")
    (card / "B3.mov").write_bytes((card / "A1.mov").read_bytes()[:600])
    for _ in range(2):  # the second time they are known
        status, out, err = log(card)
        assert status == 2 and "5 clips" in out
        assert "B1.mov is empty" in err and "B3.mov is damaged" in err
        assert "1 files hold sound alone: B2.mp4" in err and "2 of 5 clips could not be read" in err
    assert "0 of them new" in out and len(lines(tmp_path)) == 7


def test_sound_and_raw_beside_clips_are_no_failure(log, card, tmp_path, reader):
    sound(tmp_path / "sound.mp4").rename(card / "AUDIO.mxf")
    (card / "A9.R3D").write_bytes(bytes(4000))
    status, _, err = log(card)
    assert status == 0
    assert "1 files hold sound alone: AUDIO.mxf" in err and "1 files are camera raw" in err and "A9.R3D" in err
    assert "A9.R3D" in (tmp_path / "out" / "log.html").read_text(encoding="utf-8")


def test_a_folder_without_footage_is_told_beside_one_with(log, card, tmp_path, reader):
    for name in ("day 2", "day 3"):
        (tmp_path / name).mkdir()
    (tmp_path / "day 2" / "notes.txt").write_text("rain")
    (tmp_path / "day 3" / "A001.R3D").write_bytes(bytes(4000))
    status, out, err = log(card, tmp_path / "day 2", tmp_path / "day 3")
    assert status == 0 and "3 clips, 3 of them new" in out
    assert "day 2: no footage in it" in err and "day 3:" not in err  # its raw files are told by themselves


def test_sound_that_was_named_itself_is_at_fault(log, card, reader):
    sound(card / "B2.mp4")
    status, _, err = log(card / "B2.mp4")
    assert status == 2 and "B2.mp4 has no video" in err and "1 of 1 clips could not be read" in err


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="takes a permission away, which root does not notice")
def test_what_may_not_be_read_is_tried_again(log, card, reader):
    (card / "A1.mov").chmod(0)
    assert log(card)[0] == 2
    (card / "A1.mov").chmod(0o600)
    assert log(card)[0] == 0


def test_a_failing_disk_is_not_remembered_as_the_clips_fault(log, card, tmp_path, reader, monkeypatch):
    whole = pipeline._Study

    def failing(file, *rest):
        study = whole(file, *rest)
        if file.name == "A1.mov":
            study.take = lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error"))
        return study

    monkeypatch.setattr(pipeline, "_Study", failing)
    status, _, err = log(card)
    assert status == 2 and "A1.mov cannot be read: Input/output error; run this again" in err
    monkeypatch.setattr(pipeline, "_Study", whole)
    status, out, _ = log(card)
    assert status == 0 and "1 of them new" in out and len(lines(tmp_path)) == 7


def test_a_clip_that_grows_is_told_and_read_when_it_is_done(log, card, reader, monkeypatch):
    path, copied = card / "A2 \U0001f3ac.mp4", pipeline.reduced

    def copying(frame, spec, times):
        with path.open("ab") as file:
            file.write(bytes(100))
        return copied(frame, spec, times)

    monkeypatch.setattr(pipeline, "reduced", copying)
    status, _, err = log(path)
    assert status == 2 and "changed while it was read, expected a finished file" in err
    monkeypatch.setattr(pipeline, "reduced", copied)
    status, out, _ = log(path)
    assert status == 0 and "1 of them new" in out


def test_no_room_leaves_the_old_log(log, card, tmp_path, reader, monkeypatch):
    log(card)
    before = {path: held for path, held in state(tmp_path / "out").items() if path.suffix != ".json"}
    make(card, Recipe("A3.mp4", [dark(7)]))

    def full(made):
        yield "{"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "writer", lambda suffix: full)
    status, _, err = log(card)
    assert status == 1 and "No space left on device. Nothing half written was left behind." in err
    after = {path: held for path, held in state(tmp_path / "out").items() if path.suffix != ".json"}
    assert after == before
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("arguments", "out", "message"),
    [
        (["day 1"], "day 1/log", "lies in the footage folder"),
        (["day 1"], "day 1", "is a folder, expected a name"),
        (["day 1"], "out/log.csv", "expected a name without an ending: -o out/log"),
        (["day 1/A1.mov", "nowhere"], "out/log", "nowhere: no such file or folder"),
        (["empty"], "out/log", "no footage in it"),
        (["out.csv", "--force"], "out", "would be written over"),
        (["day 1", "--every", "0"], "out/log", "every: got 0"),
        (["day 1", "--frames", "0"], "out/log", "per_shot: got 0"),
        (["day 1", "--detector", "magic"], "out/log", "invalid choice: 'magic'"),
        (["day 1", "--decoders", "0"], "out/log", "--decoders: got 0"),
        (["day 1", "--steps", "99"], "out/log", "steps: got 99"),
        (["day 1", "--precision", "fp9"], "out/log", "got precision 'fp9'"),
        (["day 1", "--head"], "out/log", "expected one argument"),
    ],
)
def test_bad_input(card, bundle, tmp_path, capsys, monkeypatch, arguments, out, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "out.csv").write_text("footage, perhaps")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main([*arguments, "-o", out, "--bundle", str(bundle)]) == 2
    assert message in capsys.readouterr().err
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == []


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"vision": None}, [], "reads text only, expected a vision-language bundle"),
        ({"text": replace(bundles.MANIFEST.text, default_prompt=None)}, [], "has no question of its own"),
    ],
)
def test_a_bundle_that_cannot_read_footage(card, tmp_path, capsys, changes, arguments, message):
    if "vision" in changes:
        variant = bundles.MANIFEST.variants["fp32"]
        graphs = {name: file for name, file in variant.graphs.items() if name != "vision"}
        changes |= {"variants": {"fp32": bundles.variant_of(graphs)}}
    blind = bundles.write(tmp_path / "other", **changes)
    assert main([str(card), "-o", str(tmp_path / "out" / "log"), "--bundle", str(blind), *arguments]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_is_missing_is_named_with_its_extra(log, card, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "find_spec", lambda name: None if name in ("av", "opentimelineio") else object())
    status, _, err = log(card)
    assert (
        status == 2
        and "needs av (reads video), opentimelineio (writes timelines): pip install " in err
        and "[log]'" in err
        and "a2d[" not in err
    )
    assert not (tmp_path / "out").exists()


def test_somebody_elses_files_are_not_written_over(log, card, tmp_path, reader):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "log.csv").write_text("mine")
    status, _, err = log(card)
    assert status == 2 and "log.csv exists already" in err
    assert (tmp_path / "out" / "log.csv").read_text() == "mine"
    assert log(card, "--force")[0] == 0


def test_without_a_bundle_the_built_in_one_is_asked_for(card, bundle, tmp_path, capsys, reader):
    assert main([str(card / "A1.mov"), "-o", str(tmp_path / "log"), "--quiet"], lambda quiet: bundle) == 0
    assert capsys.readouterr() == ("", "")
    assert main([str(card / "A1.mov"), "-o", str(tmp_path / "log")]) == 2
    assert "the built-in slate reader is not on this machine" in capsys.readouterr().err


SLOW = textwrap.dedent("""
    import sys, time
    sys.path[:0] = {path!r}
    from a2d.runtime.cli.log import main
    from a2d.runtime import log as job
    from test_log import Reader

    class Slow(Reader):
        def looks(self, frames):
            for found in super().looks(frames):
                time.sleep(0.05)
                yield found

    job._reader = lambda chosen: Slow()
    sys.exit(main(sys.argv[1:]))
""")


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_an_interrupted_run_is_gone_on_with(log, card, bundle, tmp_path, reader):
    out = tmp_path / "out" / "log"
    here = Path(__file__)
    code = SLOW.format(path=[str(here.parent), str(here.parents[2])])
    command = [sys.executable, "-c", code, str(card), "-o", str(out), "--bundle", str(bundle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()  # the first clip is done
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "What has been read is kept" in errors and "Traceback" not in errors
    assert not out.with_suffix(".jsonl").exists()
    kept = list(out.with_suffix(".state").iterdir())
    assert 1 <= len(kept) < 3 and not [path for path in kept if path.suffix != ".json"]
    status, text, _ = log(card)
    assert status == 0 and f"{3 - len(kept)} of them new" in text
    gone_on = state(tmp_path / "out")
    log(card, out=tmp_path / "fresh" / "log")
    fresh = {path.name: held for path, (held, _) in state(tmp_path / "fresh").items()}
    assert {path.name: held for path, (held, _) in gone_on.items()} == fresh


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits a process")
def test_a_full_disk_for_real(card, bundle, tmp_path):
    """Files of this process may hold 4 kB: the journal's first entry does not fit, and none is left."""
    here = Path(__file__)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"
    code = SLOW.format(path=[str(here.parent), str(here.parents[2])]).replace("sys.exit(", f"{limit}\nsys.exit(")
    command = [sys.executable, "-c", code, str(card / "A1.mov"), "-o", str(tmp_path / "log"), "--bundle", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1 and "Nothing half written was left behind" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.glob("log*")] == ["log.state"]
    assert list((tmp_path / "log.state").iterdir()) == []


def test_clips_are_decoded_while_others_are_read(card, bundle, log, reader, monkeypatch):
    begun: list[str] = []
    whole, seen = pipeline._Study, []

    def noted(file, *rest):
        begun.append(file.name)
        return whole(file, *rest)

    monkeypatch.setattr(pipeline, "_Study", noted)
    looks = Reader.looks

    def watching(self, frames):
        seen.append(list(begun))
        time.sleep(0)
        yield from looks(self, frames)

    monkeypatch.setattr(Reader, "looks", watching)
    assert log(card, "--decoders", "2")[0] == 0
    assert seen == [begun[:2], begun[:3], begun[:3]]
