"""The report as a browser shows it: on a phone, on a desk, on paper."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers_browser import BINARIES, Browser, find_browser, started_browser
from helpers_report import DATA_SET, make_evaluations, make_pretraining, read_page
from helpers_results import pretraining_of, write_result

from eval.report.page import write_report
from eval.report.side_by_side import write_side_by_side

pytestmark = pytest.mark.slow

SCREENS = [(360, 740), (1280, 900)]
MOST_BYTES = 4_000_000
PAPER = (680, 971)
"""CSS pixels of an A4 page between margins of 15 mm."""

UNLOADED = """[...document.images].filter(image => image.naturalWidth === 0).map(image => image.alt)"""
DISTORTED = """[...document.images].filter(image => image.getClientRects().length > 0).filter(image => {
    const shape = (image.clientWidth / image.clientHeight) / (image.naturalWidth / image.naturalHeight);
    return shape < 0.97 || shape > 1.03;
}).map(image => `${image.alt} ${image.clientWidth}x${image.clientHeight}`)"""
SIDEWAYS = """(() => {
    const page = document.scrollingElement;
    return page.scrollWidth > page.clientWidth ? [`${page.scrollWidth} > ${page.clientWidth}`] : [];
})()"""
CLIPPED = """(() => {
    const problems = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        if (!node.data.trim() || node.parentElement.closest('style')) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        for (const text of range.getClientRects()) {
            if (text.width === 0) continue;
            let box = node.parentElement;
            while (box !== document.body && getComputedStyle(box).overflowX === 'visible') box = box.parentElement;
            const within = box.getBoundingClientRect();
            const scrolls = getComputedStyle(box).overflowX === 'auto';
            const left = scrolls ? within.left - box.scrollLeft : Math.max(within.left, 0);
            const right = scrolls ? left + box.scrollWidth : Math.min(within.right, innerWidth);
            if (text.left < left - 1 || text.right > right + 1) problems.push(node.data.trim().slice(0, 60));
        }
    }
    return problems;
})()"""
"""Words that reach out of the window, or out of what their box can be scrolled to."""
OVERLAPPING = """[...document.querySelectorAll('.forest li')].filter(line => {
    const boxes = [...line.children].map(child => child.getBoundingClientRect()).filter(box => box.height > 0);
    return boxes.some((a, i) => boxes.slice(i + 1).some(b =>
        Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1));
}).map(line => line.textContent.trim())"""
CELLS = """[...document.querySelectorAll('th, td')].filter(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getBoundingClientRect().right > cell.getBoundingClientRect().right + 1;
}).map(cell => cell.textContent.trim())"""
"""Cells whose words reach into the next one."""
SMALL_LETTERS = """[...document.querySelectorAll('body *')].filter(element =>
    [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()) &&
    parseFloat(getComputedStyle(element).fontSize) < 12).map(element => element.textContent.trim().slice(0, 60))"""
FOLDED = """[...document.querySelectorAll('details > :not(summary)')].filter(element =>
    !element.checkVisibility({contentVisibilityAuto: true}) || element.getBoundingClientRect().height === 0)
    .map(element => element.textContent.trim().slice(0, 60))"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium; TEMPORAL_SSL_REQUIRE_BROWSER=1 turns skipping without one into a failure."""
    binary = find_browser()
    if binary is None:
        message = f"no browser to look at the report with: none of {', '.join(BINARIES)} is installed"
        if os.environ.get("TEMPORAL_SSL_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with started_browser(binary, tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """A run with pictures of real size, and names as long as names can be."""
    folder = tmp_path_factory.mktemp("report") / "demo"
    make_pretraining(folder, small_dataset, shrink=1)
    make_evaluations(folder / "eval", shrink=1)
    long = "a" * 30 + "-network_" + "w" * 40
    write_result(
        folder / "eval", "transfer", "finetune", [1, 0, 0, 0], network=long, pretraining=pretraining_of("d" * 60)
    )
    (folder / "eval" / "config.yaml").write_text("shards: " + "/folder" * 60 + "\n")
    write_report(folder)
    return folder


@pytest.fixture
def report(run: Path) -> Path:
    return run / "report.html"


@pytest.fixture(scope="module")
def runs_page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs side by side, one of them with a long name; the first has results of every evaluation."""
    folder = tmp_path_factory.mktemp("runs")
    others = [folder / name for name in ("other", "a" * 30 + "-run_" + "w" * 40)]
    for number, other in enumerate(others):
        shutil.copytree(run, other, ignore=shutil.ignore_patterns("eval", "*.png"))
        with (other / "metrics.jsonl").open("a") as file:
            file.writelines(
                json.dumps({"step": epoch, "epoch": epoch, "validation_speed_accuracy": 0.1 * (epoch + number)}) + "\n"
                for epoch in range(1, 4)
            )
        learnt = pretraining_of("d" * 60, epochs=number)
        for seed in range(2):
            answers = [1, 0, number, 0] * 3
            write_result(
                other / "eval", "transfer", "finetune", answers, pretraining=learnt, data_set=DATA_SET, seed=seed
            )
    page = folder / "runs.html"
    write_side_by_side([run, *others, folder / "gone"], page)
    return page


@pytest.mark.parametrize(("width", "height"), SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_runs_side_by_side_fit_the_screen(
    browser: Browser, runs_page: Path, width: int, height: int, scheme: str
) -> None:
    assert runs_page.stat().st_size < MOST_BYTES
    browser.requests.clear()
    browser.media("screen", prefers_color_scheme=scheme)
    browser.open(runs_page, width, height)
    browser.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    found = problems_of(browser, SIDEWAYS, CLIPPED, CELLS, SMALL_LETTERS, FOLDED)
    lines = browser.evaluate(
        "[...document.querySelectorAll('polyline')].map(line => line.getBoundingClientRect().width)"
    )
    colours = browser.evaluate(
        "[...document.querySelectorAll('.legend .run line')].map(l => getComputedStyle(l).stroke)"
    )
    browser.media("")
    assert found == []
    assert max(lines) > 150
    assert len(set(colours)) == 3
    assert [url for url in browser.requests if not url.startswith("data:")] == [runs_page.as_uri()]


def problems_of(browser: Browser, *checks: str) -> list[str]:
    """What the checks find on the page that is open."""
    return [problem for check in checks for problem in browser.evaluate(check)]


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_the_page_fits_the_screen(browser: Browser, report: Path, width: int, height: int) -> None:
    browser.open(report, width, height)
    assert browser.evaluate("[innerWidth, document.compatMode]") == [width, "CSS1Compat"]
    assert problems_of(browser, SIDEWAYS, CLIPPED, OVERLAPPING, SMALL_LETTERS) == []
    browser.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert problems_of(browser, SIDEWAYS, CLIPPED, OVERLAPPING, SMALL_LETTERS, FOLDED) == []


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_every_picture_is_shown_whole(browser: Browser, run: Path, width: int, height: int) -> None:
    browser.open(run / "report.html", width, height)
    browser.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert problems_of(browser, UNLOADED, DISTORTED) == []
    sizes = "[...document.images].map(image => [image.naturalWidth, image.naturalHeight].map(String))"
    written = read_page((run / "report.html").read_text(encoding="utf-8")).all("img")
    assert browser.evaluate(sizes) == [[image.attributes[name] for name in ("width", "height")] for image in written]
    assert len(written) == len(list(run.rglob("*.png")))


def test_strips_are_not_shrunk_on_a_phone_but_scroll(browser: Browser, report: Path) -> None:
    browser.open(report, *SCREENS[0])
    wide = browser.evaluate(
        "[...document.querySelectorAll('figure.wide')].filter(figure => figure.getClientRects().length > 0)"
        ".map(figure => [figure.querySelector('img').clientWidth, figure.querySelector('.scroll').clientWidth])"
    )
    assert len(wide) >= 4
    assert all(picture > 600 and box <= 360 for picture, box in wide)


def test_the_page_asks_for_nothing(browser: Browser, report: Path) -> None:
    browser.requests.clear()
    browser.open(report, *SCREENS[1])
    assert [url for url in browser.requests if not url.startswith("data:")] == [report.as_uri()]
    assert browser.evaluate("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:'))") == []


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_a_dark_page_is_dark(browser: Browser, report: Path, width: int, height: int) -> None:
    colours = "['color', 'background-color'].map(name => getComputedStyle(document.body).getPropertyValue(name))"
    lightness = {}
    for scheme in ("light", "dark"):
        browser.media("screen", prefers_color_scheme=scheme)
        browser.open(report, width, height)
        lightness[scheme] = [sum(map(int, re.findall(r"\d+", colour))) / 3 for colour in browser.evaluate(colours)]
        assert problems_of(browser, SIDEWAYS, CLIPPED) == []
    browser.media("")
    (dark_ink, white_paper), (light_ink, black_paper) = lightness["light"], lightness["dark"]
    assert max(dark_ink, black_paper) < 60
    assert min(light_ink, white_paper) > 200


def test_paper_shows_everything(browser: Browser, report: Path) -> None:
    browser.open(report, *PAPER)
    assert len(problems_of(browser, FOLDED)) > 5
    browser.media("print")
    assert problems_of(browser, SIDEWAYS, CLIPPED, OVERLAPPING, FOLDED, DISTORTED, UNLOADED) == []
    sizes = browser.evaluate("[...document.images].map(image => [image.clientWidth, image.clientHeight])")
    breaks = browser.evaluate("[...document.querySelectorAll('figure')].map(f => getComputedStyle(f).breakInside)")
    browser.media("")
    assert all(0 < width <= PAPER[0] and 0 < height < PAPER[1] for width, height in sizes)
    assert set(breaks) == {"avoid"}


def test_the_checks_see_what_they_forbid(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(
        """<!doctype html><meta name="viewport" content="width=device-width"><body>
        <p style="width: 900px">wide</p><p style="width: 2em; overflow: hidden">clippedclippedclipped</p>
        <p style="font-size: 8px">tiny</p><details><summary>more</summary><p>folded</p></details>
        <img alt="outside" src="http://127.0.0.1:9/picture.png"><img alt="broken" src="data:image/png;base64,AAAA">
        <img alt="squeezed" width="100" height="10" src="data:image/svg+xml,
        <svg xmlns='http://www.w3.org/2000/svg' width='20' height='20'></svg>">
        <table><tr><td style="white-space: nowrap; max-width: 1em">wider</td><td>next</td></tr></table>
        <ul class="forest"><li style="display: grid"><div style="grid-area: 1/1">one</div>
        <div style="grid-area: 1/1">other</div></li></ul></body>"""
    )
    browser.requests.clear()
    browser.open(path, *SCREENS[0])
    assert "http://127.0.0.1:9/picture.png" in browser.requests
    assert problems_of(browser, UNLOADED) == ["outside", "broken"]
    assert "squeezed 100x10" in problems_of(browser, DISTORTED)
    assert len(problems_of(browser, SIDEWAYS)) == 1
    assert problems_of(browser, CLIPPED) == ["clippedclippedclipped"]
    assert problems_of(browser, SMALL_LETTERS) == ["tiny"]
    assert problems_of(browser, FOLDED) == ["folded"]
    assert problems_of(browser, CELLS) == ["wider"]
    assert len(problems_of(browser, OVERLAPPING)) == 1
