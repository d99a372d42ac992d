"""`python benchmarks/soak.py BUNDLE --minutes 60`: a server under mixed requests; does it lose or leak?

Clients ask for answers whole and streamed, in a shape and not, upload pictures, send what is wrong, and vanish in the
middle; `kill -9` ends the server now and then, and it is started again. An answer that differs from the first one to
the same request, a status other than the one expected, a request that is never answered, and memory, open files or
folders that grow are failures: exit status 1. Knows the server by HTTP and by its process alone.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

TOKEN = "soak-" + "x" * 12
HEADERS = {"authorization": f"Bearer {TOKEN}"}
CLIENTS = 8
PATIENCE = 600
"""Seconds within which a request is answered, on a machine that others use as well."""
LOOK = 10.0
"""Seconds between two looks at the server."""

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc000000301010018dd8db00000"
    "000049454e44ae426082"
)
"""A red pixel."""

SCHEMA = {"type": "object", "properties": {"take": {"type": "integer"}}, "required": ["take"]}


class Server:
    """The process, which may be killed and is started again."""

    def __init__(self, bundle: str, arguments: list[str], log: Path) -> None:
        self._command = [sys.executable, "-m", "a2d", "serve", bundle, "--port", "0", "--token", TOKEN, *arguments]
        self._log = log
        self.up = threading.Event()
        self.start()

    def start(self) -> None:
        """Start, and wait until it listens."""
        self._log.write_text("")
        with self._log.open("w") as said:
            self.process = subprocess.Popen(self._command, stdout=said, stderr=said)
        while "OPENAI_API_KEY" not in self._log.read_text():
            if self.process.poll() is not None:
                raise SystemExit(self._log.read_text())
            time.sleep(0.1)
        lines = self._log.read_text().splitlines()
        self.address = next(line for line in lines if line.startswith("OPENAI_BASE_URL="))[16:].removesuffix("/v1")
        self.up.set()

    def kill(self) -> None:
        """End it as the system would, without a word, and start it again."""
        self.up.clear()
        self.process.kill()
        self.process.wait()
        self.start()

    @property
    def facts(self) -> dict[str, float]:
        """Resident memory in MB, open files, and threads."""
        proc = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line)
        files = len(list((proc / "fd").iterdir()))
        return {"MB": int(status["VmRSS"].split()[0]) / 1024, "files": files, "threads": int(status["Threads"])}

    @property
    def folders(self) -> int:
        """Folders that servers have left in the place for temporary files."""
        return len(list(Path(tempfile.gettempdir()).glob(f"a2d-serve-{self.process.pid}-*")))


class Soak:
    """What is asked, and what came of it."""

    def __init__(self, server: Server, seed: int, pause: float = 0.0) -> None:
        """`pause`: seconds between two requests of a client, in the mean."""
        self.server, self.counts, self.faults, self._pause = server, Counter[str](), list[str](), pause
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._first: dict[str, Any] = {}
        self.over = threading.Event()
        with httpx.Client(headers=HEADERS) as client:
            self._model = client.get(f"{server.address}/v1/models").json()["data"][0]["id"]

    def client(self) -> None:
        """Ask until it is over."""
        kinds: list[Callable[[httpx.Client, random.Random], None]] = [self.whole, self.whole, self.streamed]
        kinds += [self.shaped, self.vanishing, self.impatient, self.uploaded, self.wrong]
        draw = random.Random(self._random.random())
        while not self.over.is_set():
            kind = draw.choice(kinds)
            started = time.monotonic()
            while not self._asked(kind, draw):
                if time.monotonic() - started > PATIENCE:
                    self._fault(f"{kind.__name__}: no answer for {PATIENCE} s")
                    break
            self.over.wait(2 * self._pause * draw.random())

    def _asked(self, kind: Callable[[httpx.Client, random.Random], None], draw: random.Random) -> bool:
        """True once the request was answered; one that was cut off by a kill is asked again."""
        self.server.up.wait()
        process = self.server.process
        try:
            with httpx.Client(base_url=self.server.address, headers=HEADERS, timeout=PATIENCE) as client:
                kind(client, draw)
        except _Later:
            self._count("told to come back")
            time.sleep(draw.random())
            return False
        except httpx.HTTPError as error:
            if process is self.server.process and self.server.up.is_set() and process.poll() is None:
                self._fault(f"{kind.__name__}: {type(error).__name__}: {error}")
                return True
            self._count("asked again after a kill")
            return False
        self._count(kind.__name__)
        return True

    def whole(self, client: httpx.Client, draw: random.Random) -> None:
        """An answer at once, of a seed and prompt that has been asked before."""
        body = self._body(draw)
        made = _checked(client.post("/v1/completions", json=body), 200).json()
        self._same(body, made["a2d"]["tokens"])

    def streamed(self, client: httpx.Client, draw: random.Random) -> None:
        """The same in pieces."""
        body = self._body(draw) | {"stream": True}
        with client.stream("POST", "/v1/completions", json=body) as answer:
            if answer.status_code != 200:
                answer.read()
            lines = list(_checked(answer, 200).iter_lines())
        if "data: [DONE]" not in lines:
            raise httpx.RemoteProtocolError("a stream without its end")

    def shaped(self, client: httpx.Client, draw: random.Random) -> None:
        """An answer that keeps to a schema, of some."""
        schema = SCHEMA | {"title": f"{draw.randrange(36)}"}
        form = {"type": "json_schema", "json_schema": {"name": "soak", "schema": schema}}
        body = self._body(draw, drawn=False) | {"response_format": form}
        text = _checked(client.post("/v1/completions", json=body), 200).json()["choices"][0]["text"]
        if not text.startswith('{"take": ') or not text.endswith("}"):
            self._fault(f"shaped: got {text!r}")

    def vanishing(self, client: httpx.Client, draw: random.Random) -> None:
        """A client that leaves in the middle of a long answer."""
        with client.stream("POST", "/v1/a2d/blocks", json=self._body(draw) | {"max_tokens": 400}) as answer:
            if answer.status_code == 429:
                raise _Later
            for _, _ in zip(range(draw.randrange(1, 20)), answer.iter_lines(), strict=False):
                pass

    def impatient(self, client: httpx.Client, draw: random.Random) -> None:
        """A client that does not wait for its answer."""
        with suppress(httpx.TimeoutException):
            client.post("/v1/completions", json=self._body(draw) | {"max_tokens": 400}, timeout=draw.random())

    def uploaded(self, client: httpx.Client, draw: random.Random) -> None:
        """A picture that is kept, read back and deleted."""
        data = PNG + bytes(draw.randrange(1 << 20))
        number = _checked(client.post("/v1/files", files={"file": ("../x.png", data)}), 200).json()["id"]
        if _checked(client.get(f"/v1/files/{number}/content"), 200).content != data:
            self._fault("uploaded: another content came back")
        _checked(client.delete(f"/v1/files/{number}"), 200)

    def wrong(self, client: httpx.Client, draw: random.Random) -> None:
        """A request that cannot be served."""
        kinds = [
            (400, lambda: client.post("/v1/completions", content=b"{" * draw.randrange(1, 10_000))),
            (400, lambda: client.post("/v1/completions", json=self._body(draw) | {"best": draw.random()})),
            (404, lambda: client.post("/v1/completions", json=self._body(draw) | {"model": "nobody"})),
            (401, lambda: client.get("/v1/models", headers={"authorization": "Bearer wrong"})),
            (404, lambda: client.get("/v1/files/..%2f..%2fetc%2fpasswd/content")),
            (413, lambda: client.post("/v1/completions", content=bytes(40 << 20))),
            (404, lambda: client.post("/v1/videos", json={"model": self._model, "prompt": "x"})),
        ]
        status, ask = draw.choice(kinds)
        try:
            _checked(ask(), status)
        except httpx.TransportError:
            if status != 413:  # a connection that is closed while we send is an answer as well
                raise

    def _body(self, draw: random.Random, drawn: bool = True) -> dict[str, Any]:
        first = draw.randrange(5, 45)
        asked = {"model": self._model, "prompt": [first, 6, 7], "max_tokens": 16 + first % 24}
        return asked | ({"temperature": first % 3 / 2, "seed": first} if drawn else {})

    def _same(self, body: dict[str, Any], tokens: list[int]) -> None:
        with self._lock:
            if self._first.setdefault(str(body), tokens) != tokens:
                self.faults.append(f"{body}: got {tokens}, and {self._first[str(body)]} before")

    def _count(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1

    def _fault(self, what: str) -> None:
        with self._lock:
            self.faults.append(what)


class _Later(Exception):
    """The server asks to come back."""


def _checked(answer: httpx.Response, status: int) -> httpx.Response:
    if answer.status_code == 429:
        if not answer.headers.get("retry-after", "").isdigit():
            raise httpx.RemoteProtocolError("429 without Retry-After")
        raise _Later
    if answer.status_code != status:
        raise httpx.RemoteProtocolError(f"got {answer.status_code}, expected {status}: {answer.text[:200]}")
    return answer


def main() -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument(
        "--kill-after", type=float, default=12, metavar="MINUTES", help="minutes between two kills (12)"
    )
    parser.add_argument("--kills", type=int, metavar="N", help="kills at most; the last life lasts to the end")
    parser.add_argument("--pause", type=float, default=0, metavar="SECONDS", help="mean pause of a client (0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.epilog = "All other arguments go to a2d serve."
    asked, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(asked.bundle, others, Path(folder) / "log")
        soak = Soak(server, asked.seed, asked.pause)
        lives = _watched(server, soak, asked.minutes, asked.kill_after, asked.kills)
        log = (Path(folder) / "log").read_text()
        server.process.terminate()
        status = server.process.wait(60)
        faults = [*soak.faults, *(fault for life in lives for fault in _growth(life))]
        faults += [f"ended with {status} at SIGTERM"] if status else []
        faults += ["a folder was left behind"] if server.folders else []
        faults += ["the log has a traceback or the token"] if "Traceback" in log or TOKEN in log else []
    print("requests: " + ", ".join(f"{name} {count}" for name, count in sorted(soak.counts.items())))
    print("\n".join([f"FAULT {fault}" for fault in faults[:20]] or ["nothing was lost, and nothing leaked"]))
    return 1 if faults else 0


def _watched(
    server: Server, soak: Soak, minutes: float, kill_after: float, kills: int | None
) -> list[list[dict[str, float]]]:
    """Looks at each life of the server."""
    started, lives, born = time.monotonic(), [list[dict[str, float]]()], time.monotonic()
    threads = [threading.Thread(target=soak.client, daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while (passed := time.monotonic() - started) < 60 * minutes:
        time.sleep(LOOK)
        lives[-1].append(server.facts)
        told = ", ".join(f"{value:.0f} {name}" for name, value in lives[-1][-1].items())
        print(f"{passed / 60:6.1f} min: {told}, {soak.counts.total()} requests, {len(soak.faults)} faults", flush=True)
        may = kills is None or len(lives) <= kills
        if may and time.monotonic() - born > 60 * kill_after and passed < 60 * minutes - 60:
            print("kill -9", flush=True)
            server.kill()
            lives.append([])
            born = time.monotonic()
    soak.over.set()
    for thread in threads:
        thread.join(180)
    _check_idle(server, soak)
    return lives


def _check_idle(server: Server, soak: Soak) -> None:
    """Nothing runs or waits once nobody asks."""
    deadline, busy = time.monotonic() + 60, ""
    while time.monotonic() < deadline:
        text = httpx.get(f"{server.address}/metrics", headers=HEADERS, timeout=60).text
        busy = ", ".join(
            line for line in text.splitlines() if line[:9] in ("a2d_runni", "a2d_waiti") and line[-1] != "0"
        )
        if not busy:
            return
        time.sleep(1)
    soak.faults.append(f"still busy a minute after the last request: {busy}")


def _growth(life: list[dict[str, float]]) -> list[str]:
    """What has grown in one life of a server, from the second third of the looks to the last one."""
    third = len(life) // 3
    if third < 6:
        return []
    found = []
    for name, room in (("MB", 20.0), ("files", 16.0), ("threads", 4.0)):
        before, after = (statistics.median(look[name] for look in part) for part in (life[third:-third], life[-third:]))
        if after > 1.05 * before + room:
            found.append(f"{name} grew from {before:.0f} to {after:.0f}")
    return found


if __name__ == "__main__":
    sys.exit(main())
