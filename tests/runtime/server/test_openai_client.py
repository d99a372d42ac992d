"""OpenAI's official client, unmodified, against the slate reader: answers are those of `Model.generate`."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess

import pytest
from conftest import EXAMPLES
from serving import TOKEN

openai = pytest.importorskip("openai")

FRAME = EXAMPLES / "slate" / "frames" / "easy-01.png"
URL = f"data:image/png;base64,{base64.b64encode(FRAME.read_bytes()).decode()}"


@pytest.fixture(scope="module")
def reading(model):
    return model.generate(images=[FRAME])


def asked(source: dict) -> list:
    return [{"role": "user", "content": [source, {"type": "text", "text": "read the slate"}]}]


def test_an_image_is_read(client, reading):
    made = client.chat.completions.create(
        model="slate", messages=asked({"type": "image_url", "image_url": {"url": URL}})
    )
    assert made.choices[0].message.content == reading.text
    assert made.choices[0].finish_reason == "stop"
    assert tuple(made.a2d["tokens"]) == reading.tokens


def test_a_stream_adds_up_to_the_answer(client, reading):
    stream = client.chat.completions.create(
        model="slate",
        messages=asked({"type": "image_url", "image_url": {"url": URL}}),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == reading.text
    assert len([piece for piece in pieces if piece]) > 1
    assert chunks[-1].usage.completion_tokens == len(reading.tokens)


def test_an_uploaded_file_is_read(client, reading):
    file = client.files.create(file=FRAME, purpose="vision")
    made = client.chat.completions.create(model="slate", messages=asked({"type": "file", "file": {"file_id": file.id}}))
    assert made.choices[0].message.content == reading.text
    assert client.files.content(file.id).read() == FRAME.read_bytes()
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_an_answer_in_time_says_what_was_cut(client, reading):
    picture = {"type": "image_url", "image_url": {"url": URL}}

    def within(budget: str, **others):
        how = {"messages": asked(picture), "extra_body": {"a2d": {"budget": budget}}} | others
        return client.chat.completions.create(model="slate", **how)

    made = within("1000 s")
    assert made.choices[0].message.content == reading.text
    account = made.a2d["budget"]
    assert (account["cut"], account["early"], account["over"]) == ("", [], 0) and 0 < account["spent"] < 1000
    last = list(within("1000 s", stream=True))[-1]
    assert last.a2d["budget"]["seconds"] == 1000
    with pytest.raises(openai.BadRequestError, match="budget: got '1 hour', expected a time with its unit"):
        within("1 hour")
    needed = 1e-3
    for _ in range(5):  # a refusal says what would do, and then an answer is cut
        try:
            made = within(f"{needed:.4f} ms")
            break
        except openai.BadRequestError as error:
            needed = 1.01 * float(re.search(r"budget: got .* ms, expected (.*) ms or more", str(error))[1])
    assert made.a2d["stop_reason"] == "budget" and made.choices[0].finish_reason == "length"
    assert made.a2d["budget"]["cut"] in ("pictures", "prompt", "answer")
    assert len(made.a2d["tokens"]) < len(reading.tokens)


def test_stops_seeds_and_lengths(client, reading):
    how = {"model": "slate", "messages": asked({"type": "image_url", "image_url": {"url": URL}})}
    stopped = client.chat.completions.create(**how, stop=[" roll"])
    assert stopped.choices[0].message.content == reading.text.partition(" roll")[0]
    drawn = [
        client.chat.completions.create(**how, temperature=1.5, seed=7, max_tokens=8).choices[0].message.content
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    assert client.chat.completions.create(**how, max_tokens=8).usage.completion_tokens == 8


def test_models_and_errors_are_those_that_the_client_knows(client, address):
    assert [model.id for model in client.models.list()] == ["slate"]
    with pytest.raises(openai.NotFoundError, match="this server has slate"):
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="unknown key 'functions'"):
        asked = {"messages": [{"role": "user", "content": "x"}], "extra_body": {"functions": []}}
        client.chat.completions.create(model="slate", **asked)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0).models.list()


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_documents_curl_lines_as_printed(address, reading, tmp_path):
    shutil.copy(FRAME, tmp_path / "frame.png")
    [lines] = re.findall(
        r"```sh\n(.*?)```", (EXAMPLES.parent / "docs" / "serving.md").read_text(encoding="utf-8"), re.S
    )
    lines = lines.replace("http://127.0.0.1:8000", address).replace("the-token-that-was-printed", TOKEN)
    before, uploaded, asked = re.fullmatch(r"(.*?)(curl[^\n]*purpose=vision[^\n]*\n)(.*)", lines, re.S).groups()

    def said(script: str) -> str:
        made = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        return made.stdout

    file = json.loads(said(f"{before.splitlines()[0]}\n{uploaded}"))
    assert json.loads(said(before))["data"][0]["id"] == "slate"
    assert file["bytes"] == FRAME.stat().st_size
    exports = before.splitlines()[0]
    stream = said(f"{exports}\n{asked.replace('file-...', file['id'])}")
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == reading.text
