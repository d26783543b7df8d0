"""Report sections common to all runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from raysys.report import words
from raysys.report.charts import LOSSES, Chart
from raysys.report.markup import (
    Html,
    Section,
    below,
    bullets,
    chart,
    clock,
    facts,
    folded,
    interval,
    join,
    paragraph,
    percent,
    side_by_side,
    table,
    text,
)
from raysys.report.reading import Run
from raysys.report.reference import PAPER_RECALLS, REFERENCES
from raysys.report.scores import class_scores, dialog_parts, reliability_bins
from raysys.results import Provenance, RunResult

Charts = Mapping[str, Chart]


def scores(run: Run, charts: Charts) -> Section:
    """The pooled scores with their intervals, and what they mean."""
    pooled = run.results.pooled
    tiles = join(
        [
            _tile(
                name.upper(), getattr(pooled, name), getattr(pooled, f"{name}_ci95"), getattr(pooled, f"chance_{name}")
            )
            for name in ("wa", "ua")
        ]
    )
    small = facts(
        {
            "Macro-F1": percent(pooled.macro_f1),
            "Calibration error": percent(pooled.calibration_error),
            "Test utterances": f"{pooled.n:,}",
            "WA over folds": _spread(run.results, "wa"),
            "UA over folds": _spread(run.results, "ua"),
        }
    )
    said = [f"{words.scored(run)} {words.protocol(run)}", words.MEASURES]
    if pooled.absent_classes:
        said.append(f"UA leaves out these classes, which have no test utterances: {', '.join(pooled.absent_classes)}.")
    body = join([Html(f'<div class="tiles">{tiles}{small}</div>'), *map(paragraph, said)])
    return Section(anchor="scores", title="Scores", body=body)


def _tile(name: str, value: float, ends: tuple[float, float], chance: float | None) -> Html:
    """A score with its interval and chance level on a scale from 0 to 100; older runs have no chance level."""
    low, high = ends
    mark = "" if chance is None else f'<u style="left:{100 * chance:.2f}%"></u>'
    said = "" if chance is None else f"<p>chance <span>{percent(chance)}</span></p>"
    return Html(
        f'<div class="tile"><h3>{name}</h3><p class="score">{percent(value)}</p>'
        f"<p>95&nbsp;% interval <span>{interval(ends)}</span></p>{said}"
        f'<div class="strip" aria-hidden="true"><i style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>'
        f'{mark}<b style="left:{100 * value:.2f}%"></b></div>'
        f'<p class="ends" aria-hidden="true"><span>0</span><span>100</span></p></div>'
    )


def _spread(results: RunResult, key: str) -> str:
    return f"{percent(getattr(results.mean, key))} ± {percent(getattr(results.std, key))}"


def what_was_run(run: Run, charts: Charts) -> Section:
    """Corpus, model, folds, versions; the configuration is collapsed."""
    results, config, corpus = run.results, run.config, run.results.corpus
    hours = sum(u.duration_s or 0.0 for u in run.manifest.utterances) / 3600
    spoken = sum(u.transcript is not None for u in run.manifest.utterances)
    counts = Counter(u.emotion for u in run.manifest.utterances)
    about = facts(
        {
            "Corpus": f"{corpus.name}: {corpus.utterances:,} utterances, {hours:.2f} h, {corpus.speakers} "
            f"speakers, {spoken:,} with a transcript",
            "Classes": ", ".join(f"{name} {counts[name]:,}" for name in results.classes),
            "Model": f"{words.encoders(config, results.modalities)}, {results.parameters:,} parameters",
            "Modalities": words.heard(results.modalities),
            "Folds": f"{len(results.folds)}: {', '.join(fold.name for fold in results.folds)}",
            "Seed": results.seed,
            "Time": f"{clock(results.seconds)} from start to end",
            "Corpus fingerprint": corpus.fingerprint,
            **_made(results.made),
            "Versions": ", ".join(f"{name} {version}" for name, version in results.versions.items()),
        }
    )
    groups = [
        Html(f"<section><h4>{text(name)}</h4>{facts({k: _plain(v) for k, v in config[name].items()})}</section>")
        for name in ("model", "loss", "augment", "optim", "train")
    ]
    varied = {"gridsearch": " except for the grid axes", "ablation": " of the full model"}.get(run.kind, "")
    settings = folded(f"Configuration{varied}", Html(f'<div class="settings">{"".join(groups)}</div>'))
    return Section(anchor="run", title="What was run", body=join([about, settings]))


def _made(made: Provenance | None) -> dict[str, object]:
    titles = {"date": "Date (UTC)", "command": "Command", "commit": "Commit", "hardware": "Hardware"}
    return {title: value for name, title in titles.items() if (value := getattr(made, name, None))}


def _plain(value: object) -> object:
    match value:
        case bool():
            return "on" if value else "off"
        case list():
            return ", ".join(map(str, value)) or None
        case _:
            return value


def reference(run: Run, charts: Charts) -> Section:
    """Published results for the same corpus, and how they were measured."""
    corpus, results = run.manifest.corpus, run.results
    counts = Counter(u.emotion for u in run.manifest.utterances)
    guess = (
        f"Always predicting the most frequent class would give WA {100 * max(counts.values()) / counts.total():.1f} "
        f"and UA {100 / len(counts):.1f} on this corpus."
    )
    if corpus not in REFERENCES:
        body = [paragraph(f"There are no published numbers for the corpus “{corpus}”."), paragraph(guess)]
        return Section(anchor="reference", title="Reference numbers", body=join(body))
    this, heard = Html("<b>this run</b>"), words.heard(results.modalities)
    pooled = results.pooled
    own = [[below(this, f"nested; {heard}"), percent(pooled.wa), percent(pooled.ua)]]
    if results.grid is not None:
        best = results.grid.optimistic
        why = f"point and epochs chosen on the test folds: optimistic; {heard}"
        own.append([below(this, why), percent(best.pooled_wa), percent(best.pooled_ua)])
    others = [[below(r.source, r.protocol), r.wa, r.ua] for r in REFERENCES[corpus]]
    body = [
        paragraph("Numbers from different protocols are not comparable: compare only those measured the same way."),
        table("Reference numbers", ["source and protocol", "WA", "UA"], [*own, *others]),
        paragraph(f"The paper's best class recalls: {PAPER_RECALLS[corpus]} per cent. {guess}"),
    ]
    return Section(anchor="reference", title="Reference numbers", body=join(body))


def folds(run: Run, charts: Charts) -> Section:
    results = run.results
    rows: list[list[object]] = [
        [
            below(f"{fold.fold}\u00a0{fold.name}", fold.point or None),
            fold.n_train,
            fold.n_validation,
            fold.n,
            fold.epoch,
            percent(fold.wa),
            percent(fold.ua),
        ]
        for fold in results.folds
    ]
    blank, pooled = Html(""), results.pooled
    for name, label in (("mean", "mean"), ("std", "deviation")):
        rows.append([label, *[blank] * 4, percent(getattr(results, name).wa), percent(getattr(results, name).ua)])
    rows.append(["pooled", blank, blank, pooled.n, blank, percent(pooled.wa), percent(pooled.ua)])
    body = table("Scores by fold", ["fold", "train", "valid", "test", "epoch", "WA", "UA"], rows, summary=3)
    return Section(anchor="folds", title="Folds", body=body)


def classes(run: Run, charts: Charts) -> Section:
    rows = [
        [c.name, percent(c.precision), percent(c.recall), percent(c.f1), c.support]
        for c in class_scores(run.results.confusion, run.results.classes)
    ]
    scores_by_class = table("Scores by class", ["class", "precision", "recall", "F1", "n"], rows)
    return Section(anchor="classes", title="Classes", body=side_by_side([chart(charts["confusion"]), scores_by_class]))


def learning(run: Run, charts: Charts) -> Section:
    names = ["validation", *(f"loss-{part}" for part in LOSSES)]
    drawn = [chart(charts[name]) for name in names if name in charts]
    body = side_by_side(drawn) if drawn else paragraph("This run saved no epoch history, so there are no curves.")
    return Section(anchor="learning", title="Learning curves", body=body)


def features(run: Run, charts: Charts) -> Section:
    drawn = [chart(charts[name]) for name in ("tsne-without", "tsne-with") if name in charts]
    body = (
        side_by_side(drawn)
        if drawn
        else paragraph("This run saved no final features (features.parquet), or too few, so there is no t-SNE plot.")
    )
    return Section(anchor="features", title="Final features", body=body)


def parts(run: Run, charts: Charts) -> Section:
    """Improvised, scripted and script-disjoint utterances, for corpora in IEMOCAP's layout."""
    rows = [
        [p.name, p.n, below(percent(p.wa), interval(p.wa_ci95)), below(percent(p.ua), interval(p.ua_ci95))]
        for p in dialog_parts(run.manifest, run.folds, run.predictions)
    ]
    headings = ["test utterances", "n", *(below(score, "95 % interval") for score in ("WA", "UA"))]
    body = [
        paragraph(
            "A model that uses text may have seen a scripted line in training. Script-disjoint utterances are those "
            "whose transcript, ignoring case and punctuation, occurs in no training utterance of their fold. The "
            "subsets also differ in wording and classes, so not every difference is due to known lines."
        ),
        table("Scores on parts of the test utterances", headings, rows),
    ]
    return Section(anchor="parts", title="Improvised and scripted", body=join(body))


def calibration(run: Run, charts: Charts) -> Section:
    rows = [
        [f"{100 * b.low:.0f} to {100 * b.high:.0f}", b.n, percent(b.confidence), percent(b.accuracy)]
        for b in reliability_bins(run.predictions, run.results.classes)
        if b.n
    ]
    bins = table("Calibration by confidence", ["confidence", "n", "mean confidence", "accuracy"], rows)
    body = side_by_side([chart(charts["reliability"]), bins])
    return Section(anchor="calibration", title="Calibration", body=body)


def notes(run: Run, charts: Charts) -> Section:
    """Notes from the run, and the utterances it skipped."""
    said, skipped = run.results.notes, run.results.skipped
    body = [bullets(said) if said else paragraph("There are no notes.")]
    if skipped:
        rows = [[s.utterance_id, s.reason] for s in skipped]
        listed = table("Skipped utterances", ["utterance", "reason"], rows, words=(1,))
        body += [Html(f"<h3>{len(skipped):,} skipped utterance{'' if len(skipped) == 1 else 's'}</h3>"), listed]
    else:
        body.append(paragraph("No utterance was skipped."))
    return Section(anchor="notes", title="Notes", body=join(body))
