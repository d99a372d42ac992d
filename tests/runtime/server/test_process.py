"""`a2d serve` as a process: signals, the end of its parent, a Unix socket, and tokens that no log has."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and Unix sockets")

LIMIT = 120
"""Seconds within which a process has begun, or ended; a machine may be busy."""

PARENT = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(600)"

TOKEN = "a-token-that-nobody-prints"


def command(bundle: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "a2d", "serve", str(bundle), "--threads", "1", "--token", TOKEN, *arguments]


def begun(log: Path, what: str) -> str:
    """The line of a log that begins with `what`, once it is there."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if line.startswith(what):
                return line.removeprefix(what)
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat")
        if state.is_file() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # nobody has asked for its status yet
        os.kill(process, 0)
    except (ProcessLookupError, FileNotFoundError):
        return True
    return False


def folders(process: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"a2d-serve-{process}-*"))


def test_a_signal_ends_it_whole_and_no_token_is_logged(floats, tmp_path):
    log = tmp_path / "log"
    with log.open("w") as said:
        process = subprocess.Popen(command(floats, "--port", "0"), stdout=said, stderr=said)
    try:
        address = begun(log, "OPENAI_BASE_URL=").removesuffix("/v1")
        right, wrong = {"authorization": f"Bearer {TOKEN}"}, {"authorization": "Bearer another-secret"}
        assert httpx.get(f"{address}/v1/models", headers=wrong).status_code == 401
        assert httpx.get(f"{address}/nowhere", headers=right).status_code == 404
        name = httpx.get(f"{address}/v1/models", headers=right).json()["data"][0]["id"]
        assert len(folders(process.pid)) == 1
        body = {"model": name, "prompt": [5, 6], "max_tokens": 100, "stream": True}
        with httpx.stream("POST", f"{address}/v1/completions", json=body, headers=right) as answer:
            next(answer.iter_lines())
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT) == 0
        assert folders(process.pid) == []
    finally:
        process.kill()
        process.wait()
    text = log.read_text()
    assert TOKEN not in text and "another-secret" not in text
    assert "Traceback" not in text


def test_it_ends_with_its_parent_and_takes_its_socket_along(floats, tmp_path):
    log, place = tmp_path / "log", tmp_path / "a2d.sock"
    asked = command(floats, "--unix-socket", str(place), "--exit-with-parent")
    with log.open("w") as said:
        parent = subprocess.Popen([sys.executable, "-c", PARENT, *asked], stdout=subprocess.PIPE, stderr=said)
    try:
        server = int(parent.stdout.readline())
        deadline = time.monotonic() + LIMIT
        right = {"authorization": f"Bearer {TOKEN}"}
        while not place.exists():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(place)), base_url="http://a2d", timeout=LIMIT
        ) as client:
            [model] = client.get("/v1/models", headers=right).json()["data"]
            body = {"model": model["id"], "prompt": [5, 6], "max_tokens": 8}
            assert client.post("/v1/completions", json=body, headers=right).status_code == 200
            assert client.get("/v1/models").status_code == 401
        parent.kill()
        parent.wait()
        while not gone(server):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        parent.kill()
        parent.stdout.close()
    assert not place.exists()
    assert folders(server) == []
