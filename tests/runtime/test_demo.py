"""The demo: readings taken apart step by step, and a page that stands by itself."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import a2d
from a2d.engines.errors import RequestError
from a2d.runtime.bundle.names import FRAMES, SHOTS
from a2d.runtime.cli import demo
from a2d.runtime.dailies.shot_list import ListedShot, shot_list
from a2d.runtime.demo.films import Filmed, Take, curve, filmed
from a2d.runtime.demo.page import Facts, Field, Frame, Row, by_set, drawn, fields, level, render
from a2d.runtime.demo.trace import Block, Token, Trace, trace
from a2d.runtime.demo.ways import entries, ways

ENTRIES = json.loads((FRAMES / "truth.json").read_text(encoding="utf-8"))
TRUTH = "scene 12A take 3 roll A004 date 2025-03-14 fps 24"

VOID = {"meta", "img", "br", "link", "input"}


# -- the frames that are shipped


def test_the_frames_are_small_whole_and_of_every_kind() -> None:
    assert sorted(entry["file"] for entry in ENTRIES) == sorted(path.name for path in FRAMES.glob("*.[pj]*g"))
    assert {entry["set"] for entry in ENTRIES} == {
        *("foreign easy", "foreign medium", "easy", "medium", "hard", "no slate")
    }
    assert ENTRIES[0]["set"].startswith("foreign")
    for entry in ENTRIES:
        with Image.open(FRAMES / entry["file"]) as image:
            size = (640, 360) if entry["set"].startswith("foreign") else (224, 112)
            assert (image.size, image.mode) == (size, "RGB")
        assert (entry["truth"] == "no slate") == (not fields(entry["truth"], ""))
    assert sum((FRAMES / entry["file"]).stat().st_size for entry in ENTRIES) < 700_000


# -- taking a reading apart


@pytest.fixture(scope="module")
def model(slate: Path) -> a2d.Model:
    return a2d.load(slate, threads=1)


@pytest.mark.parametrize("chosen", [{"steps": 8}, {"steps": 4}, {"steps": 3}, {"threshold": 0.9}])
def test_a_trace_is_the_reading_token_by_token(model: a2d.Model, chosen: dict[str, float]) -> None:
    prompt = model.prompt(images=[FRAMES / ENTRIES[0]["file"]])
    options = a2d.Options(max_tokens=40, **chosen)  # type: ignore[arg-type]
    seen: list[a2d.Step] = []
    made = trace(model, prompt, options, seen.append)
    wanted = model.session().generate(prompt, options)
    tokens = [token for block in made.blocks for token in block.tokens]
    assert (made.text, made.forwards, len(tokens)) == (wanted.text, wanted.forwards, len(wanted.tokens))
    assert "".join(token.text for token in tokens if not token.behind) == wanted.text
    assert made.useful == sum(not token.behind for token in tokens)
    for index, block in enumerate(made.blocks):
        steps = [step for step in seen if step.block == index]
        assert len(block.at) == len(steps) and list(block.at) == sorted(block.at)
        for step in steps:
            settled = [row for row, token in enumerate(block.tokens) if token.step == step.index]
            assert settled == step.accepted.tolist()
            assert [block.tokens[row].confidence for row in settled] == pytest.approx(step.confidence[settled].tolist())
    assert made.blocks[-1].at[-1] <= made.seconds


def test_one_token_a_forward_is_what_it_says(model: a2d.Model) -> None:
    slow = ways(8, 0.9)["slow"]
    made = trace(model, model.prompt(images=[FRAMES / ENTRIES[0]["file"]]), slow.options, lambda _: None)
    assert all([token.step for token in block.tokens].count(step) == 1 for block in made.blocks for step in range(8))


def test_ways_are_different_and_named() -> None:
    every = ways(8, 0.9)
    assert len({way.options for way in every.values()}) == len(every) == len({w.name for w in every.values()}) == 4
    assert (every["slow"].options.steps, every["fast"].options.threshold) == (8, 0.9)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), ("{", "expected a list like"), ('[{"file": "a.png"}]', "expected a list like")],
)
def test_a_folder_without_frames_says_what_is_expected(text, words, tmp_path) -> None:
    if text is not None:
        (tmp_path / "truth.json").write_text(text)
    with pytest.raises(RequestError, match=words):
        entries(tmp_path)


# -- against the truth


@pytest.mark.parametrize(
    ("read", "right", "values"),
    [
        (TRUTH, 5, ["12A", "3", "A004", "2025-03-14", "24"]),
        (TRUTH.replace("A004", "-"), 4, ["12A", "3", "-", "2025-03-14", "24"]),
        ("no slate", 0, [""] * 5),
        ("", 0, [""] * 5),
        ("scene 12A take take 3 rollA004 date 2025-03-14", 2, ["12A", "take", "", "2025-03-14", ""]),
    ],
)
def test_fields_are_read_against_the_slate(read: str, right: int, values: list[str]) -> None:
    made = fields(TRUTH, read)
    assert [f.read for f in made] == values
    assert sum(f.right for f in made) == right
    assert [f.truth for f in made] == ["12A", "3", "A004", "2025-03-14", "24"]


def test_a_frame_without_a_slate_has_no_fields() -> None:
    assert fields("no slate", TRUTH) == []
    assert Field("take", "3", "3").right and not Field("take", "3", "4").right


@pytest.mark.parametrize(
    ("confidence", "wanted"), [(0.0, 0), (0.5, 1), (0.8, 2), (0.949, 2), (0.95, 3), (0.99, 4), (1.0, 4)]
)
def test_levels_of_confidence(confidence: float, wanted: int) -> None:
    assert level(confidence) == wanted


# -- the page

TOKENS = (
    Token("scene", 0, 0.999, False),
    Token(" 12A", 1, 0.42, False),
    Token("", 1, 0.9, False),
    Token("", 0, 0.9, True),
)
TRACE = Trace("scene 12A", (Block(TOKENS, (0.004, 0.0051)),), useful=3, forwards=2, seconds=0.006)


@pytest.fixture
def frame(tmp_path: Path) -> Frame:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((112, 224, 3), np.uint8)).save(path)
    return Frame(path, "easy", TRUTH, TRACE, replace(TRACE, seconds=0.011), TRUTH, 3)


ROWS = [
    Row("one token a forward", False, 0, 1, 0.9, 11.0, 1.0, 51.2),
    Row("all tokens above 0.9", True, 0, 1, 1.9, 6.0, 1.83, 40.4),
]
FACTS = Facts(1, 5, 8, 17_000_000, "ONNX Runtime 1, CPU", "A CPU (AVX2)", "fp32", 1, "a2d 0.1.0")


class Page(HTMLParser):
    """Open tags, what is loaded, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.cells: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [] if tag in VOID else [tag]
        given = dict(attrs)
        self.loads += [str(v) for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]
        self.ids += [str(given["id"])] if "id" in given else []
        self.cells += [given] if tag == "td" and "new" in str(given.get("class")).split() else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data


