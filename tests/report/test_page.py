"""The report of a run: contents of the page, and the files beside it."""

from __future__ import annotations

import base64
import dataclasses
import functools
import html
import io
import json
import re
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from raysys.data.manifest import Manifest
from raysys.errors import StorageError
from raysys.report import fonts
from raysys.report.page import sound, write_report
from raysys.report.reference import REFERENCES
from raysys.storage import Folder
from tests.report.made_up import seeds
from tests.report.run_folder import MARKUP, write_run

CURVES = {"validation", "loss-total", "loss-ce", "loss-scl", "loss-acl", "loss-cpc"}
FIGURES = {
    "crossval": {"confusion", "reliability", "tsne-with"} | CURVES,
    "gridsearch": {"confusion", "reliability", "tsne-with", "grid"} | CURVES,
    "ablation": {"confusion", "reliability", "tsne-with", "tsne-without", "ablation", "ablation-difference"} | CURVES,
}


class Plain(HTMLParser):
    """Text, anchors and links of a page; mismatched tags are an error."""

    VOID = frozenset({"meta", "link", "br", "path", "use"})

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if tag == "a" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "text"):
            self.words.append(data)


def report(run: Folder) -> str:
    write_report(run)
    return run.read_bytes("report.html").decode()


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Folder]:
    """A run with its report, by kind and corpus; read-only."""

    @functools.cache
    def make(kind: str = "crossval", corpus: str = "demo") -> Folder:
        run = write_run(tmp_path_factory.mktemp(kind), kind, corpus=corpus)
        write_report(run)
        return run

    return make


def page_of(run: Folder) -> str:
    return run.read_bytes("report.html").decode()


def parsed(page: str) -> Plain:
    found = Plain()
    found.feed(page)
    found.close()
    assert not found.open
    return found


def words(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(parsed(page).words))


def change(run: Folder, **values: object) -> None:
    run.write_json("results.json", run.read_json("results.json") | values)


@pytest.mark.parametrize("kind", list(FIGURES))
def test_a_page_of_each_kind_is_whole_and_shows_markup_as_text(reported: Callable[..., Folder], kind: str) -> None:
    run = reported(kind)
    page = page_of(run)
    assert set(re.findall(r'<figure id="([^"]+)">', page)) == FIGURES[kind]
    assert set((run / "figures").names()) == {f"{name}.png" for name in FIGURES[kind]}
    assert all((run / "figures").read_bytes(name).startswith(b"\x89PNG") for name in (run / "figures").names())
    own = {"gridsearch": {"grid.csv"}, "ablation": {"ablation.csv"}}.get(kind, set())
    tables = {name for name in run.names() if name.endswith((".csv", ".tex", ".md"))}
    every = {"results.csv", "classes.csv", "speakers.csv", "parts.csv", "predictions.csv", "gradients.csv"}
    every |= {"table.md", "table.tex"}
    assert tables == every | own
    found = parsed(page)
    assert len(found.ids) == len(set(found.ids))
    assert found.links and {link.removeprefix("#") for link in found.links} <= set(found.ids)
    # From a transcript, a variant's name and a note.
    assert MARKUP in words(page) and MARKUP not in page
    assert not {"script", "hears"} & set(found.tags)
    assert "the audio encoder <hears> one utterance at a time" in words(page)


def test_equal_runs_give_equal_bytes(reported: Callable[..., Folder], tmp_path: Path) -> None:
    first, second = reported("ablation"), write_run(tmp_path, "ablation")
    write_report(second)
    for folder, names in (("", ["report.html", "results.csv", "table.md", "table.tex"]), ("figures", None)):
        one, other = (run / folder if folder else run for run in (first, second))
        for name in names or one.names():
            assert one.read_bytes(name) == other.read_bytes(name), name


