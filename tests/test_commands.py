"""The commands as a user meets them: their output, their exit status, and what a signal or a closed pipe does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import a2d
from conftest import DATA, EXAMPLES
from patience import PATIENCE
from PIL import Image

from a2d import load

FRAME = EXAMPLES / "slate" / "frames" / "easy-01.png"


def events(output: str) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


def test_run_json_lines(golden):
    flags = ["--token-ids", "70,75,16,101,18", "--block-size", "8", "--steps", "4"]
    flags += ["--max-tokens", "64", "--commit", "merged", "--json"]
    done = a2d("run", golden("a2d-qwen3"), *flags)
    assert done.returncode == 0, done.stderr
    lines = events(done.stdout)
    steps, commits, last = (
        [e for e in lines if e["event"] == "step"],
        [e for e in lines if e["event"] == "commit"],
        lines[-1],
    )
    assert last["event"] == "done" and last["text"] == ""
    assert last["tokens"] == [token for e in commits for token in e["tokens"]]
    assert last["forwards"] == len(steps) == 32
    assert last["seconds"] > 0
    assert steps[0]["tokens"].count(None) == 6  # two of eight were settled
    assert len(steps[0]["accepted"]) == 2


@pytest.fixture(scope="module")
def reading(slate) -> str:
    """What the model reads on FRAME, whichever model it is."""
    return load(slate).generate(images=[FRAME], steps=4, max_tokens=64).text


def test_run_reads_a_frame(slate, reading):
    flags = ["--steps", "4", "--max-tokens", "64", "--min-confidence", "0", "--looks", "1"]
    done = a2d("run", slate, "--image", FRAME, "--prompt", "read the slate", *flags)
    assert (done.returncode, done.stdout) == (0, f"{reading}\n"), done.stderr


def test_run_asks_the_bundle_s_own_question(slate, reading):
    last = events(a2d("run", slate, "--image", FRAME, "--json", "--looks", "1").stdout)[-1]
    assert (last["event"], last["text"]) == ("done", reading)
    done = a2d("run", slate)
    assert done.returncode == 2 and "this bundle asks 'read the slate' of an image; give an image" in done.stderr


def test_run_reads_each_frame_by_itself_and_goes_on_after_a_bad_one(slate, reading, tmp_path):
    folder = tmp_path / "day 1"
    folder.mkdir()
    for name in ("take 10.png", "take 2.PNG", "._take 2.png", "notes.txt"):
        shutil.copy(FRAME, folder / name)
    (folder / "take 3.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    done = a2d(
        "run", slate, "--each", "--json", "--image", folder, tmp_path / "empty", "--image", FRAME, "--looks", "1"
    )
    lines = events(done.stdout)
    assert [(e["event"], e["image"]) for e in lines] == [
        ("done", str(folder / "take 2.PNG")),
        ("error", str(folder / "take 3.png")),
        ("done", str(folder / "take 10.png")),
        ("error", str(tmp_path / "empty")),
        ("done", str(FRAME)),
    ]
    assert [e["text"] for e in lines if e["event"] == "done"] == [reading] * 3
    assert "is in no format that a2d reads" in lines[1]["message"] and "is a directory" in lines[3]["message"]
    assert done.returncode == 2 and done.stderr == "a2d run: 2 of 5 frames could not be read\n"


def test_run_prints_a_line_for_each_frame(slate, reading, tmp_path):
    missing = tmp_path / "missing.png"
    done = a2d("run", slate, "--image", FRAME, missing, FRAME, "--each", "--min-confidence", "0", "--looks", "1")
    assert done.stdout == f"{FRAME}\t{reading}\n" * 2
    assert done.returncode == 2 and done.stderr.count(str(missing)) >= 1
    assert a2d("run", slate, "--image", FRAME, "--each").returncode == 0


def test_run_reads_messages_with_paths_relative_to_the_file(slate, reading, tmp_path):
    shutil.copy(FRAME, tmp_path / "frame.png")
    content = [{"type": "image", "image": "frame.png"}, {"type": "text", "text": "read the slate"}]
    (tmp_path / "chat.json").write_text(json.dumps([{"role": "user", "content": content}]), encoding="utf-8")
    done = a2d("run", slate, "--messages", tmp_path / "chat.json", "--max-tokens", "64", "--json", cwd=EXAMPLES)
    assert events(done.stdout)[-1]["text"] == reading, done.stderr


def test_same_seed_same_tokens(golden):
    flags = ["--token-ids", "5,6,7", "--temperature", "1.2", "--top-p", "0.9", "--max-tokens", "32", "--json"]
    runs = [events(a2d("run", golden("tail-qwen3"), *flags, "--seed", seed).stdout)[-1]["tokens"] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--token-ids", "5,6", "--steps", "0"], "steps: got 0"),
        (["--token-ids", "5,6", "--steps", "9"], "steps: got 9, expected 1 to the block size 8"),
        (["--token-ids", "5,6", "--threshold", "1.5"], "threshold: got 1.5"),
        (["--token-ids", "5,6", "--block-size", "70000"], "block_size: got 70000"),
        (["--token-ids", ""], "the prompt is empty"),
        (["--token-ids", "5,x"], "expected ids like 1,2,3"),
        (["--token-ids", "5,128"], "token id 128 is outside the vocabulary"),
        (["--token-ids", ",".join(["5"] * 600)], "the context holds 512"),
        (["--prompt", "hello"], "no tokenizer; pass token ids"),
        (["--messages", "nowhere.json"], "nowhere.json: no such file"),
        (["--token-ids", "5", "--image", str(FRAME)], "this bundle reads text only"),
        (["--token-ids", "5", "--precision", "fp16"], "this bundle holds fp32"),
        (["--token-ids", "5", "--commit", "never"], "invalid choice: 'never'"),
        ([], "no prompt, and this bundle has none of its own"),
        (["--token-ids", "5", "--image", str(FRAME), "--each"], "this bundle reads text only"),
    ],
)
def test_run_bad_input(golden, flags, message):
    done = a2d("run", golden("tail-qwen3"), *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n broken", "broken.png"),
        (b"", "empty"),
        (b"GIF", "broken.png"),
        (b"just text", "PNG"),
    ],
)
def test_run_bad_image(slate, tmp_path, content, message):
    (tmp_path / "broken.png").write_bytes(content)
    done = a2d("run", slate, "--image", tmp_path / "broken.png", "--prompt", "read the slate")
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_run_refuses_a_tampered_bundle(golden, tmp_path):
    copy = Path(shutil.copytree(golden("tail-qwen3"), tmp_path / "bundle"))
    weights = copy / "weights.fp32.data"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    done = a2d("run", copy, "--token-ids", "5")
    assert done.returncode == 2
    assert "weights.fp32.data: SHA-256" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_interrupting_a_run_ends_it_quietly(golden):
    flags = ["--token-ids", "5,6", "--max-tokens", "400", "--steps", "8", "--json"]
    command = [sys.executable, "-m", "a2d", "run", str(golden("a2d-qwen3")), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, 130)  # it may have been done before the signal came
    assert "Traceback" not in errors


def test_a_closed_pipe_is_no_error_message(golden):
    flags = ["--token-ids", "5,6", "--max-tokens", "400", "--steps", "8", "--json"]
    command = [sys.executable, "-m", "a2d", "run", str(golden("a2d-qwen3")), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        time.sleep(0)
        errors = process.stderr.read()
        process.wait(timeout=PATIENCE)
    assert "Traceback" not in errors and "Exception" not in errors


def test_inspect(golden):
    bundle = golden("a2d-qwen3")
    assert json.loads(a2d("inspect", bundle, "--json").stdout) == json.loads((bundle / "manifest.json").read_text())
    shown = a2d("inspect", bundle).stdout
    for part in ("a2d-qwen3", "block_size 8", "prompt_alignment left", "linear-round", "PASS"):
        assert part in shown
    assert a2d("inspect", DATA).returncode == 2


def test_bench_measures_and_compares(golden):
    flags = ["--prompt-tokens", "40", "--max-tokens", "32", "--steps", "4"]
    flags += ["--repeats", "1", "--against", "torch", "--json"]
    done = a2d("bench", golden("tail-qwen3"), *flags)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    wanted = "step_ms tokens_per_second forwards_per_block tokens_per_forward floor_share python_share peak_rss_bytes"
    for name in [*wanted.split(), "weights_bytes", "ratio_to_torch", "step_p95_ms", "first_block_ms", "read_bandwidth"]:
        assert found[name] > 0, name
    assert found["torch_same_tokens"] == 1.0
    assert found["torch_forwards"] == 4 * 4 + 3 + 1  # separate: a prefill, and a commit per block but the last


def test_bench_against_one_token_per_forward(golden):
    flags = ["--prompt-tokens", "40", "--max-tokens", "32", "--repeats", "1", "--against", "autoregressive"]
    done = a2d("bench", golden("tail-qwen3"), *flags, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["autoregressive"]
    assert [(row["steps"], row["threshold"]) for row in found["pairs"]] == [
        *((s, None) for s in range(1, 9)),
        (None, 0.9),
    ]
    assert [round(row["tokens_per_forward"], 3) for row in found["pairs"]][:8:7] == [8.0, 1.0]
    assert all(row["lowest"] == row["ratio"] == row["highest"] > 0 for row in found["pairs"])
    shown = a2d("bench", golden("tail-qwen3"), *flags, "--steps", "2").stdout
    assert "one token per forward" in shown and len(shown.split("against it")[1].strip().splitlines()) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give a BUNDLE or --synthetic NAME"),
        (["--synthetic", "1g"], "got '1g', expected one of: 100m"),
        (
            ["x", "--against", "nothing"],
            "expected one of: autoregressive, llama.cpp, onnxruntime-genai, openvino, torch",
        ),
        (["x", "--repeats", "0"], "--repeats: got 0"),
        (["x", "--together", "2,b"], "got '2,b', expected whole numbers above 0 by comma"),
        (["BUNDLE", "--prompt-tokens", "99999999"], "prompt_tokens: got 99999999, the context of this bundle holds"),
        (["BUNDLE", "--max-tokens", "0"], "max_tokens: got 0, expected"),
    ],
)
def test_bench_bad_input(golden, flags, message):
    done = a2d("bench", *(golden("tail-qwen3") if flag == "BUNDLE" else flag for flag in flags))
    assert done.returncode == 2 and message in done.stderr


def test_a_slate_s_doubts_are_marked_and_a_board_that_is_too_small_is_refused(slate, tmp_path):
    hard = EXAMPLES / "slate" / "frames" / "hard-11.png"
    done = a2d("run", slate, "--image", hard)
    assert (
        "scene ?" in done.stdout and "unsure of scene (" in done.stderr and "under --min-confidence 0.8" in done.stderr
    )
    last = events(a2d("run", slate, "--image", hard, "--json").stdout)[-1]
    assert "scene" in last["unsure"] and set(last["fields"]) == {"scene", "take", "roll", "date", "fps"}
    with Image.open(FRAME) as board:
        wide = Image.new("RGB", (1920, 1080), (90, 90, 90))
        wide.paste(board.resize((420, 210)), (600, 400))
    wide.save(tmp_path / "far.png")
    for flags in ([], ["--each"]):
        done = a2d("run", slate, "--image", tmp_path / "far.png", "--min-confidence", "0.95", "--looks", "1", *flags)
        assert done.returncode == 2 and "fills the picture" in done.stderr and "?" in done.stdout
    assert a2d("run", slate, "--image", FRAME, "--min-confidence", "2").returncode == 2


def test_an_unsure_slate_is_looked_at_again(slate):
    hard = EXAMPLES / "slate" / "frames" / "hard-11.png"
    last = events(a2d("run", slate, "--image", hard, "--json").stdout)[-1]
    once = events(a2d("run", slate, "--image", hard, "--json", "--looks", "1").stdout)[-1]
    assert last["looks"] == 11 and once["looks"] == 1 and once["tokens"] == last["tokens"]
    quick = events(a2d("run", slate, "--each", "--image", hard, "--json", "--budget", "10 s").stdout)[-1]
    assert quick["looks"] == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--looks", "12"], "got 12, expected 1 to 11"),
        (["--looks", "2", "--prompt", "what is this?"], "only slates are looked at again"),
        (["--looks", "2", "--choices", "yes,no"], "only slates are looked at again"),
        (["--looks", "2", "--budget", "10 s"], "a budget is spent by the first look"),
    ],
)
def test_looks_that_cannot_be_taken(slate, flags, message):
    done = a2d("run", slate, "--image", FRAME, *flags)
    assert (done.returncode, done.stdout) == (2, "") and "--looks" in done.stderr and message in done.stderr


def test_no_slate_comes_with_its_reason(slate):
    done = a2d("run", slate, "--image", EXAMPLES / "slate" / "frames" / "no-slate-10.png")
    assert (done.returncode, done.stdout) == (0, "no slate\n")
    assert "two thirds of the picture" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "slate", "--image", "https://example.com/x.png"], "got an address, 'https://example.com/x.png'"),
        (["export", "Qwen/Qwen3-0.6B", "--dry-run"], "hf download Qwen/Qwen3-0.6B --local-dir Qwen3-0.6B"),
        (["export", "nowhere", "--dry-run"], "nowhere: nothing there, expected a checkpoint directory"),
        (["bench", "BUNDLE", "--against", "foo"], "expected one of: autoregressive, fp32"),
        (["serve", "BUNDLE", "--port", "99999999"], "--port: got 99999999, expected 0 to 65535"),
    ],
)
def test_slips_are_told_before_any_work(arguments, message, slate, tmp_path):
    given = [str(slate) if part in ("slate", "BUNDLE") else part for part in arguments]
    done = a2d(*given, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr


def test_inspect_calls_a_bundle_by_its_name(slate):
    said = a2d("inspect", slate).stdout
    assert said.startswith("slate: qwen2_5_vl") and max(map(len, said.splitlines())) <= 130


def test_json_names_a_frame_as_its_file_is_called(slate, tmp_path):
    shutil.copy(FRAME, frame := tmp_path / "take\t1.png")
    last = events(a2d("run", slate, "--each", "--json", "--looks", "1", "--image", frame).stdout)[-1]
    assert last["image"] == str(frame)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["run", "BUNDLE", "--each", "--image", ""], "got an empty text as an image"),
        (["run", "BUNDLE", "--image", ""], "got an empty text as an image"),
        (["run", ""], "got '' as a bundle"),
        (["run", "BUNDLE", "--messages", ""], "argument --messages: got an empty text, expected a path"),
        (["run", "BUNDLE", "--messages", "."], ". is a folder, expected a JSON file"),
        (["log", "", "-o", "x", "--bundle", "BUNDLE"], "argument FOOTAGE: got an empty text, expected a path"),
    ],
)
def test_an_empty_name_is_not_the_working_folder(slate, tmp_path, flags, message):
    shutil.copy(FRAME, tmp_path / "frame.png")
    done = a2d(*(str(slate) if flag == "BUNDLE" else flag for flag in flags), cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and done.stdout == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a shell, and a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("--version >&-", 0),
        ("--help >/dev/full 2>/dev/null", 1),
        ("--help 2>/dev/full >/dev/full", 1),
        ("run nowhere 2>&-", 2),
        ("run nowhere >&- 2>&- <&-", 2),
        ("run nowhere 2>/dev/full", 2),
    ],
)
def test_streams_that_are_closed_or_full_leave_the_status(line, status, unbuffered):
    command = ["sh", "-c", f"{sys.executable} -m a2d {line}"]
    given = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=given)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
