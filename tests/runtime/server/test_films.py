"""Films as jobs, by OpenAI's official client unmodified: progress, files, the end of one that nobody wants."""

from __future__ import annotations

import base64
import io
import json
import re
import time
import zipfile

import av
import httpx
import numpy as np
import pytest
from film_bundles import loader, tiny
from PIL import Image
from serving import HEADERS, TOKEN, serving

from a2d import load
from a2d.runtime.server.work.filmmaker import filmmakers
from a2d.runtime.server.work.service import Service

openai = pytest.importorskip("openai")

PROMPT = "A red ball rolls across the wet street."


def png(width: int = 48, height: int = 32) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path, ready = tiny(tmp_path_factory.mktemp("films") / "tiny.a2d", window=6, sink=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("a2d.runtime.model.load_engine", loader(ready))
        model = load(path)
        service = Service({}, filmmakers({"tiny": model}))
        with serving(service) as address:
            yield service, model, address


@pytest.fixture(scope="module")
def client(served):
    return openai.OpenAI(base_url=f"{served[2]}/v1", api_key=TOKEN, max_retries=0)


def decoded(movie: bytes) -> int:
    with av.open(io.BytesIO(movie)) as container:
        return sum(1 for _ in container.decode(video=0))


def frames(archive: bytes) -> np.ndarray:
    with zipfile.ZipFile(io.BytesIO(archive)) as held:
        names = sorted(name for name in held.namelist() if name.endswith(".png"))
        return np.stack([np.asarray(Image.open(held.open(name))) for name in names])


def test_a_film_is_that_of_the_model_as_a_movie_and_as_frames(served, client):
    made = client.videos.create_and_poll(
        model="tiny", prompt=PROMPT, seconds="1", size="48x32", extra_body={"seed": 3}, poll_interval_ms=50
    )
    assert (made.status, made.progress, made.seconds, made.size) == ("completed", 100, "1", "48x32")
    alone = np.concatenate([block.frames for block in served[1].film(PROMPT, seconds=1, height=32, width=48, seed=3)])
    assert decoded(client.videos.download_content(made.id).read()) == len(alone)
    stills = client.videos.download_content(made.id, extra_query={"variant": "frames"}).read()
    assert np.array_equal(frames(stills), alone)
    assert [video.id for video in client.videos.list()] == [made.id]
    assert client.videos.delete(made.id).deleted
    assert list(served[0].uploads.folder.iterdir()) == []
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(made.id)


def test_a_film_begins_with_a_picture_however_it_is_sent(served, client):
    options = {"model": "tiny", "prompt": PROMPT, "seconds": "1", "poll_interval_ms": 50}
    file = client.files.create(file=("board.png", png()), purpose="vision")
    url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    made = [client.videos.create_and_poll(input_reference=("board.png", png()), **options)]
    for reference in ({"file_id": file.id}, {"image_url": url}, url):
        body = {"model": "tiny", "prompt": PROMPT, "seconds": 1, "input_reference": reference}
        job = httpx.post(f"{served[2]}/v1/videos", json=body, headers=HEADERS, timeout=30).json()
        made.append(client.videos.poll(job["id"], poll_interval_ms=50))
    stills = [frames(client.videos.download_content(one.id, extra_query={"variant": "frames"}).read()) for one in made]
    picture = np.asarray(Image.open(io.BytesIO(png())))
    alone = np.concatenate([block.frames for block in served[1].film(PROMPT, image=picture, seconds=1)])
    assert all(np.array_equal(one, alone) for one in stills)
    for one in made:
        client.videos.delete(one.id)
    client.files.delete(file.id)


def test_events_tell_of_blocks_and_steps(served):
    with httpx.Client(base_url=served[2], headers=HEADERS, timeout=60) as client:
        job = client.post("/v1/videos", json={"model": "tiny", "prompt": PROMPT, "seconds": 2}).json()
        told = re.findall(r"event: (.*)\ndata: (.*)\n\n", client.get(f"/v1/videos/{job['id']}/events").text)
        shares = [json.loads(data)["progress"] for _, data in told]
        assert told[-1][0] == "video.completed" and shares[-1] == 100
        assert shares == sorted(shares)
        at = json.loads(told[-1][1])["a2d"]
        assert at["block"] == at["blocks"] - 1 and at["step"] == at["steps"] - 1
        client.delete(f"/v1/videos/{job['id']}")


def test_one_that_is_deleted_ends_and_leaves_nothing(served):
    service = served[0]
    with httpx.Client(base_url=served[2], headers=HEADERS, timeout=60) as client:
        jobs = [client.post("/v1/videos", json={"model": "tiny", "prompt": PROMPT, "seconds": 60}) for _ in range(2)]
        held = [service.films.get(job.json()["id"]) for job in jobs]
        assert client.get(f"/v1/videos/{held[0].id}/content").status_code == 404
        for job in held:
            assert client.delete(f"/v1/videos/{job.id}").status_code == 200
        deadline = time.monotonic() + 60
        while not all(job.over for job in held) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [job.status for job in held] == ["cancelled", "cancelled"]
        assert list(service.uploads.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "none"}, "this server has tiny"),
        ({"prompt": " "}, "prompt: got none"),
        ({"prompt": 5}, "prompt"),
        ({"size": "48"}, "expected WIDTHxHEIGHT"),
        ({"seconds": "soon"}, "expected a number"),
        ({"steps": 77}, "steps: got 77"),
        ({"input_reference": "/etc/passwd"}, "no other file is read"),
        ({"fps": 3}, "unknown key 'fps'"),
    ],
)
def test_films_that_cannot_be_are_refused_at_once(served, fields, said):
    body = {"model": "tiny", "prompt": PROMPT, **fields}
    answer = httpx.post(f"{served[2]}/v1/videos", json=body, headers=HEADERS, timeout=30)
    assert answer.status_code in (400, 404)
    assert said in answer.json()["error"]["message"]


def test_a_bundle_that_films_answers_no_questions(served):
    body = {"model": "tiny", "prompt": "x"}
    answer = httpx.post(f"{served[2]}/v1/completions", json=body, headers=HEADERS, timeout=30)
    assert answer.status_code == 404
    [told] = httpx.get(f"{served[2]}/v1/models", headers=HEADERS, timeout=30).json()["data"]
    assert told["a2d"]["films"] and not told["a2d"]["words"]