def test_nothing_on_the_page_lies_elsewhere(reported: Callable[..., Folder]) -> None:
    page = page_of(reported("ablation"))
    assert all(not re.match(r"(?i)(https?:)?//", source) for source in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "@import" not in page and "default-src 'none'" in html.unescape(page)


def test_the_scores_are_those_of_results_json(reported: Callable[..., Folder]) -> None:
    run = reported()
    pooled = run.read_json("results.json")["pooled"]
    low, high = (100 * end for end in pooled["ua_ci95"])
    said = words(page_of(run))
    assert f"UA {100 * pooled['ua']:.1f} 95 % interval {low:.1f} to {high:.1f}" in said
    assert f"chance {100 * pooled['chance_ua']:.1f}" in said
    assert "no speaker is in two parts" in said and "overall accuracy" in said
    assert "808,516 parameters" in said and "1:02:05" in said


def test_the_demo_is_called_synthetic_and_has_no_reference_numbers(reported: Callable[..., Folder]) -> None:
    said = words(page_of(reported()))
    assert "The demo corpus is synthetic" in said and "they say nothing about people" in said
    assert "There are no published numbers for the corpus “demo”" in said
    # Four classes of equal size.
    assert "WA 25.0 and UA 25.0" in said


@pytest.mark.parametrize("corpus", ["iemocap", "ravdess"])
def test_reference_numbers_are_of_the_same_corpus_and_say_how_they_were_measured(
    reported: Callable[..., Folder], corpus: str
) -> None:
    said = words(page_of(reported("crossval", corpus)))
    for line in REFERENCES[corpus]:
        scores = " ".join("–" if score is None else str(score) for score in (line.wa, line.ua))
        assert f"{line.source} {line.protocol} {scores}" in said
    (other,) = {"iemocap", "ravdess"} - {corpus}
    assert f"{REFERENCES[other][0].wa} {REFERENCES[other][0].ua}" not in said
    assert "synthetic" not in said and "check the licence of the corpus before sharing" in said


@pytest.mark.parametrize(("corpus", "there"), [("demo", True), ("iemocap", True), ("ravdess", False)])
def test_only_dialogs_are_scored_by_their_kind(reported: Callable[..., Folder], corpus: str, there: bool) -> None:
    assert ("script-disjoint" in page_of(reported("crossval", corpus))) == there


def test_the_nested_choice_stands_beside_the_optimistic_one_which_is_marked(reported: Callable[..., Folder]) -> None:
    said = words(page_of(reported("gridsearch")))
    assert "nested optimistic fold point of the nested choice epoch WA UA epoch WA UA" in said
    assert "1 Session1 alpha=0.1 beta=1 4 60.0 62.0 5 71.0 72.0" in said
    assert "It does not estimate" in said
    assert "The final model has no test score" in said
    assert "48 trials; one takes 1.25 s beyond its training (median). Early stopping saved 3" in said


def test_the_final_model_of_a_cross_validation_is_told(tmp_path: Path, reported: Callable[..., Folder]) -> None:
    run = write_run(tmp_path, "crossval")
    change(run, final={"point": "", "epochs": 7, "folder": "model"})
    said = "Final model: trained on all data for 7 epochs, the median of the folds' best"
    assert said in words(report(run))
    assert "Final model" not in words(page_of(reported()))


def test_the_distance_from_votes_is_told_where_there_are_votes(tmp_path: Path, reported: Callable[..., Folder]) -> None:
    run = write_run(tmp_path, "crossval")
    change(run, votes={"n": 1234, "kl": 0.41234, "js": 0.1})
    said = words(report(run))
    assert "KL divergence 0.412, Jensen-Shannon divergence 0.100 nats, means over the 1,234 test utterances" in said
    assert "Jensen-Shannon" not in words(page_of(reported()))


def test_another_score_that_selected_is_told_and_drawn(tmp_path: Path) -> None:
    run = write_run(tmp_path, "gridsearch")
    grid = run.read_json("results.json")["grid"]
    points = [p | {"validation_score": None if p["stopped"] else 1.125} for p in grid["points"]]
    change(run, select="loss", grid=grid | {"points": points})
    page = report(run)
    said = words(page)
    assert "grid point and epoch are chosen by loss on the fold's own validation speakers" in said
    assert "validation loss chosen by fold" in said and "1.125" in said
    assert "Validation loss over the grid" in said and "Validation loss" in said and "Validation UA" not in said


@pytest.mark.parametrize("axes", [{"loss.alpha": ["1", "0.1"]}, {"a.x": ["1"], "b.y": ["1", "2"], "c.z": ["1"]}])
def test_a_grid_without_two_axes_is_a_table_alone(tmp_path: Path, axes: dict[str, list[str]]) -> None:
    run = write_run(tmp_path, "gridsearch")
    grid = run.read_json("results.json")["grid"]
    points = [p | {"values": {axis: values[0] for axis, values in axes.items()}} for p in grid["points"][1:3]]
    change(run, grid=grid | {"axes": axes, "points": points, "final": None})
    page = report(run)
    assert '<figure id="grid">' not in page and "chosen by fold" in page
    assert "No final model was trained" in page


def test_variants_stand_with_their_difference_to_the_full_model(reported: Callable[..., Folder]) -> None:
    said = words(page_of(reported("ablation")))
    assert "no CCB1 --loss.alpha 0" in said
    assert "−2.0 −4.0 to −1.0 −3.4 −5.1 to +1.2 800,003" in said


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    run = write_run(tmp_path, "ablation")
    found = run.read_json("results.json")["ablation"]
    alone = [v | {"ua_std": None, "wa_std": None} for v in found["variants"]]
    change(run, ablation=found | {"seeds": [0], "variants": [v | {"ua": [0.5], "wa": [0.5]} for v in alone]})
    assert "bars are one seed" in words(report(run))


def test_seeds_stand_with_their_mean_and_their_ensemble_among_the_scores(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    assert "Scores by seed" not in report(run) and not run.exists("seeds.csv")
    change(run, seeds=dataclasses.asdict(seeds()))
    page = report(run)
    scores = words(page[page.index('<section id="scores"') : page.index('<section id="run"')])
    assert "seed WA UA 0 50.0 40.0 3 60.0 60.0" in scores
    assert "mean ± deviation 95 % interval 55.0 ± 7.1 40.0 to 60.0 50.0 ± 14.1 40.0 to 60.0" in scores
    assert "ensemble 95 % interval 70.0 61.0 to 79.0 68.0 60.0 to 76.0" in scores
    assert "Scores of the first of 2 seeds (0)" in scores and "2 times as large" in scores
    assert "Seed 0, 3" in words(page)
    assert run.read_bytes("seeds.csv").startswith(b"seed,wa,ua")


def test_a_run_of_an_earlier_version_has_a_report(tmp_path: Path) -> None:
    """Such runs have no kind, trials, t-SNE or scores of parts; their trials are the folds."""
    run = write_run(tmp_path)
    results = run.read_json("results.json")
    for name in ("kind", "tsne", "by_class", "by_speaker", "by_sex", "by_dialog", "interval_method"):
        del results[name]
    for fold in results["folds"]:
        del fold["trial"]
    run.write_json("results.json", results)
    page = report(run)
    assert "Cross-validation: demo" in page and '<figure id="validation">' in page
    # Their intervals were made in another way; scores that they lack are made again.
    assert "from an earlier version" in words(page)
    assert "script-disjoint" in page and "6 speakers" in page


def test_what_a_run_lacks_is_not_drawn_and_is_reported(tmp_path: Path) -> None:
    """Final features, validation, and a skipped utterance."""
    run = write_run(tmp_path, with_features=False)
    epoch = {"epoch": 0, "losses": {"total": 1.0, "ce": 1.0, "scl": 0.0}, "validation_ua": None}
    for fold in (1, 2, 3):
        (run / f"folds/{fold}").write_bytes("history.jsonl", json.dumps(epoch).encode())
    change(run, skipped=[{"utterance_id": "z<1>", "audio_path": "/z.wav", "reason": "is truncated"}])
    page = report(run)
    assert "saved no final features" in page
    assert set(re.findall(r'<figure id="([^"]+)">', page)) == {"confusion", "reliability", "loss-total", "loss-ce"}
    assert "1 skipped utterance" in words(page) and "z<1> is truncated" in words(page)


def test_features_that_are_all_the_same_cost_their_figure_alone(tmp_path: Path) -> None:
    """On equal points scikit-learn's t-SNE ends the process with SIGSEGV."""
    run = write_run(tmp_path)
    table = (run / "folds/1").read_table("features.parquet")
    equal = pa.table({"utterance_id": table["utterance_id"], "features": [[0.5] * 16] * table.num_rows})
    (run / "folds/1").write_table("features.parquet", equal)
    page = report(run)
    assert "the report lacks t-SNE with the contrastive terms: its features are not finite, or fewer than 10" in words(
        page
    )
    assert "tsne-with" not in page and "saved no final features (features.parquet), or too few" in words(page)


def test_classes_in_any_script_are_text_on_the_page_and_never_boxes_in_a_file(tmp_path: Path) -> None:
    """Han on a machine without such a font: by their codes, with a note; what a font has is drawn with it."""
    classes = ("愤怒", "gl\u00fcck", "𝔄", "neu")
    run = write_run(tmp_path, classes=classes)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        notes = write_report(run)
    assert not [str(w.message) for w in warned if "missing from font" in str(w.message)]
    page = page_of(run)
    assert all(re.search(rf"<text [^>]*>{name}</text>", page) for name in classes)
    families, missing = fonts.covering("".join(classes))
    assert families[0] == "DejaVu Sans" and "ü" not in missing
    assert len(notes) == bool(missing)
    if missing:
        assert f"no font on this machine has {' '.join(sorted(missing))}" in notes[0] and notes[0] in words(page)


@pytest.mark.parametrize(
    ("maker", "figure", "what"),
    [("confusion", "confusion", "the confusion matrix"), ("reliability", "reliability", "the reliability diagram")],
)
def test_a_chart_that_cannot_be_drawn_is_left_out_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maker: str, figure: str, what: str
) -> None:
    def fails(run: object) -> list[object]:
        raise ValueError("axis limits cannot be NaN\nor Inf")

    monkeypatch.setattr(f"raysys.report.charts.{maker}", fails)
    run = write_run(tmp_path)
    notes = write_report(run)
    assert notes == [f"the report lacks {what}, which cannot be drawn (ValueError: axis limits cannot be NaN)"]
    page = page_of(run)
    assert notes[0] in words(page)
    assert set(re.findall(r'<figure id="([^"]+)">', page)) == FIGURES["crossval"] - {figure}
    assert "Scores by class" in page and run.exists("classes.csv")


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no results\.json"):
        write_report(Folder.at(str(tmp_path)))


def test_short_utterances_can_be_heard_long_and_lost_ones_cannot(
    reported: Callable[..., Folder], tmp_path: Path
) -> None:
    run = reported()
    assert page_of(run).count('<audio controls preload="none" aria-label="Utterance Ses0') == 10
    manifest = Manifest.from_table(run.read_table("manifest.parquet"))
    utterance = manifest.utterances[0]
    lost = dataclasses.replace(utterance, audio_path=str(tmp_path / "no.wav"))
    long = dataclasses.replace(utterance, duration_s=10.1)
    assert sound(utterance) is not None and sound(lost) is None and sound(long) is None


def test_the_sound_is_the_utterances(reported: Callable[..., Folder]) -> None:
    """The decoded MP3 is as long and as loud as the half second of tone."""
    heard = sound(Manifest.from_table(reported().read_table("manifest.parquet")).utterances[0])
    assert heard is not None
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(heard)))
    assert rate_hz == 16_000 and samples.ndim == 1
    assert len(samples) / rate_hz == pytest.approx(0.5, abs=0.15)
    assert float(np.abs(samples).max()) == pytest.approx(0.1, rel=0.2)


