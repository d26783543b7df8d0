"""A run's report: a self-contained page that opens offline, with figures and score tables beside it.

`templates/page.html.j2` holds its text and markup; everything that is not markup already is escaped there.
"""

from __future__ import annotations

import base64
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from importlib import resources

import soundfile
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from raysys.config import CORPORA, SAMPLE_RATE_HZ
from raysys.data.audio import decode
from raysys.data.manifest import Utterance
from raysys.errors import AudioError
from raysys.report import export
from raysys.report.attributes import attribute_rows
from raysys.report.charts import LOSSES, draw
from raysys.report.drawn import Drawn
from raysys.report.figures import signed
from raysys.report.gradients import pulls
from raysys.report.reading import Run, read_run
from raysys.report.reference import PAPER_RECALLS, references_of
from raysys.report.scores import reliability_bins, surest_mistakes
from raysys.report.style import theme
from raysys.report.tables import SYNTHETIC
from raysys.results import RunResult
from raysys.selection import TITLES, shown
from raysys.storage import Folder

LONGEST_S = 10.0
"""Longer utterances get no player, to keep the page small."""
KINDS = {"crossval": "Cross-validation", "gridsearch": "Grid search", "ablation": "Ablation"}
# No scripts and no requests, whatever a transcript contains.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def write_report(run: Folder) -> list[str]:
    """Write the report of a finished run into its folder, deterministically and from its files alone.

    Writes report.html, figures/<name>.png, gradients.csv where there are any, and what `export.files` names.

    Returns: notes on figures that cannot be drawn as they should.

    Raises:
        StorageError: the run is not finished, or its folder cannot be written.
    """
    found = read_run(run)
    # First: tables are there even where a figure cannot be drawn.
    for name, content in export.files(found.results, found.predictions).items():
        run.write_bytes(name, content.encode())
    if (gradients := export.gradients_csv(found.histories)) is not None:
        run.write_bytes("gradients.csv", gradients.encode())
    charts, notes = draw(found)
    run.write_bytes("report.html", page(found, charts, notes).encode())
    for chart in charts.values():
        (run / "figures").write_bytes(f"{chart.name}.png", chart.png)
    return notes


def page(run: Run, charts: Mapping[str, Drawn], notes: Sequence[str]) -> str:
    """The whole document.

    Args:
        notes: of this report, in addition to the run's.
    """
    results = run.results
    counts = Counter(u.emotion for u in run.manifest.utterances)
    mistakes = [(mistake, sound(mistake.utterance)) for mistake in surest_mistakes(run.manifest, run.predictions)]
    chosen_by = defaultdict(list)
    for fold, point in (results.grid.nested if results.grid else {}).items():
        chosen_by[point].append(fold)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            config=run.config,
            title=f"{KINDS[run.kind]}: {results.corpus.title}",
            sections=_sections(run),
            charts=charts,
            notes=[*results.notes, *(note for note in notes if note not in results.notes)],
            curves=["validation", *(f"loss-{part}" for part in LOSSES)],
            pulls=pulls(results.folds, run.histories),
            terms=LOSSES,
            policy=POLICY,
            style=style(),
            warnings=warnings_of(run),
            about=_about(run, counts),
            chosen_by=chosen_by,
            selected_by=TITLES[results.select],
            tested={fold.fold: fold for fold in results.grid.optimistic.folds} if results.grid else {},
            most_frequent=Counter(run.predictions["label"].to_pylist()).most_common(1)[0][1] / len(run.predictions),
            references=references_of(run.manifest.corpus, run.config.get("corpus", {}).get("root")),
            paper_recalls=", ".join(
                f"{name} {recall:.1f}" for name, recall in PAPER_RECALLS.get(run.manifest.corpus, {}).items()
            ),
            attributes=attribute_rows(run.manifest),
            bins=reliability_bins(run.predictions, results.classes),
            mistakes=mistakes,
            with_audio=any(heard for _, heard in mistakes),
        )
    )


def style() -> Markup:
    return Markup(theme() + (resources.files("raysys.report") / "style.css").read_text(encoding="utf-8"))


