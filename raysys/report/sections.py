"""The parts of a report that every run has. Each gives HTML, or nothing where the run holds nothing for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from raysys import metrics
from raysys.report import figures
from raysys.report.markup import escaped, interval, percent, player, table
from raysys.report.reading import Run, most_confidently_wrong, subsets
from raysys.report.reference import references
from raysys.report.tables import SYNTHETIC

Draw = Callable[[str, Figure, str, str], str]

_KINDS = {"crossval": "Cross-validation", "gridsearch": "Grid search", "ablation": "Ablation"}


def summary(run: Run) -> str:
    """What, on what, how big, how long."""
    results, corpus = run.results, run.results["corpus"]
    minutes = results["seconds"] / 60
    said = (
        f"{_KINDS[run.kind]} on {corpus['name']}: {corpus['utterances']} utterances by {corpus['speakers']} speakers, "
        f"{len(run.classes)} emotions, modalities: {results['modalities']}, {results['parameters']:,} trained "
        f"parameters, seed {results['seed']}, {minutes:.1f} minutes."
    )
    synthetic = f'<p class="warn">{escaped(SYNTHETIC)}</p>' if corpus["name"] == "demo" else ""
    return f'<p class="soft">{escaped(said)}</p>{synthetic}'


def _card(title: str, score: str, below: str, kind: str = "") -> str:
    said = f'<b>{escaped(score)}</b><span class="soft">{escaped(below)}</span>'
    return f'<div class="score {kind}">{escaped(title)}{said}</div>'


def scores(run: Run) -> str:
    results, pooled = run.results, run.results["pooled"]
    cards = [
        _card("UA, mean class recall", percent(pooled["ua"]), f"95 % interval {interval(pooled['ua_ci95'])}"),
        _card("WA, overall accuracy", percent(pooled["wa"]), f"95 % interval {interval(pooled['wa_ci95'])}"),
        _card("macro-F1", percent(pooled["macro_f1"]), f"{pooled['n']} test utterances, each scored once"),
    ]
    if "grid" in results:
        best = results["grid"]["optimistic"]
        below = f"WA {percent(best['pooled_wa'])}; chosen on the test folds, as the paper does: not an estimate"
        cards.append(_card("optimistic UA", percent(best["pooled_ua"]), below, "optimistic"))
    choice = "epoch and grid point are" if "grid" in results else "the epoch is"
    whose = " These are the full model's scores, first seed." if "ablation" in results else ""
    protocol = (
        f"Nested protocol: in each fold {choice} chosen on whole validation speakers, cut from the training part; "
        f"the test part is scored once, with that choice. Intervals resample speakers within folds.{whose}"
    )
    return f'<div class="scores">{"".join(cards)}</div><p>{escaped(protocol)}</p>{_subsets(run)}{_references(run)}'


def _subsets(run: Run) -> str:
    rows: list[list[object]] = []
    for name, chosen_N in subsets(run).items():
        label_N, predicted_N = run.label_N[chosen_N], run.predicted_N[chosen_N]
        if len(label_N):
            wa, ua = metrics.weighted_accuracy(label_N, predicted_N), metrics.unweighted_accuracy(label_N, predicted_N)
            rows.append([name, len(label_N), percent(wa), percent(ua)])
    if not rows:
        return ""
    caption = (
        "By how the speech came about; script-disjoint: the transcript occurs in no training utterance of its fold."
    )
    return table(["part of the test utterances", "n", "WA", "UA"], rows, caption=caption)


def _references(run: Run) -> str:
    corpus = run.results["corpus"]["name"]
    known = references(corpus)
    if not known:
        return f'<p class="soft">Nobody else has published scores on {escaped(corpus)}: nothing to stand beside.</p>'
    pooled = run.results["pooled"]
    rows: list[Sequence[object]] = [["this run", "nested", percent(pooled["wa"]), percent(pooled["ua"])]]
    for r in known:
        rows.append([r.who, r.protocol, "–" if r.wa is None else r.wa, "–" if r.ua is None else r.ua])
    caption = "Published scores. Those of other protocols are not of one kind with this run's."
    return table(["", "protocol", "WA", "UA"], rows, caption=caption)


def folds_and_classes(run: Run, draw: Draw) -> str:
    results = run.results
    pointed = any("point" in fold for fold in results["folds"]) and "grid" in results
    header = ["fold", "train", "validation", "test", "epoch", "WA", "UA", *(["point"] if pointed else [])]
    rows: list[list[object]] = [
        [f["name"], f["n_train"], f["n_validation"], f["n"], f["epoch"], percent(f["wa"]), percent(f["ua"])]
        + ([f["point"]] if pointed else [])
        for f in results["folds"]
    ]
    for name in ("mean", "std"):
        scores = results[name]
        empty: list[object] = [""] if pointed else []
        rows.append([name, "", "", "", "", percent(scores["wa"]), percent(scores["ua"]), *empty])
    caption = "Rows are true classes; percent of the row, and utterances (the paper's figures 3 and 4)."
    drawing = figures.confusion_figure(results["confusion"], run.classes)
    drawn = draw("confusion", drawing, caption, "Confusion matrix of the pooled test predictions")
    return f'{table(header, rows)}<div class="figures">{drawn}<div>{_classes(run)}</div></div>'


def _classes(run: Run) -> str:
    counts_CC = np.asarray(run.results["confusion"])
    true_C, predicted_C, hit_C = counts_CC.sum(axis=1), counts_CC.sum(axis=0), np.diagonal(counts_CC)
    rows: list[list[object]] = []
    for i, name in enumerate(run.classes):
        recall = hit_C[i] / true_C[i] if true_C[i] else None
        precision = hit_C[i] / predicted_C[i] if predicted_C[i] else None
        f1 = 2 * hit_C[i] / (true_C[i] + predicted_C[i]) if true_C[i] + predicted_C[i] else None
        rows.append([name, percent(precision), percent(recall), percent(f1), int(true_C[i])])
    return table(["class", "precision", "recall", "F1", "n"], rows)


def curves(run: Run, draw: Draw) -> str:
    chosen = {fold["fold"]: fold["epoch"] for fold in run.results["folds"]}
    losses = draw(
        "losses",
        figures.losses_figure(run.histories),
        "Training loss and its terms, mean over the folds.",
        "Losses by epoch",
    )
    validation = draw(
        "validation",
        figures.validation_figure(run.histories, chosen),
        "UA on the validation speakers; marked: the epoch that was chosen.",
        "Validation UA by epoch and fold",
    )
    return f'<div class="figures">{losses}{validation}</div>'


def features(run: Run, draw: Draw) -> str:
    """The paper's figures 5 and 6."""
    if not run.features:
        return "<p>The features of the test utterances were not kept by this run.</p>"
    index = {name: int(label) for name, label in zip(run.names, run.label_N, strict=True)}
    said = {"without": "cross-entropy alone", "with": "with the contrastive terms"}
    drawn = [
        draw(
            f"tsne-{name}",
            figures.tsne_figure(rows_NF, [index[u] for u in names], run.classes),
            f"t-SNE of the features of fold 1's test utterances, {said[name]} (the paper's figures 5 and 6).",
            f"t-SNE, {said[name]}",
        )
        for name, (names, rows_NF) in sorted(run.features.items(), reverse=True)
        if name in said
    ]
    missing = (
        "" if len(drawn) == 2 else '<p class="soft">An ablation draws both, with and without the contrastive terms.</p>'
    )
    return f'<div class="figures">{"".join(drawn)}</div>{missing}'