def test_a_training_that_was_cut_short_says_so_first(tmp_path: Path) -> None:
    run = write_run(tmp_path, "crossval")
    assert "Training was cut short" not in report(run)
    config = run.read_bytes("config.yaml").decode().replace("max_steps: null", "max_steps: 2")
    assert "max_steps: 2" in config
    run.write_bytes("config.yaml", config.encode())
    assert "Training was cut short after 2 optimizer steps (--train.max-steps)" in report(run)


def test_the_page_says_what_made_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path, "crossval")
    made = {"date": "2026-01-02T03:04:05+00:00", "command": "crossval.py --x", "commit": "abc", "hardware": "2 cores"}
    run.write_json("results.json", run.read_json("results.json") | {"made": made})
    said = words(report(run))
    assert all(value in said for value in made.values())


def test_what_seldom_happens_is_said(tmp_path: Path) -> None:
    """An error in a template's branch would only show at the end of such a run."""
    run = write_run(tmp_path, "gridsearch")
    results = run.read_json("results.json")
    grid = results["grid"] | {"n_failed": 2, "seconds_beyond_training": 75.2}
    grid["optimistic"] |= {"folds": grid["optimistic"]["folds"][:2]}
    change(run, grid=grid, pooled=results["pooled"] | {"absent_classes": ["x<y"], "chance_ua": None}, notes=[])
    config = run.read_bytes("config.yaml").decode().replace("test_modalities: same", "test_modalities: audio")
    run.write_bytes("config.yaml", config.encode())
    predictions = run.read_table("predictions.parquet")
    right = predictions.set_column(predictions.schema.get_field_index("prediction"), "prediction", predictions["label"])
    run.write_table("predictions.parquet", right)
    said = words(report(run))
    assert "one takes 1:15 beyond its training" in said and "2 trials failed and were excluded" in said
    assert "3 Session3 alpha=0.01 beta=0.001 4 70.0 72.0 – – –" in said
    assert "which have no test utterances: x<y." in said
    assert re.search(r" UA [\d.]+ 95 % interval [\d.]+ to [\d.]+ 0 100 ", said)
    assert "Validation and test had no transcripts." in said
    assert "No prediction was wrong." in said and "There are no notes." in said


