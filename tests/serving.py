"""A server in a thread of the test, and a tiny model behind it that can be held between two forwards."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import bundles
import numpy as np
import uvicorn
from toy import HEADS, LAYERS, MASK, D, Toy, contract, prompt

from a2d.runtime.bundle.manifest import TextFiles, Words
from a2d.runtime.decode.cache import CacheShape
from a2d.runtime.decode.options import Options
from a2d.runtime.decode.session import Session
from a2d.runtime.server.web.app import app_of
from a2d.runtime.server.work.service import Service

TOKEN = "only-for-tests"
HEADERS = {"authorization": f"Bearer {TOKEN}"}


SICK = 26
"""Token whose row, and whatever sees it, is not a number; no answer holds it."""


class Sick(Toy):
    """A network with such a token."""

    def forward(self, tokens, positions, visible, past=None, features=None, is_feature=None):
        sick = tokens == SICK
        return super().forward(tokens, positions, visible, past, np.where(sick[:, None], np.nan, 0.0), sick)


class ToyModel:
    """What a server asks of a Model, over the toy network: letters are tokens. `gate` holds it while it is not set."""

    def __init__(self, name: str = "toy", stop: bool = False) -> None:
        decode = contract(forbid_token_ids=(MASK, SICK), **({} if stop else {"stop_token_ids": ()}))
        words = Words(model=bundles.MANIFEST.model, decode=decode, text=TextFiles())
        self.manifest = SimpleNamespace(name=name, words=words, decode=decode, text=words.text, vision=None)
        self.bundle = SimpleNamespace(path=Path(f"{name}-folder.a2d"))
        self.gate = threading.Event()
        self.gate.set()
        self.begun = self.forwards = self.rows = 0
        self._engines = Sick().engines()
        self._script = self._engines("backbone")._script
        self._engines("backbone")._script = self._held

    def session(self, beside: Session | None = None) -> Session:
        shape = CacheShape(LAYERS, HEADS, D, "float64")
        pool = None if beside is None else beside.share()
        return Session(self._engines, self.manifest.decode, shape, 4000, self.detokenize, pool=pool)

    def prompt(self, asked, *_, **__):
        self.begun += 1
        ids = [ord(c) % 25 for c in asked] if isinstance(asked, str) else list(asked)
        return prompt(np.array(ids))

    def detokenize(self, tokens) -> str:
        return "".join(chr(ord("a") + int(token)) for token in tokens)

    def alone(self, text: str, **chosen) -> tuple[int, ...]:
        """Tokens of the answer where nothing else is decoded."""
        toy = Sick().session(self.manifest.decode, max_context=4000)
        return toy.generate(self.prompt(text), Options(**chosen)).tokens

    def _held(self, feeds):
        assert self.gate.wait(30)
        self.forwards += 1
        self.rows += feeds["tokens"].shape[1]
        return self._script(feeds)


@contextmanager
def serving(service: Service, tokens: tuple[str, ...] = (TOKEN,)) -> Iterator[str]:
    """The address of a running server."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)  # whoever does not read is soon noticed
    config = uvicorn.Config(
        app_of(service, tokens), lifespan="on", log_level="warning", timeout_graceful_shutdown=2, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        for model in service.models.values():
            getattr(model, "gate", threading.Event()).set()
        thread.join(30)
        assert not thread.is_alive()
        listening.close()
