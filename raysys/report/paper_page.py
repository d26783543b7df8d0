"""The page of a run of the whole paper: its numbers and figures beside the paper's, and the runs that they are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from raysys.report import page, paper
from raysys.report.charts import ABLATION, CONFUSION, GRID, TSNE, draw
from raysys.report.drawn import Drawn
from raysys.report.paper import PaperRun, Table
from raysys.report.reading import Run, read_run
from raysys.storage import Folder

FROM_GRID, FROM_ABLATION = (CONFUSION, GRID), (TSNE, ABLATION)


def write_report(folder: Folder) -> list[str]:
    """Write the report of a run of the whole paper into its folder, from the files of its runs alone.

    Writes report.html, figures/<name>.png and what `paper.files` names.

    Returns: notes on figures that cannot be drawn as they should.

    Raises:
        StorageError: one of its runs is not finished, or the folder cannot be written.
    """
    found = PaperRun.read(folder)
    grids = {corpus: read_run(folder / name) for corpus, name in found.grids.items()}
    ablations = {corpus: read_run(folder / name) for corpus, name in found.ablations.items()}
    tables = paper.tables(
        {corpus: run.results for corpus, run in grids.items()},
        {corpus: run.results for corpus, run in ablations.items()},
    )
    # First: tables are there even where a figure cannot be drawn.
    for name, content in paper.files(tables).items():
        folder.write_bytes(name, content.encode())
    charts: dict[str, Drawn] = {}
    notes: list[str] = []
    for runs, wanted in ((grids, FROM_GRID), (ablations, FROM_ABLATION)):
        for corpus, run in runs.items():
            drawn, odd = draw(run, wanted, prefix=f"{corpus}-")
            charts |= drawn
            notes += [f"{run.name}: {note}" for note in odd]
    folder.write_bytes("report.html", html(folder, found, grids, ablations, tables, charts, notes).encode())
    for chart in charts.values():
        (folder / "figures").write_bytes(f"{chart.name}.png", chart.png)
    return notes


def html(
    folder: Folder,
    found: PaperRun,
    grids: Mapping[str, Run],
    ablations: Mapping[str, Run],
    tables: Sequence[Table],
    charts: Mapping[str, Drawn],
    notes: Sequence[str],
) -> str:
    """The whole document.

    Args:
        notes: of this report, in addition to those of the runs.
    """
    runs = [*grids.values(), *ablations.values()]
    titles = {
        "scores": "Tables 1 and 2",
        "weights": "Alpha and beta",
        "classes": "Figures 3 and 4: classes",
        "features": "Figures 5 and 6: final features" if ablations else "",
        "ablation": "Figure 7: ablation" if ablations else "",
        "models": "Final models",
        "runs": "The runs",
        "notes": "Notes",
    }
    return (
        page.environment()
        .get_template("paper.html.j2")
        .render(
            name=folder.location.rstrip("/").rsplit("/", 1)[-1],
            sections={anchor: title for anchor, title in titles.items() if title},
            policy=page.POLICY,
            style=page.style(),
            warnings=list(dict.fromkeys(warning for run in runs for warning in page.warnings_of(run))),
            grids=grids,
            ablations=ablations,
            runs=runs,
            tables=[(table, paper.caption(table), paper.printed(table)) for table in tables],
            charts=charts,
            notes=[*found.notes, *_notes(runs), *notes],
            kinds=page.KINDS,
            clock=page.clock,
            link=lambda name: Markup('<a href="{0}/report.html">{0}</a>').format(name),
        )
    )


def _notes(runs: Sequence[Run]) -> list[str]:
    """Those of the runs, each once with the runs that have it."""
    of: dict[str, list[str]] = {}
    for run in runs:
        for note in run.results.notes:
            of.setdefault(note, []).append(run.name)
    return [f"{', '.join(names)}: {note}" for note, names in of.items()]