def calibration(run: Run, draw: Draw) -> str:
    error = percent(run.results["pooled"]["calibration_error"])
    caption = (
        "Bars: accuracy by confidence, darker where more utterances are; dots: mean confidence. "
        "Dotted line: as it should be."
    )
    drawing = figures.reliability_figure(run.probability_NC, run.label_N)
    return f"<p>Expected calibration error {error} % (15 bins).</p>" + draw(
        "reliability", drawing, caption, "Reliability diagram"
    )


def wrong(run: Run) -> str:
    utterances = {u.utterance_id: u for u in run.manifest.utterances}
    items: list[str] = []
    for i in most_confidently_wrong(run):
        utterance = utterances[run.names[i]]
        top = float(run.probability_NC[i].max())
        transcript = "no transcript" if utterance.transcript is None else f"“{utterance.transcript}”"
        items.append(
            f"<li><strong>{escaped(run.classes[run.predicted_N[i]])}</strong> at {100 * top:.0f} %, truly "
            f"<strong>{escaped(run.classes[run.label_N[i]])}</strong><blockquote>{escaped(transcript)}</blockquote>"
            f'<span class="soft">{escaped(run.names[i])}, speaker {escaped(utterance.speaker)}</span>'
            f"{player(utterance)}</li>"
        )
    return f'<ul class="wrong">{"".join(items)}</ul>' if items else "<p>Every test utterance was told right.</p>"


def setting(run: Run) -> str:
    results = run.results
    facts: list[list[object]] = [
        ["corpus fingerprint", results["corpus"]["fingerprint"]],
        ["seed", results["seed"]],
        ["versions", ", ".join(f"{name} {value}" for name, value in results["versions"].items())],
    ]
    for name in ("model", "loss", "augment", "train", "optim"):
        values = ", ".join(f"{key} {_plain(value)}" for key, value in run.config.get(name, {}).items())
        facts.append([name, values])
    notes = "".join(f"<li>{escaped(note)}</li>" for note in results["notes"])
    skipped: list[list[object]] = [[s["utterance_id"], s["audio_path"], s["reason"]] for s in results["skipped"]]
    parts = [_wide(facts), f"<ul>{notes}</ul>" if notes else ""]
    if skipped:
        parts.append(table(["left out", "file", "why"], skipped))
    return "".join(parts)


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _wide(facts: list[list[object]]) -> str:
    """Names and long values, which wrap."""
    rows = "".join(f'<tr><th scope="row">{escaped(n)}</th><td class="text">{escaped(v)}</td></tr>' for n, v in facts)
    return f'<div class="table"><table class="left"><tbody>{rows}</tbody></table></div>'
