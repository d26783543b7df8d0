"""A model card shows names literally."""

from __future__ import annotations

import re

import pytest
from huggingface_hub import ModelCard, ModelCardData

from raysys.config import Select
from raysys.report.card import model_card
from tests.report.made_up import grid, run_result

PLAIN = ["anger", "happy or excited"]


def card(classes: list[str], point: str = "alpha=1", modalities: str = "both", select: Select = "ua") -> str:
    found = grid(
        axes={"loss.alpha": ["1", "0.1"]},
        points=[{"name": point, "validation_ua": 0.5, "validation_score": 1.25 if select == "loss" else None}],
        final={"point": point, "epochs": 3, "folder": "model"},
    )
    return model_card(run_result(classes=classes, modalities=modalities, grid=found, select=select))


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "[click](http://x)", "![](http://x)", "*loud*", "no_speech_", "a`b`", "a\\", "a&lt;"],
)
def test_a_class_is_neither_markup_nor_a_link(name: str) -> None:
    said = card([name, "joy"])
    assert re.sub(r"\\(.)", r"\1", said).count(f"{name}, joy") == 2
    for line in said.splitlines():
        if ", joy" in line:
            shown = re.sub(r"\\[^a-z\s]", "", line)
            assert not re.search(r"[<>\[\]*_`&!\\]", shown), shown


def test_a_cross_validations_final_model_is_told_with_its_procedures_score_and_interval() -> None:
    folds = [{"fold": k, "name": f"S{k}"} for k in (1, 2, 3)]
    final = {"point": "", "epochs": 7, "folder": "model"}
    pooled = {"wa": 0.7, "ua": 0.65, "ua_ci95": [0.601, 0.702], "wa_ci95": [0.65, 0.75], "n": 42}
    said = " ".join(model_card(run_result(folds=folds, final=final, pooled=pooled)).split())
    assert (
        "Trained for 7 epochs, the median over 3 folds of the epoch with the best UA on the fold's validation" in said
    )
    assert "**This model has no test score**" in said
    assert "by nested cross-validation in 3 folds, where each fold selected its own epoch on" in said
    assert "pooled UA 65.0 (95 % interval 60.1 to 70.2), WA 70.0 (95 % interval 65.0 to 75.0), over 42 test" in said


def read_by_the_hub(said: str) -> ModelCardData:
    return ModelCard(said).data


def test_the_hub_reads_scores_with_protocol_and_interval() -> None:
    pooled = {"wa": 0.7, "ua": 0.65432, "ua_ci95": [0.601, 0.702], "wa_ci95": [0.65, 0.75], "macro_f1": 0.6, "n": 42}
    corpus = {"name": "ravdess", "title": "RAVDESS"}
    folds = [{"fold": k, "name": f"S{k}"} for k in (1, 2, 3)]
    final = {"point": "", "epochs": 7, "folder": "model"}
    results = run_result(folds=folds, final=final, pooled=pooled, corpus=corpus, select="loss")
    data = read_by_the_hub(model_card(results))
    assert (data.library_name, data.pipeline_tag, data.datasets) == ("raysys", "audio-classification", ["ravdess"])
    assert data.language == "en" and data.license is None
    ua, wa, f1 = data.eval_results or []
    assert (ua.metric_value, wa.metric_value, f1.metric_value) == (0.6543, 0.7, 0.6)
    assert (ua.metric_type, wa.metric_type, f1.metric_type) == ("recall", "accuracy", "f1")
    assert (ua.dataset_name, ua.dataset_type, ua.task_type) == ("RAVDESS", "ravdess", "audio-classification")
    protocol = "nested cross-validation in 3 folds, by validation loss"
    assert ua.metric_name == (
        f"UA (mean class recall), {protocol}, of the procedure and not of this model; 95 % interval 60.1 to 70.2"
    )
    assert ua.metric_args == {"protocol": protocol, "utterances": 42, "interval_95": [0.601, 0.702]}
    assert f1.metric_args == {"protocol": protocol, "utterances": 42}


def test_what_is_not_known_of_a_table_is_left_out() -> None:
    data = read_by_the_hub(card(PLAIN))
    assert data.language is None and data.license is None
    assert read_by_the_hub(card(PLAIN, modalities="text")).pipeline_tag == "text-classification"


@pytest.mark.parametrize("title", ["怒り", "a: [b]\n---\nlicense: mit", 'My calls\' "best" #1', "{x}"])
def test_a_title_cannot_change_what_the_hub_reads(title: str) -> None:
    final = {"point": "", "epochs": 7, "folder": "model"}
    data = read_by_the_hub(model_card(run_result(final=final, corpus={"title": title})))
    assert data.license is None and data.library_name == "raysys"
    (first, *_) = data.eval_results or []
    assert first.dataset_name == " ".join(title.split())
    assert re.fullmatch("[a-z0-9][a-z0-9-]*", first.dataset_type)


def test_limits_name_each_class_with_its_recall_where_it_has_one() -> None:
    by_class = [
        {"name": "a*b", "n": 9, "speakers": 3, "precision": 0.5, "recall": 0.25, "recall_ci95": [0.1, 0.4], "f1": 0.3},
        {"name": "c", "n": 0, "speakers": 0, "precision": None, "recall": None, "recall_ci95": None, "f1": None},
    ]
    final = {"point": "", "epochs": 7, "folder": "model"}
    said = model_card(run_result(final=final, by_class=by_class, pooled={"calibration_error": 0.123}))
    assert "\n- a\\*b: 25.0 (95 % interval 10.0 to 40.0), 9 utterances\n\nNo licence" in said
    assert "\n- c" not in said
    assert "they were off by 12.3 points on average" in said
    assert "## Intended use\n" in said and "## Limits\n" in said


def test_a_line_break_in_a_name_begins_no_heading() -> None:
    assert "\n# free" not in card(["a\n# free", "joy"])


def test_an_ordinary_name_is_as_it_is() -> None:
    assert f" as {', '.join(PLAIN)}." in card(PLAIN)


def test_the_score_that_selected_is_told() -> None:
    assert "the one with the best mean UA over the folds' validation speakers (50.0)" in card(PLAIN)
    assert "the one with the best mean loss over the folds' validation speakers (1.250)" in card(PLAIN, select="loss")


@pytest.mark.parametrize(
    ("modalities", "call"),
    [
        ("both", 'model.probabilities(waveforms, ["so glad to see you"])  # None if there is no transcript\n```'),
        ("audio", "model.probabilities(waveforms)\n```"),
        ("text", 'model.probabilities(transcripts=["so glad to see you"])\n```'),
    ],
)
def test_the_example_calls_the_model_with_what_it_takes(modalities: str, call: str) -> None:
    assert f"mono\n{call}" in card(PLAIN, modalities=modalities)
