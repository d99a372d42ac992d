"""The page at `/` in headless Chromium: a frame is dropped, and its block fills in. Skipped without a browser."""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path

import pytest
from conftest import EXAMPLES
from serving import TOKEN

playwright = pytest.importorskip("playwright.sync_api", reason="make test-page installs it")
expect = playwright.expect
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")]

FRAME = EXAMPLES / "slate" / "frames" / "easy-01.png"
PATIENCE = 60_000

DROPPED = """async ([data, name, type]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const held = new DataTransfer();
  held.items.add(new File([bytes], name, { type }));
  dispatchEvent(new DragEvent("drop", { dataTransfer: held }));
}"""

SEEN = """() => {
  window.seen = [];
  new MutationObserver(() => window.seen.push(
    [...document.querySelectorAll("#blocks .cell")].map((cell) => cell.classList.contains("set")))
  ).observe(document.getElementById("blocks"), { childList: true, subtree: true });
}"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(request, browser):
    page = browser.new_page(color_scheme=request.param, viewport={"width": 1100, "height": 900})
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
    page.scheme = request.param
    yield page
    page.close()


def picture(page, name: str) -> None:
    """Keep a picture of the page where somebody wants to look at it."""
    if folder := os.environ.get("A2D_PAGE"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}-{page.scheme}.png"), full_page=True)


def test_a_frame_is_dropped_and_its_blocks_fill_in(page, address, model):
    page.goto(f"{address}/#token={TOKEN}")
    expect(page.locator("#go")).to_be_enabled(timeout=PATIENCE)
    picture(page, "empty")
    page.evaluate(SEEN)
    page.evaluate(DROPPED, [base64.b64encode(FRAME.read_bytes()).decode(), FRAME.name, "image/png"])
    expect(page.locator("#said")).to_contain_text(" forwards, ", timeout=PATIENCE)
    assert page.text_content("#text") == model.generate(images=[FRAME]).text
    assert page.get_attribute("#drop img", "alt") == FRAME.name
    seen = page.evaluate("window.seen")
    assert any(not all(cells) for cells in seen) and all(seen[-1])
    assert page.faults == []
    picture(page, "answered")


def test_by_keyboard_alone_and_what_is_wrong_is_told(page, address):
    page.goto(f"{address}/#token=wrong")
    expect(page.locator("#said")).to_contain_text("a wrong token", timeout=PATIENCE)
    assert page.is_disabled("#go")
    page.goto("about:blank")
    page.goto(f"{address}/#token={TOKEN}")
    expect(page.locator("#go")).to_be_enabled(timeout=PATIENCE)
    page.keyboard.press("Tab")
    page.keyboard.type("read the slate")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text(" ", timeout=PATIENCE)
    names = page.evaluate("[...document.querySelectorAll('input, select')].map((i) => i.labels.length > 0)")
    assert all(names)
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    picture(page, "narrow")
