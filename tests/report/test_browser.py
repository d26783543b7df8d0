"""The report as people see it: in a browser, light and dark, on a desk and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from raysys.report.page import write_report
from tests.report.run_folder import write_run

FIGURES = {"crossval": 6, "gridsearch": 7, "ablation": 7}

# Boxes of all texts of each figure, and of the figure itself.
_TEXTS = """() => [...document.querySelectorAll('figure svg')].map(svg => ({
  own: svg.getBoundingClientRect().toJSON(),
  texts: [...svg.querySelectorAll('text')].filter(t => t.textContent.trim()).map(t => ({
    said: t.textContent.trim(), size: parseFloat(getComputedStyle(t).fontSize)
      * Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b),
    ...t.getBoundingClientRect().toJSON()}))}))"""

# Elements with text of their own that is wider than they are, outside of what scrolls by itself.
_CUT = """() => [...document.querySelectorAll('main *')].filter(e => !e.closest('svg') && !e.closest('.table')
  && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && e.scrollWidth > e.clientWidth + 1
  && getComputedStyle(e).display !== 'inline').map(e => e.textContent.slice(0, 60))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pages: dict[str, Path] = {}
    for kind in FIGURES:
        place = tmp_path_factory.mktemp("reports") / kind
        write_report(write_run(place, kind))
        pages[kind] = place / "report.html"
    return pages


def opened(browser: Browser, path: Path, *, width: int, scheme: Any) -> tuple[Page, list[str]]:
    """The page, and everything it complained of or asked the network for."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else trouble.append(f"asked for {r.url}"))
    page.goto(path.as_uri())
    return page, trouble


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", list(FIGURES))
def test_a_report_reads_well(kind: str, scheme: str, width: int, browser: Browser, reports: dict[str, Path]) -> None:
    page, trouble = opened(browser, reports[kind], width=width, scheme=scheme)
    assert trouble == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert page.evaluate(_CUT) == []
    drawn = page.evaluate(_TEXTS)
    assert len(drawn) == FIGURES[kind]
    for figure in drawn:
        own, texts = figure["own"], figure["texts"]
        assert own["width"] > 250 and own["height"] > 150
        for i, text in enumerate(texts):
            assert text["size"] >= 6.5, f"{text['said']!r} is {text['size']:.1f} px high"
            inside = own["left"] - 1 <= text["left"] and text["right"] <= own["right"] + 1
            assert inside and own["top"] - 1 <= text["top"] and text["bottom"] <= own["bottom"] + 1, text["said"]
            for other in texts[i + 1 :]:
                across = min(text["right"], other["right"]) - max(text["left"], other["left"])
                down = min(text["bottom"], other["bottom"]) - max(text["top"], other["top"])
                assert across <= 1 or down <= 1, f"{text['said']!r} lies on {other['said']!r}"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_page_in_either_theme(scheme: str, browser: Browser, reports: dict[str, Path]) -> None:
    page, _ = opened(browser, reports["gridsearch"], width=1280, scheme=scheme)
    paper, *inks = page.evaluate(
        """() => { const colour = e => getComputedStyle(e);
        return [colour(document.body).backgroundColor, colour(document.body).color,
        colour(document.querySelector('.soft')).color, colour(document.querySelector('figure svg')).color,
        colour(document.querySelector('nav a')).color]; }"""
    )
    for ink in inks:
        assert contrast(ink, paper) >= 4.5, f"{ink} on {paper}"
    page.close()


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast of two rgb() colours; 4.5 is what it asks of text."""

    def luminance(colour: str) -> float:
        shares = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
