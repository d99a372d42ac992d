"""Whatever is sent: no status from 500 on but the one of a server that is full, and the next request is served."""

from __future__ import annotations

import os

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from server_openapi import described
from serving import HEADERS, ToyModel, serving

from a2d.runtime.server.request.limits import Limits
from a2d.runtime.server.work.films import FRAMES, VIDEO, Progress
from a2d.runtime.server.work.service import Service

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = int(os.environ.get("A2D_FUZZ", "4"))
"""Requests of each kind; `make fuzz` sends more."""

OPERATIONS = [result.ok() for result in schemathesis.openapi.from_dict(described()).get_all_operations()]

FUZZED = settings(
    max_examples=EXAMPLES,
    derandomize="A2D_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    database=None,
)


class Films:
    """A bundle that films nothing at once."""

    def check(self, wanted):
        pass

    def film(self, wanted, folder, told, cancelled):
        told(Progress(1, 1, 0, 1, 0, 1))
        for name in (VIDEO, FRAMES):
            (folder / name).write_bytes(b"film")


@pytest.fixture(scope="module")
def address():
    limits = Limits(stalled=5, waiting=16, upload=1 << 20, body=1 << 20, shape_seconds=5, pixels=10_000)
    with serving(Service({"toy": ToyModel(stop=True)}, {"film": Films()}, limits)) as address:
        yield address


def check(answer) -> None:
    assert answer.status_code < 500, f"{answer.request.method} {answer.request.url}: {answer.text}"
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_described_requests(address, operation):
    @FUZZED
    @given(case=operation.as_strategy())
    def sent(case):
        check(case.call(base_url=address, headers=HEADERS))

    sent()
    assert httpx.get(f"{address}/health").status_code == 200


PIECES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)

FIELDS = ["model", "prompt", "messages", "stop", "a2d", "response_format", "stream_options", "seed", "input_reference"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/a2d/blocks", "/v1/videos"])
def test_fields_of_any_type(address, path):
    @FUZZED
    @given(st.dictionaries(st.sampled_from(FIELDS), PIECES, max_size=4), st.sampled_from(["toy", "film"]))
    def sent(fields, model):
        import json

        body = json.dumps({"model": model, "prompt": "x", "max_tokens": 4} | fields).encode()
        check(client.post(path, content=body))

    with httpx.Client(base_url=address, headers=HEADERS, timeout=30) as client:
        sent()


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data; boundary=x", "text/plain", "multipart/form-data"]
)
def test_bodies_of_any_bytes(address, kind):
    @FUZZED
    @given(st.binary(max_size=300) | st.binary(max_size=80).map(lambda data: b"--x\r\n" + data + b"\r\n--x--\r\n"))
    def sent(data):
        for path in ("/v1/completions", "/v1/files", "/v1/videos"):
            check(client.post(path, content=data, headers={"content-type": kind}))

    with httpx.Client(base_url=address, headers=HEADERS, timeout=30) as client:
        sent()
