"""The documentation: links that lead somewhere, pages that the site shows, commands as their parsers say them."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as Xml
from pathlib import Path

import pytest
from film_bundles import loader, tiny

from a2d.__main__ import COMMANDS

ROOT = Path(__file__).parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
NAV = re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2])


def tool(name: str):
    """A script of packaging/ as a module."""
    spec = importlib.util.spec_from_file_location(f"packaging_{name}", ROOT / "packaging" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site-docs"
    tool("docs").gather(folder)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_exist(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_anchors_lead_to_headings(page):
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        target = page.parent / link if link else page
        heads = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads], (link, anchor)


def test_the_site_shows_pages_that_exist_each_once(site):
    made = {path.name for path in site.glob("*.md")}
    assert set(NAV) <= made and len(NAV) == len(set(NAV)) and "index.md" in NAV
    assert len(made - set(NAV)) <= 1, "mkdocs.yml lists the pages"


def test_the_page_of_commands_has_every_command_with_its_flags(site):
    text = (site / "commands.md").read_text(encoding="utf-8")
    assert all(f"## a2d {name}\n" in text for name in COMMANDS)
    assert "--min-confidence" in text and "--dry-run" in text and "usage: a2d verify" in text


def test_the_front_page_links_within_the_site(site):
    index = (site / "index.md").read_text(encoding="utf-8")
    assert "(docs/" not in index and "(SECURITY.md)" not in index
    inner = re.findall(r"\]\((?!https?:|examples/)([^)#\s]+)", index)
    assert [link for link in inner if not (site / link).exists()] == []


def test_the_picture_is_made_from_a_decode(slate, tmp_path):
    assert tool("picture").main([str(tmp_path / "reading.svg"), "--bundle", str(slate)]) == 0
    made, shipped = (Xml.parse(path).getroot() for path in (tmp_path / "reading.svg", ROOT / "docs" / "reading.svg"))
    for picture in (made, shipped):
        texts = [node.text or "" for node in picture.iter("{http://www.w3.org/2000/svg}text")]
        assert any("scene" in text for text in texts) and any("one token a forward takes" in text for text in texts)


def test_the_picture_of_a_film_is_made_from_a_film(tmp_path, monkeypatch):
    path, ready = tiny(tmp_path / "tiny.a2d")
    monkeypatch.setattr("a2d.runtime.model.load_engine", loader(ready))
    flags = ["--bundle", str(path), "--prompt", "A red & a blue ball.", "--frames", "21"]
    assert tool("film_picture").main([str(tmp_path / "filming.svg"), *flags]) == 0
    made = Xml.parse(tmp_path / "filming.svg").getroot()
    spaced = "{http://www.w3.org/2000/svg}"
    assert len(list(made.iter(f"{spaced}image"))) == 2  # blocks of 3 latent frames
    texts = [node.text or "" for node in made.iter(f"{spaced}text")]
    assert any(text.startswith("frame 20, ") for text in texts)
    assert any("21 frames of 48x32 at 16 a second; fps: denoise" in text for text in texts)


@pytest.mark.slow
def test_the_site_builds(site):
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for there, here in (
        ("build/site-docs", site),
        ("build/site", site.parent / "site"),
        ("[typings]", f"[{ROOT}/typings]"),
    ):
        config = config.replace(there, str(here), 1)
    (site.parent / "mkdocs.yml").write_text(config, encoding="utf-8")
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", site.parent / "mkdocs.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    page = (site.parent / "site" / "python" / "index.html").read_text(encoding="utf-8")
    assert "a2d.load" in page and "generate" in page and "Choices for one generation" in page
