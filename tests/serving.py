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
from toy import Toy, contract, prompt

from a2d.runtime.bundle.manifest import TextFiles, Words
from a2d.runtime.decode.session import Session
from a2d.runtime.server.app import app_of
from a2d.runtime.server.service import Service

TOKEN = "only-for-tests"
HEADERS = {"authorization": f"Bearer {TOKEN}"}


class ToyModel:
    """What a server asks of a Model, over the toy network: letters are tokens. `gate` holds it while it is not set."""

    def __init__(self, name: str = "toy", stop: bool = False) -> None:
        decode = contract() if stop else contract(stop_token_ids=())
        words = Words(model=bundles.MANIFEST.model, decode=decode, text=TextFiles())
        self.manifest = SimpleNamespace(name=name, words=words, decode=decode, text=words.text, vision=None)
        self.bundle = SimpleNamespace(path=Path(f"{name}-folder.a2d"))
        self.gate = threading.Event()
        self.gate.set()
        self.begun = self.forwards = 0

    def stream(self, asked, *, images=(), options=None, **_):
        self.begun += 1
        ids = [ord(c) % 25 for c in asked] if isinstance(asked, str) else list(asked)
        session: Session = Toy().session(self.manifest.decode, max_context=4000)
        session._detokenize = self.detokenize
        session.wrap = self._held
        return session.stream(prompt(np.array(ids)), options)

    def detokenize(self, tokens) -> str:
        return "".join(chr(ord("a") + int(token)) for token in tokens)

    def alone(self, text: str, **chosen) -> tuple[int, ...]:
        """Tokens of the answer where nothing else is decoded."""
        from a2d.runtime.decode.options import Options

        return self.stream(text, options=Options(**chosen)).run().tokens

    def _held(self, runner):
        model = self

        class Held:
            cache = property(lambda _: runner.cache)

            def run(self, request):
                assert model.gate.wait(30)
                model.forwards += 1
                return runner.run(request)

        return Held()


@contextmanager
def serving(service: Service, tokens: tuple[str, ...] = (TOKEN,)) -> Iterator[str]:
    """The address of a running server."""
    listening = socket.create_server(("127.0.0.1", 0))
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
