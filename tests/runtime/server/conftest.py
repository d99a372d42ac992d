"""The slate reader behind a real server, and the official client of it."""

from __future__ import annotations

import pytest
from serving import TOKEN, serving

from a2d import load
from a2d.runtime.server.work.service import Service


@pytest.fixture(scope="module")
def model(slate):
    return load(slate, threads=1)


@pytest.fixture(scope="module")
def address(model):
    with serving(Service({"slate": model})) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    openai = pytest.importorskip("openai")
    return openai.OpenAI(base_url=f"{address}/v1", api_key=TOKEN, max_retries=0)