def test_the_page_is_whole_and_loads_nothing(frame: Frame) -> None:
    html = render([frame, frame], ROWS, FACTS)
    page = Page(html)
    assert page.open == [] and len(set(page.ids)) == len(page.ids)
    assert page.loads and all(link.startswith("data:image/") for link in page.loads)
    assert re.findall(r"https?:|url\(|@import|fetch\(", html) == []


def test_the_page_says_everything_without_its_script(frame: Frame) -> None:
    page = Page(re.sub(r"<script>.*</script>", "", render([frame], ROWS, FACTS), flags=re.DOTALL))
    for part in (
        "0 of 1",
        "1 of 5",
        "A CPU (AVX2)",
        "1.83",
        "1.90",
        "40",
        "one token a forward",
        "12A",
        "A004",
        "a.png",
        "11.0 ms",
        "17.0 MB",
    ):
        assert part in page.text, part
    assert len(page.cells) == len(TOKENS)
    assert [cell["class"].split()[1] for cell in page.cells] == ["c4", "c2", "c0", "c2"]  # type: ignore[union-attr]
    assert "step 2 of block 1" in str(page.cells[2]["title"]) and "confidence 0.4200" in str(page.cells[2]["title"])


def test_whatever_a_model_writes_stays_text(frame: Frame) -> None:
    evil = "<script>alert(1)</script>\"'&"
    token = replace(TOKENS[0], text=evil)
    bad = Trace(evil, (Block((token,), (0.001,)),), 1, 1, 0.001)
    page = Page(render([replace(frame, fast=bad, slow=bad, truth=TRUTH)], ROWS, FACTS))
    assert page.open == [] and evil in page.text


def test_several_looks_are_told_beside_the_first(frame: Frame) -> None:
    wrong = replace(frame, voted=TRUTH.replace("scene ", "scene 9"), looks=8)
    assert [(one.right, one.voted, one.frames) for one in by_set([frame, wrong])] == [(0, 1, 2)]
    page = Page(render([frame, wrong], ROWS, FACTS))
    assert f"In 3 looks: {frame.voted}" in page.text and f"In 8 looks: {wrong.voted}" in page.text
    assert "easy 0 of 2" in page.text and "easy 1 of 2" in page.text
    assert "looks: " not in Page(render([replace(frame, looks=1)], ROWS, FACTS)).text


