"""The report: one HTML file that needs nothing else, its figures as PNG, its numbers as CSV, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from matplotlib.figure import Figure

from raysys.report import figures, sections, sweeps
from raysys.report.export import export_tables
from raysys.report.markup import escaped, figure
from raysys.report.reading import Run, read_run
from raysys.storage import Folder

REPORT = "report.html"


def write_report(folder: Folder) -> None:
    """Read a finished run's folder and write report.html, figures/*.png, and the tables beside them."""
    run = read_run(folder)
    drawn: dict[str, Figure] = {}

    def draw(name: str, drawing: Figure, caption: str, alt: str) -> str:
        drawn[name] = drawing
        return figure(figures.to_svg(drawing, name), caption, alt)

    page = _page(run, folder.location.rsplit("/", 1)[-1], draw)
    for name, drawing in drawn.items():
        (folder / "figures").write_bytes(f"{name}.png", figures.to_png(drawing))
    for name, text in export_tables(run).items():
        folder.write_bytes(name, text.encode())
    folder.write_bytes(REPORT, page.encode())


Draw = Callable[[str, Figure, str, str], str]


def _page(run: Run, name: str, draw: Draw) -> str:
    parts = [
        ("scores", "Scores", sections.scores(run)),
        ("grid", "Grid search", sweeps.grid(run, draw)),
        ("ablation", "Ablation", sweeps.ablation(run, draw)),
        ("folds", "Folds and classes", sections.folds_and_classes(run, draw)),
        ("curves", "Learning curves", sections.curves(run, draw)),
        ("features", "Features", sections.features(run, draw)),
        ("calibration", "Calibration", sections.calibration(run, draw)),
        ("wrong", "Most confidently wrong", sections.wrong(run)),
        ("setting", "What was run", sections.setting(run)),
    ]
    present = [part for part in parts if part[2]]
    links = "".join(f'<a href="#{anchor}">{escaped(title)}</a>' for anchor, title, _ in present)
    body = "".join(
        f'<section id="{anchor}"><h2>{escaped(title)}</h2>{content}</section>' for anchor, title, content in present
    )
    style = (files("raysys.report") / "style.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escaped(name)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<main>
<header><h1>{escaped(name)}</h1>{sections.summary(run)}<nav aria-label="Sections">{links}</nav></header>
{body}
</main>
</body>
</html>
"""