def environment() -> Environment:
    """Of all pages' templates."""
    environment = Environment(
        loader=PackageLoader("raysys.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": export.percent,
        "score": lambda score, by: None if score is None else shown(score, by),
        "interval": _interval,
        "signed": lambda share: signed(100 * share),
        "duration": lambda seconds: f"{seconds:.2f} s" if seconds < 60 else clock(seconds),
        "thousands": "{:,}".format,
        "modalities": _modalities,
        "settings": _settings,
        "short_axis": _short_axis,
        "times": lambda share: None if share is None else f"{share:.2f}",
        "items_of": lambda values, names: [values[name] for name in names],
    }
    return environment


def _sections(run: Run) -> dict[str, str]:
    """Headings by anchor, in the order of the page."""
    titles = {
        "scores": "Scores",
        "run": "What was run",
        "grid-search": "Grid search" if run.results.grid else "",
        "ablations": "Ablations" if run.results.ablation else "",
        "reference": "Reference numbers",
        "folds": "Folds",
        "classes": "Classes",
        "speakers": "Speakers",
        "parts": "Improvised and scripted" if run.results.by_dialog else "",
        "learning": "Learning curves",
        "features": "Final features",
        "calibration": "Calibration",
        "mistakes": "Most confident mistakes",
        "notes": "Notes",
    }
    return {anchor: title for anchor, title in titles.items() if title}


def warnings_of(run: Run) -> list[str]:
    """What a reader must know before any number."""
    found = [SYNTHETIC] if run.manifest.corpus == "demo" else []
    if (steps := run.config["train"]["max_steps"]) is not None:
        found.append(
            f"Training was cut short after {steps} optimizer steps (--train.max-steps): these are not the scores of a "
            f"trained model."
        )
    return found


def _about(run: Run, counts: Counter[str]) -> dict[str, object]:
    """Corpus, model, folds, versions: what was run."""
    results, corpus, model = run.results, run.results.corpus, run.config["model"]
    hours = sum(u.duration_s or 0.0 for u in run.manifest.utterances) / 3600
    spoken = sum(u.transcript is not None for u in run.manifest.utterances)
    encoders = {"audio": [model["audio"]], "text": [model["text"]]}.get(
        results.modalities, [model["audio"], model["text"]]
    )
    size = f"{results.parameters:,} parameters"
    if results.trained_parameters is not None:
        size += f", of which {results.trained_parameters:,} were trained"
    return {
        "Corpus": f"{corpus.title}: {corpus.utterances:,} utterances, {hours:.2f} h, {corpus.speakers} "
        f"{'known ' if run.manifest.n_unknown else ''}speakers, {spoken:,} with a transcript",
        **_terms(run.manifest.corpus),
        "Classes": ", ".join(f"{name} {counts[name]:,}" for name in results.classes),
        "Model": f"{' + '.join(encoders)}, {size}",
        "Modalities": _modalities(results.modalities),
        "Folds": f"{len(results.folds)}: {', '.join(fold.name for fold in results.folds)}",
        "Seed": results.seed if results.seeds is None else results.seeds.names,
        "Time": f"{clock(results.seconds)} from start to end",
        "Corpus fingerprint": corpus.fingerprint,
        **_made(results),
        "Versions": ", ".join(f"{name} {version}" for name, version in results.versions.items()),
    }


def _terms(corpus: str) -> dict[str, object]:
    """Licence of a published corpus, and where to get it."""
    terms = next((known.terms for name, known in CORPORA.items() if name == corpus), "")
    return {"Terms of the corpus": terms} if terms else {}


def _made(results: RunResult) -> dict[str, object]:
    titles = {"date": "Date (UTC)", "command": "Command", "commit": "Commit", "hardware": "Hardware"}
    return {title: value for name, title in titles.items() if (value := getattr(results.made, name, None))}


def _settings(values: Mapping[str, object]) -> dict[str, object]:
    def plain(value: object) -> object:
        match value:
            case bool():
                return "on" if value else "off"
            case list():
                return ", ".join(map(str, value)) or None
            case _:
                return value

    return {name: plain(value) for name, value in values.items()}


def _modalities(modalities: str) -> str:
    return {"both": "audio and text", "audio": "audio only", "text": "text only"}.get(modalities, modalities)


def _interval(ends: Sequence[float] | None) -> str | None:
    """The two ends in per cent."""
    return None if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _short_axis(axis: str) -> str:
    return axis.rsplit(".", 1)[-1]


def sound(utterance: Utterance) -> str | None:
    """An utterance as the model's input (16 kHz, mono, not trimmed), as MP3 in Base64.

    None if it is longer than `LONGEST_S` or its file cannot be read on this machine.
    """
    if (utterance.duration_s or 0.0) > LONGEST_S:
        return None
    try:
        waveform_S = decode(utterance)
        if len(waveform_S) > LONGEST_S * SAMPLE_RATE_HZ:
            return None
        buffer = io.BytesIO()
        soundfile.write(
            buffer, waveform_S, SAMPLE_RATE_HZ, format="MP3", bitrate_mode="VARIABLE", compression_level=0.7
        )
    except (AudioError, OSError, RuntimeError, ValueError):
        # The file has moved, or this libsndfile cannot write MP3: the transcript is still shown.
        return None
    return base64.b64encode(buffer.getvalue()).decode()
