"""The surface: what comes in is refused with a reason or served, clients may leave or dawdle, and no file leaks."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image
from serving import HEADERS, SICK, ToyModel, serving

from a2d.runtime.server.request.limits import Limits
from a2d.runtime.server.work.service import Service


@pytest.fixture
def model() -> ToyModel:
    return ToyModel()


@pytest.fixture
def service(model) -> Service:
    return Service({"toy": model}, limits=Limits(stalled=2.0, upload=1 << 20, body=1 << 20))


@pytest.fixture
def client(service):
    with serving(service) as address, httpx.Client(base_url=address, headers=HEADERS, timeout=30) as made:
        yield made


def ask(**changes) -> dict:
    return {"model": "toy", "prompt": "slate", "max_tokens": 12, **changes}


def png(width: int = 8, height: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


def error_of(answer: httpx.Response) -> dict:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def events(answer: httpx.Response) -> list[tuple[str, dict]]:
    found = re.findall(r"event: (.*)\ndata: (.*)\n\n", answer.text)
    return [(name, json.loads(data)) for name, data in found]


# -- who may come in


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "Basic b25seS1mb3ItdGVzdHM=", "Bearer \u00e9"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/metrics", "/nowhere"])
def test_nothing_is_told_without_the_token(client, header, path):
    raw = [] if header is None else [("authorization", header.encode())]
    answer = httpx.get(client.base_url.join(path), headers=raw)
    assert answer.status_code == 401
    assert error_of(answer)["code"] == "invalid_api_key"
    assert "only-for-tests" not in answer.text


def test_page_and_health_are_open_and_tell_nothing(client):
    for path in ("/", "/page.js", "/health"):
        answer = httpx.get(client.base_url.join(path))
        assert answer.status_code == 200
        assert "only-for-tests" not in answer.text
    assert "default-src 'none'" in httpx.get(client.base_url.join("/")).headers["content-security-policy"]


# -- answers


def test_an_answer_is_the_one_that_is_decoded_alone(client, model):
    answer = client.post("/v1/completions", json=ask())
    made = answer.json()
    assert answer.status_code == 200, answer.text
    assert tuple(made["a2d"]["tokens"]) == model.alone("slate", max_tokens=12)
    assert made["choices"][0] == {
        "index": 0,
        "text": model.detokenize(made["a2d"]["tokens"]),
        "logprobs": None,
        "finish_reason": "length",
    }
    assert made["usage"] == {"prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17}


def test_a_stop_string_ends_the_answer_and_is_left_out(client, model):
    whole = client.post("/v1/completions", json=ask(max_tokens=40)).json()["choices"][0]["text"]
    stop = whole[9:12]
    made = client.post("/v1/completions", json=ask(max_tokens=40, stop=["0", stop])).json()
    assert made["choices"][0]["text"] == whole[: whole.index(stop)]
    assert made["choices"][0]["finish_reason"] == "stop"
    assert made["usage"]["completion_tokens"] < 40


def test_block_events_show_tokens_masks_and_confidence(client):
    answer = client.post("/v1/a2d/blocks", json=ask(a2d={"steps": 2}))
    found = events(answer)
    names = [name for name, _ in found]
    assert names == ["answer.begin", *["block.delta", "block.commit"] * 3, "answer.end"]
    for name, step in found[1:-1]:
        assert [token is None for token in step["tokens"]] == step["masked"]
        assert len(step["confidence"]) == len(step["pieces"]) == 4
        assert any(step["masked"]) == (name == "block.delta")
    committed = [token for name, step in found if name == "block.commit" for token in step["tokens"]]
    assert committed == found[-1][1]["tokens"]
    assert "".join(step["text"] for name, step in found[1:-1]) == found[-1][1]["text"]


@pytest.mark.parametrize("together", [1, 4])
def test_many_at_once_are_served_or_told_to_come_back_and_tokens_are_those_of_alone(model, together):
    service = Service({"toy": model}, limits=Limits(together=together, waiting=24))
    prompts = [f"take {i}" for i in range(64)]
    drawn = [{"temperature": i % 3 / 2, "seed": i, "max_tokens": 4 + i % 5} for i in range(64)]
    alone = [model.alone(text, **how) for text, how in zip(prompts, drawn, strict=True)]
    connections = httpx.Limits(max_connections=64)
    with (
        serving(service) as address,
        ThreadPoolExecutor(64) as pool,
        httpx.Client(base_url=address, headers=HEADERS, timeout=120, limits=connections) as client,
    ):

        def answered(text: str, how: dict) -> tuple[list[int], int]:
            refusals = 0
            while True:
                body = {"model": "toy", "prompt": text, **how}
                answer = client.post("/v1/completions", json=body)
                if answer.status_code != 429:
                    assert answer.status_code == 200, answer.text
                    return answer.json()["a2d"]["tokens"], refusals
                refusals += 1
                assert 1 <= int(answer.headers["retry-after"]) <= 60
                time.sleep(0.2)

        model.forwards = 0
        made = list(pool.map(answered, prompts, drawn))
    assert [tuple(tokens) for tokens, _ in made] == alone
    assert sum(refusals for _, refusals in made) > 0  # 64 are more than may wait
    steps = sum(len(tokens) for tokens in alone)
    assert model.forwards < steps / 2 if together == 4 else model.forwards >= steps


def test_those_that_share_forwards_come_and_go_alone(model):
    """One vanishes, one cannot be decoded: the others have the tokens that they have alone."""
    service = Service({"toy": model}, limits=Limits(together=4, places=4, stalled=2.0))
    kept = ["scene", "take", "roll"]
    with serving(service) as address, httpx.Client(base_url=address, headers=HEADERS, timeout=60) as client:
        with client.stream("POST", "/v1/a2d/blocks", json=ask(max_tokens=3000)) as gone, ThreadPoolExecutor(4) as pool:
            next(gone.iter_lines())
            spoiled = pool.submit(client.post, "/v1/completions", json=ask(prompt=[SICK, 5], max_tokens=40))
            answers = [pool.submit(client.post, "/v1/completions", json=ask(prompt=p, max_tokens=60)) for p in kept]
            for text, answer in zip(kept, answers, strict=True):
                assert tuple(answer.result().json()["a2d"]["tokens"]) == model.alone(text, max_tokens=60)
            assert spoiled.result().status_code == 500
            assert "not finite" in error_of(spoiled.result())["message"]
        assert client.post("/v1/completions", json=ask()).status_code == 200


def test_memory_of_those_that_share_goes_with_the_last(model):
    service = Service({"toy": model}, limits=Limits(together=4))
    with serving(service) as address, ThreadPoolExecutor(4) as pool, httpx.Client(headers=HEADERS) as client:
        posts = [pool.submit(client.post, f"{address}/v1/completions", json=ask(), timeout=60) for _ in range(8)]
        assert [post.result().status_code for post in posts] == [200] * 8
        [living] = service._neighbours._living.values()
        deadline = time.monotonic() + 10
        while len(living) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(living) == 0


# -- clients that leave, or dawdle


def test_an_answer_ends_when_its_client_goes(client, model, service):
    body = ask(max_tokens=2000)
    with client.stream("POST", "/v1/a2d/blocks", json=body) as answer:
        next(answer.iter_lines())
    deadline = time.monotonic() + 20
    while service.scheduler.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.scheduler.running == 0
    assert model.forwards < 2000


def test_a_request_that_nobody_waits_for_is_not_begun(model):
    service = Service({"toy": model}, limits=Limits(places=1))
    with serving(service) as address:
        model.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(httpx.post, f"{address}/v1/completions", json=ask(), headers=HEADERS, timeout=30)
            while service.scheduler.running == 0:
                time.sleep(0.01)
            for _ in range(5):
                with pytest.raises(httpx.ReadTimeout):
                    httpx.post(f"{address}/v1/completions", json=ask(), headers=HEADERS, timeout=0.3)
            model.gate.set()
            assert first.result().status_code == 200
        deadline = time.monotonic() + 10
        while service.scheduler.waiting and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (service.scheduler.waiting, model.begun) == (0, 1)


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)


def head(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"authorization: {HEADERS['authorization']}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_client_that_does_not_read_holds_nobody_up_and_is_let_go(client, model, service):
    body = json.dumps(ask(max_tokens=3900, a2d={"block_size": 2})).encode()
    with connected(client) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(head("/v1/a2d/blocks", "content-type: application/json", f"content-length: {len(body)}") + body)
        assert client.post("/v1/completions", json=ask()).status_code == 200
        deadline = time.monotonic() + 60
        while service.scheduler.running and time.monotonic() < deadline:
            time.sleep(0.05)
        assert service.scheduler.running == 0


def test_a_body_that_does_not_come_is_not_waited_for(client):
    with connected(client) as slow:
        slow.sendall(head("/v1/completions", "content-length: 100") + b"{")
        assert b" 408 " in slow.recv(65536).split(b"\r\n")[0]


# -- what is too much


@pytest.mark.parametrize("path", ["/v1/files", "/v1/videos", "/v1/completions"])
def test_two_gigabytes_are_refused_before_they_are_sent(client, path):
    with connected(client) as sender:
        sender.sendall(head(path, "content-type: multipart/form-data; boundary=x", f"content-length: {2 << 30}"))
        assert b" 413 " in sender.recv(65536).split(b"\r\n")[0]


def test_an_endless_body_is_refused_where_the_limit_is(client, service):
    def pieces():
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while True:
            yield bytes(1 << 16)

    try:
        answer = client.post("/v1/files", content=pieces(), headers={"content-type": "multipart/form-data; boundary=x"})
        assert (answer.status_code, error_of(answer)["code"]) == (413, "too_large")
    except (httpx.WriteError, httpx.ReadError):
        pass  # the server has closed while we were sending
    assert service.uploads.all() == []
    assert list(service.uploads.folder.iterdir()) == []


def test_bytes_of_all_requests_together_are_bounded(model):
    service = Service({"toy": model}, limits=Limits(held=3000))
    with serving(service) as address:
        big = ask(prompt="x" * 5000)
        answer = httpx.post(f"{address}/v1/completions", json=big, headers=HEADERS)
        assert (answer.status_code, error_of(answer)["code"]) == (429, "too_many_bytes")
        assert httpx.post(f"{address}/v1/completions", json=ask(), headers=HEADERS).status_code == 200


def test_uploads_have_a_limit_together(model):
    service = Service({"toy": model}, limits=Limits(files=2))
    with serving(service) as address:
        made = [httpx.post(f"{address}/v1/files", files={"file": png()}, headers=HEADERS) for _ in range(3)]
        assert [answer.status_code for answer in made] == [200, 200, 413]
        assert "DELETE /v1/files/ID" in error_of(made[2])["message"]


# -- files


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\..\\x", "a\x00b", "\u202egnp.exe", "x" * 300])
def test_a_name_is_never_a_path(client, service, name):
    made = client.post("/v1/files", files={"file": (name, png())}, data={"purpose": "vision"}).json()
    kept = list(service.uploads.folder.iterdir())
    assert [path.name for path in kept] == [made["id"]]
    assert client.get(f"/v1/files/{made['id']}/content").content == png()
    assert client.delete(f"/v1/files/{made['id']}").json()["deleted"]
    assert list(service.uploads.folder.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/..%2f..%2f..%2fetc%2fpasswd",
        "/v1/files/..%2f..%2f..%2fetc%2fpasswd/content",
        "/v1/files/%2e%2e/%2e%2e/etc/passwd",
        "/../../../etc/passwd",
        "/page.html",
        "/..%2fserving.py",
        "/v1/videos/..%2f..%2fetc%2fpasswd/content",
    ],
)
def test_no_path_leads_out(client, path):
    with connected(client) as sender:
        sender.sendall(head(path).replace(b"POST", b"GET", 1))
        answer = sender.recv(65536)
    assert b" 404 " in answer.split(b"\r\n")[0]
    assert b"root:" not in answer


def chat(image: str, kind: str = "image_url") -> dict:
    parts = [{"type": kind, kind: {"url": image}}, {"type": "text", "text": "what?"}]
    return {"model": "toy", "messages": [{"role": "user", "content": parts}]}


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("/etc/passwd", "no other file is read"),
        ("file:///etc/passwd", "no other file is read"),
        ("../page.html", "no other file is read"),
        ("file-" + "0" * 32, "no file"),
        ("file-../../etc/passwd", "no file"),
        ("http://127.0.0.1:1/x.png", "fetches from these hosts: none"),
        ("https://example.com@evil/x.png", "fetches from these hosts: none"),
        ("data:image/png;base64,###", "not base64"),
        ("", "expected a data: URL"),
    ],
)
def test_pictures_come_from_nowhere_else(client, image, said):
    answer = client.post("/v1/chat/completions", json=chat(image))
    assert answer.status_code in (400, 404)
    assert said in error_of(answer)["message"]


def test_a_bundle_that_reads_no_images_says_so(client):
    url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    answer = client.post("/v1/chat/completions", json=chat(url))
    assert answer.status_code == 400
    assert "reads text only" in error_of(answer)["message"]


# -- what cannot be understood


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "expected a JSON object"),
        (b'{"model": "toy", "model": "toy"}', "stands 2 times"),
        (b'{"model": "toy", "prompt": "a", "temperature": NaN}', "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"model": "toy", "prompt": "a", "temperature": 3, "n": 2, "best": 1}', "unknown key 'best'"),
        (b'{"model": "toy"}', "expected one text, or one list"),
        (b'{"model": "toy", "prompt": "a", "a2d": {"stpes": 1}}', "unknown option stpes"),
        (b'{"model": "toy", "prompt": "a", "a2d": {"steps": "four"}}', "steps"),
        (b'{"model": "toy", "prompt": "a", "a2d": {"steps": 900}}', "expected 1 to the block size"),
        (b'{"model": "toy", "prompt": "a", "temperature": 0, "a2d": {"temperature": 0}}', "twice"),
        (b'{"model": "toy", "prompt": "a", "stop": [1]}', "stop: expected"),
        (b'{"model": "toy", "prompt": [1, "a"]}', "expected one text"),
        (b'{"model": "nobody", "prompt": "a"}', "this server has toy"),
        (b'{"model": "\\ud800", "prompt": "a"}', "valid Unicode"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(client, body, said):
    answer = client.post("/v1/completions", content=body)
    assert answer.status_code in (400, 404)
    assert said in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (None, "messages: expected a list"),
        ([], "messages: expected a list"),
        ([1], "messages[0]: got a int"),
        ([{"role": "tool", "content": "x"}], "role"),
        ([{"role": "user", "content": None}], "content: got a NoneType"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "expected one of text"),
        ([{"role": "user", "content": "x", "tool_calls": [1]}], "not supported"),
    ],
)
def test_bad_messages_are_told_where(client, messages, said):
    answer = client.post("/v1/chat/completions", json={"model": "toy", "messages": messages})
    assert answer.status_code == 400
    assert said in error_of(answer)["message"]


SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"response_format": {"type": "xml"}}, "response_format: got"),
        ({"response_format": "json"}, "response_format: got"),
        ({"response_format": {"type": "json_schema"}}, "response_format: got"),
        ({"response_format": {"type": "json_schema", "schema": {}}}, "response_format: got"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "as schema, expected"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "rigid": 1}}}, "unknown rigid"),
        ({"response_format": SCHEMA, "a2d": {"choices": ["a"]}}, "got response_format and choices"),
        ({"a2d": {"choices": "a"}}, "a2d.choices: expected a list"),
        ({"a2d": {"template": ["a"]}}, "a2d.template: got a list"),
        ({"a2d": {"template": "a" * 200_000}}, "at most 100000"),
    ],
)
def test_shapes_that_are_none_are_told(client, fields, said):
    for body in ({"messages": [{"role": "user", "content": "x"}]}, {"prompt": "x"}):
        answer = client.post("/v1/a2d/blocks", json={"model": "toy", **body, **fields})
        assert answer.status_code == 400
        assert said in error_of(answer)["message"]


WRONG = {
    ("GET", "/v1/chat/completions"): 405,
    ("GET", "/v1/x"): 404,
    ("PUT", "/v1/files"): 405,
    ("POST", "/v1/files"): 400,
    ("GET", "/v1/models/x"): 404,
    ("DELETE", "/v1/files/x"): 404,
    ("TRACE", "/"): 405,
}


@pytest.mark.parametrize(("method", "path"), WRONG)
def test_wrong_places_have_errors_of_the_same_form(client, method, path):
    answer = client.request(method, path)
    assert answer.status_code == WRONG[method, path]
    assert error_of(answer)["message"]


def test_metrics_count(client):
    client.post("/v1/completions", json=ask())
    client.post("/v1/completions", json=ask(model="no"))
    text = client.get("/metrics").text
    assert 'a2d_http_requests_total{route="/v1/completions",status="200"} 1' in text
    assert 'a2d_http_requests_total{route="/v1/completions",status="404"} 1' in text
    assert 'a2d_tokens_total{model="toy"} 12' in text
    assert 'a2d_answers_total{model="toy",reason="length"} 1' in text
    assert "a2d_answer_seconds_count 1" in text
    assert "process_resident_memory_bytes" in text


def test_the_folder_goes_with_the_server(model):
    service = Service({"toy": model})
    folder = service.uploads.folder
    with serving(service) as address:
        assert httpx.post(f"{address}/v1/files", files={"file": png()}, headers=HEADERS).status_code == 200
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("a2d-s")] == []
