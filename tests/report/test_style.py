"""Text has enough contrast with its background, in both themes."""

from __future__ import annotations

import numpy as np
import pytest

from raysys.report import matrices
from raysys.report.style import CSS_OF, DARK, LIGHT, theme

THEMES = [pytest.param(LIGHT, id="light"), pytest.param(DARK, id="dark")]


def rgb(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def luminance(color_3: np.ndarray) -> float:
    linear_3 = np.where(color_3 <= 0.04045, color_3 / 12.92, ((color_3 + 0.055) / 1.055) ** 2.4)
    return float(linear_3 @ [0.2126, 0.7152, 0.0722])


def contrast(one_3: np.ndarray, other_3: np.ndarray) -> float:
    """WCAG 2.2 requires 4.5 for text, and 3 for large text and graphics."""
    low, high = sorted((luminance(one_3), luminance(other_3)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_black_on_white() -> None:
    assert contrast(rgb("#000000"), rgb("#ffffff")) == pytest.approx(21)


@pytest.mark.parametrize("colors", THEMES)
@pytest.mark.parametrize("name", ["ink", "soft", "accent", "caution"])
@pytest.mark.parametrize("ground", ["paper", "panel"])
def test_words_are_legible(colors: dict[str, str], name: str, ground: str) -> None:
    assert contrast(rgb(colors[name]), rgb(colors[ground])) >= 4.5


@pytest.mark.parametrize("colors", THEMES)
def test_the_warning_is_legible(colors: dict[str, str]) -> None:
    assert contrast(rgb(colors["ink"]), rgb(colors["caution-panel"])) >= 4.5


@pytest.mark.parametrize("colors", THEMES)
@pytest.mark.parametrize("strength", np.linspace(0.04, 1, 25))
def test_numbers_are_legible_on_a_cell_of_any_strength(colors: dict[str, str], strength: float) -> None:
    cell_3 = strength * rgb(colors["heat"]) + (1 - strength) * rgb(colors["paper"])
    name = CSS_OF[matrices.over(strength)].removeprefix("var(--").removesuffix(")")
    assert contrast(rgb(colors[name]), cell_3) >= 4.3


def test_both_themes_define_every_colour_and_light_ones_are_told_apart() -> None:
    """A light colour identifies its variable, so no two may be equal."""
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert all(theme().count(f"--{name}:") == 2 for name in LIGHT)