# -- the films


LISTED = (ListedShot("a", 0.3, "wide, dusk", 1), ListedShot("b", 0.3, "close, day", 2))


@pytest.fixture(scope="module")
def small(filming: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that films, whose own size is that of a stamp."""
    folder = tmp_path_factory.mktemp("demo") / "film.a2d"
    shutil.copytree(filming, folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["film"] |= {"height": 32, "width": 48}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def films(small: Path) -> list[Filmed]:
    return filmed(a2d.load(small, threads=1), LISTED, quiet=True)


def test_the_shots_that_are_shipped_are_a_list_of_three() -> None:
    assert len(shot_list(SHOTS)) == 3


def test_every_number_of_steps_is_filmed_and_measured_against_the_most(films: list[Filmed]) -> None:
    assert [[take.steps for take in film.takes] for film in films] == [[1, 2, 4, 8]] * 2
    assert [film.chosen for film in films] == [film.shown.steps for film in films] == [4, 4]
    for film in films:
        assert all(take.distance > 0 and take.seconds > 0 for take in film.takes[:-1]) and film.takes[-1].distance == 0
        assert [take.forwards for take in film.takes] == sorted({take.forwards for take in film.takes})
        with Image.open(io.BytesIO(film.shown.clip)) as clip:
            assert (clip.format, clip.size) == ("WEBP", (film.width, film.height))
            assert getattr(clip, "n_frames", 1) == film.shown.frames
        assert len(film.strip) == 4 and Image.open(io.BytesIO(film.strip[0])).size == (film.width, film.height)
    assert films[0].takes[0].clip != films[1].takes[0].clip


def test_a_strip_ends_with_the_block_that_is_filmed(small: Path, films: list[Filmed]) -> None:
    last = np.asarray(Image.open(io.BytesIO(films[0].strip[-1])))
    block = next(a2d.load(small, threads=1).film(LISTED[0].prompt, seed=1, seconds=0.3))
    assert np.abs(last.astype(int) - block.frames[-1]).max() <= 1


def test_a_curve_is_the_mean_of_the_shots() -> None:
    def one(near: float) -> Filmed:
        return Filmed("x", (Take(1, b"", 1, 2.0, 2, near), Take(4, b"", 1, 4.0, 5, 0.0)), 4, (), 8, 8)

    points = curve([one(2.0), one(4.0)])
    assert [(p.steps, p.seconds, p.distance) for p in points] == [(1, 2.0, 3.0), (4, 4.0, 0.0)]
    assert [(x, y) for x, y, _ in drawn(points, 100, 10)] == [(0.0, 0.0), (100.0, 10.0)]
    assert curve([]) == [] and drawn([], 100, 10) == []


def test_the_page_shows_films_beside_their_prompts(frame: Frame, films: list[Filmed]) -> None:
    page = Page(render([frame], ROWS, FACTS, films))
    assert page.open == [] and all(link.startswith(("data:image/png;", "data:image/webp;")) for link in page.loads)
    assert all(film.prompt in page.text for film in films) and "4 steps a block" in page.text
    assert "Lines of a shot list" not in Page(render([frame], ROWS, FACTS)).text


# -- all of it


def test_the_whole_demo(slate: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shots.csv").write_text("id,seconds,prompt\n1,0.3,a street at dusk\n", encoding="utf-8")
    filmed_by = ["--film", small, "--shots", tmp_path / "shots.csv"]
    chosen = ["--bundle", slate, *filmed_by, "--page", tmp_path / "demo.html", "--repeats", 1, "--pace", 0]
    assert demo.main([str(argument) for argument in chosen]) == 0
    said = capsys.readouterr().out
    for entry in ENTRIES:
        assert f"{entry['file']}\n" in said
    assert "one token a forward (8 steps per block)" in said and re.search(r"fields right; \w+ \S+ for ", said)
    assert "next: a2d run slate --image" in said and "thread(s)" in said
    assert "a street at dusk" in said and re.search(r"\n8 +[\d.]+ +0\.0/255", said)
    page = Page((tmp_path / "demo.html").read_text(encoding="utf-8"))
    assert page.open == [] and all(entry["file"] in page.text for entry in ENTRIES)


@pytest.mark.parametrize(
    "flags", [["--repeats", "0"], ["--frames", "nowhere"], ["--shots", "nowhere.csv"], ["--film", "nowhere"]]
)
def test_what_cannot_be_shown_is_bad_input(flags, capsys) -> None:
    assert demo.main(flags) == 2
    assert capsys.readouterr().err.startswith("a2d demo: ")
