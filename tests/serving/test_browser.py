"""The page in a real browser: it records, shows what the server answers, asks no other host, and works by keyboard."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, sync_playwright

from raysys.report.style import DARK, LIGHT
from raysys.serving import page as page_folder
from raysys.serving.http import build_api
from raysys.serving.predictor import ModelInfo, Piece, Predicted
from raysys.serving.settings import ServiceSettings
from raysys.serving.token import digest
from tests.report.test_browser import CHROMIUM, CUT
from tests.serving.client import TOKEN, encoded, speech

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

CLASSES = ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
CARD = "---\nlicense: mit\n---\n# A card\n\nTrained on <b>made-up</b> speech."


async def predict(pieces: list[Piece]) -> Predicted:
    """The k-th piece is of the k-th class."""
    rows = np.eye(8, dtype=np.float32)[np.arange(len(pieces)) % 8] * 0.6 + 0.05
    return Predicted(rows, 1)


async def describe() -> ModelInfo:
    return ModelInfo(origin="final model of runs/made-up", classes=CLASSES, modalities="both", card=CARD)


@contextmanager
def running(token: str | None = None) -> Iterator[str]:
    app: FastAPI = build_api(ServiceSettings(model="m"), token, predict, describe)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    heard = tmp_path_factory.mktemp("microphone") / "heard.wav"
    heard.write_bytes(encoded(speech(2, 48_000), rate_hz=48_000))
    fake = ("device-for-media-stream", "ui-for-media-stream")
    flags = ["--no-sandbox", *(f"--use-fake-{name}" for name in fake), f"--use-file-for-fake-audio-capture={heard}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, address: str, width: int = 1280, scheme: Any = "light") -> Iterator[Page]:
    """A page that complains of nothing and asks its server alone."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    context.close()
    assert [line for line in said if "401" not in line] == []
    assert [url for url in asked if not url.startswith((address, "data:", f"blob:{address}"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_recording_and_a_long_file_are_predicted_and_shown(
    browser: Browser, address: str, tmp_path: Path, width: int, scheme: str
) -> None:
    with opened(browser, address, width, scheme) as page:
        page.wait_for_selector("#bars tr")
        page.click("#record")
        page.wait_for_timeout(1_500)
        assert page.text_content("#record-text").startswith("Stop (")  # type: ignore[union-attr]
        page.click("#record")
        page.wait_for_selector(".winner:not([hidden])")
        assert (page.text_content("#prediction"), page.text_content("#confidence")) == ("angry", "65.0 %")
        assert "voice alone" in (page.text_content("#note") or "")
        assert page.locator("#bars th").all_text_contents()[0] == "angry"
        assert page.is_hidden("#timeline-section")
        drawn = "id => new Set(document.getElementById(id).getContext('2d').getImageData(0, 0, 200, 20).data).size"
        for canvas in ("wave", "spectrogram"):
            assert page.evaluate(drawn, canvas) > 4, f"{canvas} is empty"

        long = tmp_path / "long.wav"
        long.write_bytes(encoded(speech(42)))
        page.set_input_files("#file", long)
        page.wait_for_selector("#timeline button")
        labels = page.locator("#timeline button").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")
        assert len(labels) == 9
        assert labels[1] == "5.0 to 10.0 s: calm, 65.0 %" and labels[8] == "40.0 to 42.0 s: angry, 65.0 %"
        page.click("#timeline li:nth-child(2) button")
        assert page.locator("#bars th").all_text_contents()[0] == "calm"
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0
        assert page.evaluate(CUT.replace("'svg, .scroll, details'", "'svg, .scroll, details, .unseen'")) == []
        # Its markup is text.
        assert "<b>made-up</b>" in (page.text_content("#card") or "") and page.locator("#card b").count() == 0
        assert "license" not in (page.text_content("#card") or "")


def test_it_works_by_keyboard_and_says_what_happens(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        page.wait_for_selector("#bars tr")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "record"
        page.keyboard.press("Space")
        page.wait_for_selector("#record[aria-pressed=true]")
        page.wait_for_timeout(800)
        page.keyboard.press("Space")
        page.wait_for_selector(".winner:not([hidden])")
        status = page.locator("#status")
        assert status.get_attribute("aria-live") == "polite"
        assert status.text_content() == "angry, with a probability of 65 %."
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "file"
        page.fill("#transcript", "so glad")
        page.press("#transcript", "Enter")
        page.wait_for_selector("#note", state="hidden")
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, input, select')].filter(e => !e.labels?.length"
            " && !e.textContent.trim() && !e.getAttribute('aria-label')).map(e => e.id)"
        )
        assert nameless == []


def test_what_the_server_refuses_is_said(browser: Browser, address: str, tmp_path: Path) -> None:
    words = tmp_path / "words.wav"
    words.write_text("words " * 100)
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#bars tr")
    page.set_input_files("#file", words)
    page.wait_for_selector("#status.failed")
    assert "does not decode" in (page.text_content("#status") or "")
    context.close()


def test_the_token_is_asked_for_and_sent(browser: Browser) -> None:
    with running(digest(TOKEN)) as address, opened(browser, address) as page:
        page.wait_for_selector("#token-form:not([hidden])")
        assert page.is_hidden("#work")
        page.fill("#token", "another-token-than-that")
        page.press("#token", "Enter")
        page.wait_for_timeout(500)
        assert page.is_hidden("#work")
        page.fill("#token", TOKEN)
        page.press("#token", "Enter")
        page.wait_for_selector("#bars tr")
        page.click("#record")
        page.wait_for_timeout(600)
        page.click("#record")
        page.wait_for_selector(".winner:not([hidden])")


def test_its_fourier_transform_is_numpys(browser: Browser, address: str) -> None:
    waveform = speech(512 / 16_000)
    with opened(browser, address) as page:
        found = page.evaluate(
            """async values => {
              const { transform } = await import("/page/spectrum.js");
              const real = Float64Array.from(values), imaginary = new Float64Array(values.length);
              transform(real, imaginary);
              return [[...real], [...imaginary]];
            }""",
            waveform.tolist(),
        )
    expected = np.fft.fft(waveform.astype(np.float64))
    np.testing.assert_allclose(np.array(found[0]) + 1j * np.array(found[1]), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("scheme", "colors"), [(0, LIGHT), (1, DARK)])
def test_its_colours_are_the_reports(scheme: int, colors: dict[str, str]) -> None:
    css = (Path(page_folder.__file__).parent / "style.css").read_text()
    part = css.split("@media (prefers-color-scheme: dark)")[scheme]
    for name in ("paper", "panel", "ink", "soft", "line", "accent", "heat", "caution", "series-1", "series-8"):
        assert f"--{name}: {colors[name]};" in part, name