@pytest.mark.parametrize("modalities", ["audio", "text"])
def test_a_run_over_one_modality_names_only_its_encoder(tmp_path: Path, modalities: str) -> None:
    run = write_run(tmp_path, "ablation")
    config = re.sub(r"\b(audio|text): light", r"\1: the-\1-encoder", run.read_bytes("config.yaml").decode())
    run.write_bytes("config.yaml", config.encode())
    change(run, modalities=modalities, protocol="optimistic")
    said = words(report(run))
    assert f"{modalities} only; run" in said and "Protocol: optimistic." in said
    assert f"Model the-{modalities}-encoder, 808,516 parameters" in said


def test_the_page_and_the_tables_call_the_corpus_by_its_title(tmp_path: Path) -> None:
    run = write_run(tmp_path, corpus="table")
    change(run, corpus=run.read_json("results.json")["corpus"] | {"title": "Our <calls>"})
    page = report(run)
    assert "<title>Cross-validation: Our &lt;calls&gt;" in page
    assert "corpus “Our <calls>”" in words(page) and "Our <calls>: " in words(page)
    assert "Our" in run.read_bytes("table.md").decode() and "Our <calls>" in run.read_bytes("table.tex").decode()


def test_parts_with_few_utterances_of_a_class_are_listed_by_fold(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    assert "Parts with few utterances" not in report(run)
    folds = run.read_json("results.json")["folds"]
    folds[1]["scarce"] = {"validation": {"hap": 0, "sad": 4}}
    change(run, folds=folds)
    assert "2\u00a0Session2 validation hap 0, sad 4".replace("\u00a0", " ") in words(report(run))
