"""A run's report: a self-contained page that opens offline, with figures and score tables beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources

from raysys.report import export, mistakes, sections, sweeps, words
from raysys.report.charts import draw
from raysys.report.markup import Section, paragraph, text
from raysys.report.palette import theme
from raysys.report.reading import Run, read_run
from raysys.report.svg import to_png
from raysys.report.tables import SYNTHETIC
from raysys.storage import Folder

# No scripts and no requests, whatever a transcript contains.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def write_report(run: Folder) -> None:
    """Write the report of a finished run into its folder, deterministically and from its files alone.

    Writes report.html, figures/<name>.png, results.csv, table.md, table.tex, and for sweeps grid.csv or ablation.csv.

    Raises:
        StorageError: the run is not finished, or its folder cannot be written.
    """
    found = read_run(run)
    charts = draw(found)
    built = [build(found, charts) for build in _sections(found)]
    run.write_bytes("report.html", page(found, built).encode())
    for chart in charts.values():
        (run / "figures").write_bytes(f"{chart.name}.png", to_png(chart.figure))
    tables = export.paper_tables(found.results)
    files = {
        "results.csv": export.results_csv(found.results),
        "table.md": export.markdown(tables),
        "table.tex": export.latex(tables),
    }
    if found.results.grid is not None:
        files["grid.csv"] = export.grid_csv(found.results.grid)
    if found.results.ablation is not None:
        files["ablation.csv"] = export.ablation_csv(found.results.ablation)
    for name, content in files.items():
        run.write_bytes(name, content.encode())


def _sections(run: Run) -> list[Callable[[Run, sections.Charts], Section]]:
    sweep = [sweeps.grid] * (run.results.grid is not None) + [sweeps.ablation] * (run.results.ablation is not None)
    dialogs = [sections.parts] if run.manifest.corpus in ("demo", "iemocap") else []
    return [
        sections.scores,
        sections.what_was_run,
        *sweep,
        sections.reference,
        sections.folds,
        sections.classes,
        *dialogs,
        sections.learning,
        sections.features,
        sections.calibration,
        mistakes.mistakes,
        sections.notes,
    ]


def _warnings(run: Run) -> list[str]:
    """What a reader must know before any number."""
    found = [SYNTHETIC] if run.manifest.corpus == "demo" else []
    if (steps := run.config["train"]["max_steps"]) is not None:
        found.append(
            f"Training was cut short after {steps} optimizer steps (--train.max-steps): these are not the scores of a "
            f"trained model."
        )
    return found


def page(run: Run, built: Sequence[Section]) -> str:
    """The whole document."""
    title = f"{words.KINDS.get(run.kind, run.kind)}: {run.manifest.corpus}"
    links = "".join(f'<li><a href="#{s.anchor}">{text(s.title)}</a></li>' for s in built)
    body = "\n".join(
        f'<section id="{s.anchor}" aria-labelledby="{s.anchor}-title">'
        f'<h2 id="{s.anchor}-title">{text(s.title)}</h2>\n{s.body}</section>'
        for s in built
    )
    warnings = "\n".join(paragraph(warning, "warning") for warning in _warnings(run))
    style = (resources.files("raysys.report") / "style.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{text(title)} ({text(run.name)})</title>
<style>
{theme()}{style}</style>
</head>
<body>
<nav aria-label="Contents"><ul>{links}</ul></nav>
<main>
<header>
<h1>{text(title)}</h1>
<p class="lead">{text(words.heard(run.results.modalities))}; run <code>{text(run.name)}</code></p>
{warnings}
</header>
{body}
</main>
</body>
</html>
"""
