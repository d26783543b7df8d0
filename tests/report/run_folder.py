"""Small finished runs of all three kinds, as sweeps write them, with made-up predictions."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile

from raysys.data.fold_file import unpacked
from raysys.data.manifest import Manifest, Utterance
from raysys.presets import demo
from raysys.report.parts import dialog_scores
from raysys.report.results import summarise
from raysys.results import AblationResult, FoldRow, GridResult, RunResult
from raysys.storage import Folder
from raysys.yaml_file import to_yaml
from tests.report.made_up import typed

CLASSES = ("ang", "hap", "neu", "sad")
MARKUP = 'so <b>glad</b> & "well" </p><script>alert(1)</script>'
VARIANTS = (
    "full",
    "no CPC, no ECL",
    "cross-entropy on both views",
    "no augmentation",
    "no CCB1",
    "no CCB2",
    "audio only",
    "$mine$ <i> of a long name",
)
SEEDS = [0, 1, 2]
_AXES = {"loss.alpha": ["1", "0.1", "0.01", "0.001"], "loss.beta": ["1", "0.1", "0.01", "0.001"]}
_PER_SPEAKER = 12


def write_run(
    root: Path,
    kind: str = "crossval",
    *,
    corpus: str = "demo",
    classes: tuple[str, ...] = CLASSES,
    with_features: bool = True,
    seed: int = 0,
) -> Folder:
    """Three sessions of two speakers, each tested once; every transcript is the same markup."""
    rng = np.random.default_rng(seed)
    run = Folder.at(str(root / f"{kind}-{corpus}"))
    manifest = _manifest(root, corpus, classes)
    folds = _folds(manifest)
    tables = [_predictions(manifest, fold, rng) for fold in folds]
    predictions = pa.concat_tables(tables).sort_by("utterance_id")
    trials = [f"folds/{i + 1}" if kind == "crossval" else f"trials/{i:016x}" for i in range(len(folds))]
    results = summarise(
        manifest,
        [typed(FoldRow, _fold_result(fold, trial, kind)) for fold, trial in zip(folds, trials, strict=True)],
        predictions,
        kind=kind,
        by_dialog=dialog_scores(manifest, [unpacked(folds, manifest, k) for k in range(len(folds))], predictions),
        protocol="nested",
        modalities="both",
        seed=0,
        parameters=808_516,
        notes=("the audio encoder <hears> one utterance at a time",),
        seconds=3725.4,
        tsne={"with": trials[0], "without": trials[1] if kind == "ablation" else None},
    )
    if kind == "gridsearch":
        results = dataclasses.replace(results, grid=typed(GridResult, _grid(results, rng)))
        # The final model's fold has no test part.
        everything = [u.utterance_id for u in manifest.utterances]
        folds.append({"index": 3, "name": "all", "train": everything, "validation": [], "test": []})
    if kind == "ablation":
        results = dataclasses.replace(results, ablation=typed(AblationResult, _ablation(results, rng)))
    for index, trial in enumerate(trials):
        (run / trial).write_bytes("history.jsonl", _history(rng))
        if with_features:
            (run / trial).write_table("features.parquet", _features(manifest, folds[index]["test"], rng))
    run.write_table("manifest.parquet", manifest.to_table())
    run.write_json("folds.json", folds)
    run.write_table("predictions.parquet", predictions)
    results.write(run)
    run.write_bytes("config.yaml", to_yaml(demo()).encode())
    return run


def _manifest(root: Path, corpus: str, classes: tuple[str, ...]) -> Manifest:
    sound = root / "tone.wav"
    soundfile.write(sound, 0.1 * np.sin(np.arange(8000) / 9), 16_000)
    utterances = [
        Utterance(
            utterance_id=f"Ses0{session}F_{('impro01', 'script01_1')[turn % 2]}_{sex}{turn:03d}",
            audio_path=str(sound),
            speaker=f"Ses0{session}_{sex}",
            emotion=classes[turn % len(classes)],
            transcript=MARKUP,
            session=f"Session{session}",
            duration_s=0.5,
        )
        for session, sex, turn in itertools.product((1, 2, 3), "FM", range(_PER_SPEAKER))
    ]
    return Manifest(corpus=corpus, classes=classes, utterances=tuple(sorted(utterances, key=lambda u: u.utterance_id)))


def _folds(manifest: Manifest) -> list[dict[str, Any]]:
    by_session = {
        number: [u.utterance_id for u in manifest.utterances if u.session == f"Session{number}"] for number in (1, 2, 3)
    }
    return [
        {
            "index": number - 1,
            "name": f"Session{number}",
            "train": by_session[(number + 1) % 3 + 1],
            "validation": by_session[number % 3 + 1],
            "test": by_session[number],
        }
        for number in (1, 2, 3)
    ]


def _predictions(manifest: Manifest, fold: dict[str, Any], rng: np.random.Generator) -> pa.Table:
    labels = manifest.labels()
    by_id = {u.utterance_id: u for u in manifest.utterances}
    label_N = np.array([labels[name] for name in fold["test"]])
    logits_NC = rng.normal(size=(len(label_N), len(manifest.classes)))
    logits_NC[np.arange(len(label_N)), label_N] += 1.3
    probability_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True)
    columns: dict[str, Any] = {
        "utterance_id": fold["test"],
        "speaker": [by_id[name].speaker for name in fold["test"]],
        "fold": pa.array([fold["index"] + 1] * len(label_N), pa.int64()),
        "label": [by_id[name].emotion for name in fold["test"]],
        "prediction": [manifest.classes[i] for i in probability_NC.argmax(axis=1)],
    }
    return pa.table(columns | {f"p_{c}": probability_NC[:, i].astype("f4") for i, c in enumerate(manifest.classes)})


def _fold_result(fold: dict[str, Any], trial: str, kind: str) -> dict[str, Any]:
    sizes = {"n_train": len(fold["train"]), "n_validation": len(fold["validation"]), "n": len(fold["test"])}
    scores = {"epoch": 4, "wa": 0.6 + 0.05 * fold["index"], "ua": 0.62 + 0.05 * fold["index"]}
    chosen = "alpha=0.01 beta=0.001" if fold["index"] == 2 else "alpha=0.1 beta=1"
    point = {"point": chosen} if kind == "gridsearch" else {}
    return {"fold": fold["index"] + 1, "name": fold["name"], "trial": trial, **sizes, **scores, **point}


def _history(rng: np.random.Generator) -> bytes:
    lines = [
        {
            "epoch": epoch,
            "losses": {name: float(3 / (1 + epoch) + rng.random()) for name in ("total", "ce", "scl", "acl", "cpc")},
            "validation_wa": 0.5,
            "validation_ua": float(0.3 + 0.06 * epoch + 0.1 * rng.random()),
            "validation_loss": 1.0,
            "seconds": 2.0,
            "gradients": {"ce": 2.0 + epoch, "scl": 10.0 - epoch, "acl": 0.5, "cpc": 1.25},
        }
        for epoch in range(6)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def _features(manifest: Manifest, ids: list[str], rng: np.random.Generator) -> pa.Table:
    labels = manifest.labels()
    values = rng.normal(size=(len(ids), 16)) + 2 * np.eye(16)[[labels[name] for name in ids]]
    return pa.table({"utterance_id": ids, "features": pa.array(list(values.astype("f4")), pa.list_(pa.float32()))})


def _grid(results: RunResult, rng: np.random.Generator) -> dict[str, Any]:
    points: list[dict[str, Any]] = []
    for alpha, beta in itertools.product(*_AXES.values()):
        ua = None if (alpha, beta) == ("1", "1") else float(0.55 + 0.2 * rng.random())
        points.append(
            {
                "name": f"alpha={alpha} beta={beta}",
                "values": {"loss.alpha": alpha, "loss.beta": beta},
                "validation_ua": ua,
                "validation_ua_folds": [] if ua is None else [ua] * 3,
                "epochs": [] if ua is None else [3, 4, 5],
                "test_ua": None if ua is None else ua + 0.01,
                "test_wa": None if ua is None else ua + 0.02,
                "stopped": ua is None,
            }
        )
    return {
        "axes": _AXES,
        "points": points,
        "nested": {"1": "alpha=0.1 beta=1", "2": "alpha=0.1 beta=1", "3": "alpha=0.01 beta=0.001"},
        "optimistic": {
            "point": "alpha=1 beta=0.1",
            "wa": 0.71,
            "ua": 0.72,
            "folds": [{"fold": f, "epoch": 5, "wa": 0.71, "ua": 0.72} for f in (1, 2, 3)],
            "pooled_wa": 0.713,
            "pooled_ua": 0.724,
            "confusion": results.confusion,
        },
        "final": {"point": "alpha=0.1 beta=1", "epochs": 4, "folder": "model"},
        "n_trials": 48,
        "seconds_beyond_training": 1.25,
        "epochs_saved": 3,
    }


def _ablation(results: RunResult, rng: np.random.Generator) -> dict[str, Any]:
    variants = []
    for index, name in enumerate(VARIANTS):
        ua, wa = (list(0.7 - 0.03 * index + 0.02 * rng.random(3)) for _ in range(2))
        variants.append(
            {
                "name": name,
                "flags": ["--loss.alpha", "0"] if index else [],
                "parameters": 800_000 + index,
                "ua": ua,
                "wa": wa,
                "ua_mean": float(np.mean(ua)),
                "ua_std": float(np.std(ua, ddof=1)),
                "wa_mean": float(np.mean(wa)),
                "wa_std": float(np.std(wa, ddof=1)),
                "confusion": results.confusion,
                "difference": {"ua": -0.034, "ua_ci95": [-0.051, 0.012], "wa": -0.02, "wa_ci95": [-0.04, -0.01]}
                if index
                else None,
                "trial": f"trials/{index:016x}",
            }
        )
    return {"seeds": SEEDS, "variants": variants, "n_trials": 63, "seconds_beyond_training": 0.8}
