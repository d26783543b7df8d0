"""The report in a real browser: no requests, nothing cut off, no overlaps."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from raysys.report import paper_page
from raysys.report.page import write_report
from tests.report.paper_folder import write_paper
from tests.report.run_folder import write_run
from tests.report.test_page import FIGURES as OF_RUNS
from tests.report.test_paper import FIGURES as OF_PAPER

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

FIGURES = OF_RUNS | {"paper": OF_PAPER}
EIGHT = ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")

# Corners of each text, from its own box and transform: the axis-aligned box of a slanted label would be too large.
TEXTS = """() => [...document.querySelectorAll('figure')].map(figure => {
  const svg = figure.querySelector('svg'), frame = svg.getBoundingClientRect();
  const determinant = matrix => matrix.a * matrix.d - matrix.b * matrix.c;
  const corners = text => {
    const box = text.getBBox(), matrix = text.getScreenCTM();
    return [[0, 0], [1, 0], [1, 1], [0, 1]].map(([x, y]) => {
      const point = new DOMPoint(box.x + x * box.width, box.y + y * box.height).matrixTransform(matrix);
      return [point.x, point.y];
    });
  };
  return {
    name: figure.id, frame: [frame.left, frame.top, frame.right, frame.bottom],
    drawn: svg.querySelectorAll('path, use').length,
    texts: [...svg.querySelectorAll('text')].map(text => ({
      words: text.textContent, corners: corners(text), fill: getComputedStyle(text).fill,
      pixels: parseFloat(getComputedStyle(text).fontSize) * Math.sqrt(Math.abs(determinant(text.getScreenCTM()))),
    })),
  };
})"""


# Elements whose own text overflows them, outside scrolling containers.
CUT = """() => [...document.querySelectorAll('body *')].filter(e => !e.closest('svg, .scroll, details')
  && [...e.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())
  && getComputedStyle(e).display !== 'inline' && e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports by kind of run; the last has the most classes and the longest names."""
    runs = {kind: write_run(tmp_path_factory.mktemp(kind), kind) for kind in OF_RUNS}
    runs["crossval of 8 classes"] = write_run(tmp_path_factory.mktemp("eight"), corpus="ravdess", classes=EIGHT)
    for run in runs.values():
        write_report(run)
    runs["paper"] = write_paper(tmp_path_factory.mktemp("paper"))
    paper_page.write_report(runs["paper"])
    return {name: Path(run.location) / "report.html" for name, run in runs.items()}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", [*FIGURES, "crossval of 8 classes"])
def test_the_report_is_whole_and_legible(
    browser: Browser, pages: dict[str, Path], kind: str, scheme: Any, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[kind].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    overflow = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
    cut = page.evaluate(CUT)
    figures = page.evaluate(TEXTS)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()

    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1
    assert overflow <= 0 and cut == []
    assert {figure["name"] for figure in figures} == FIGURES[kind.split()[0]]
    for figure in figures:
        assert figure["drawn"] > 3 and figure["texts"], figure["name"]
        for text in figure["texts"]:
            where = f"{figure['name']}: {text['words']!r}"
            assert _inside(text["corners"], figure["frame"]), f"{where} is cut off"
            assert text["pixels"] >= 8.5, f"{where} is {text['pixels']:.1f} pixels high"
            assert text["fill"] not in (paper, "none"), f"{where} cannot be seen"
            assert scheme == "light" or text["fill"] != "rgb(0, 0, 0)", f"{where} is black on dark"
        for one, other in itertools.combinations(figure["texts"], 2):
            assert not _overlap(one["corners"], other["corners"]), f"{figure['name']}: {one['words']}, {other['words']}"


def test_the_check_for_overlaps_finds_one() -> None:
    box = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]
    beside = [(x + 9.5, y) for x, y in box]
    across = [(x + 5, y + 5) for x, y in box]
    slanted = [(12.0, 2.0), (16.0, 6.0), (6.0, 16.0), (2.0, 12.0)]
    assert _overlap(box, across) and not _overlap(box, beside)
    assert _overlap(box, slanted) and not _overlap(box, [(x + 7, y + 7) for x, y in slanted])


def _inside(corners: list[tuple[float, float]], frame: list[float]) -> bool:
    left, top, right, bottom = frame
    return all(left - 1 <= x <= right + 1 and top - 1 <= y <= bottom + 1 for x, y in corners)


def _overlap(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> bool:
    """Whether two rectangles overlap by more than a pixel (separating axis test)."""
    for corners in (one, other):
        for (x0, y0), (x1, y1) in itertools.pairwise(corners[:3]):
            length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
            if length == 0:
                return False
            along = [[((x1 - x0) * x + (y1 - y0) * y) / length for x, y in shape] for shape in (one, other)]
            if min(max(along[0]), max(along[1])) - max(min(along[0]), min(along[1])) <= 1:
                return False
    return True
