"""Little finished runs of each kind, as the jobs leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile

from raysys.cli import parse, to_yaml
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest, Utterance
from raysys.orchestrate.task import features_table, predictions_table, write_plan
from raysys.report.results import pool_predictions, summarise
from raysys.storage import Folder

CLASSES = ("ang", "hap", "neu", "sad")
EVIL = "<script>alert('x')</script> & so on"


def write_run(place: Path, kind: str = "crossval", *, features: bool = True) -> Folder:
    """3 sessions of 2 speakers, 48 utterances of IEMOCAP's names; every fourth prediction of class 'ang' is wrong."""
    run, manifest = Folder.at(str(place)), _manifest(place)
    folds = _folds(manifest)
    write_plan(run, manifest, folds)
    run.write_bytes(
        "config.yaml", to_yaml(parse(["--corpus.name", "iemocap", "--corpus.root", "/data"]).config).encode()
    )
    tables, results = [], []
    for fold in folds:
        trial = run / f"folds/{fold.index + 1}"
        table, probability_NC = _predictions(manifest, fold)
        tables.append(table)
        _write_trial(trial, list(fold.test), probability_NC, features=features)
        results.append(
            {
                "fold": fold.index + 1,
                "name": fold.name,
                "n_train": 16,
                "n_validation": 16,
                "n": 16,
                "epoch": 2,
                "wa": 0.9,
                "ua": 0.9,
                "trial": f"folds/{fold.index + 1}",
                "point": "alpha=1 beta=0.1",
            }
        )
    predictions = pool_predictions(manifest, tables)
    summary = summarise(
        manifest, results, predictions, kind=kind, protocol="nested", modalities="both", seed=0, parameters=808_516,
        notes=["a note"], seconds=61.0, tsne={"with": "folds/1", "without": "folds/1"}, **_more(kind),
    )  # fmt: skip
    run.write_table("predictions.parquet", predictions)
    run.write_json("results.json", summary)
    return run


def _manifest(place: Path) -> Manifest:
    place.mkdir(parents=True, exist_ok=True)
    tone_S = 0.2 * np.sin(np.arange(16_000) / 20)
    soundfile.write(place / "tone.wav", tone_S, 16_000)
    utterances = []
    for session in (1, 2, 3):
        for number in range(16):
            sex, kind = "FM"[number % 2], ("impro01", "script01")[number // 8]
            text = f"only session {session} says {number}" if kind == "impro01" else f"the script's line {number}"
            utterances.append(
                Utterance(
                    utterance_id=f"Ses0{session}F_{kind}_{sex}{number:03}",
                    audio_path=str(place / "tone.wav"),
                    speaker=f"Ses0{session}_{sex}",
                    session=f"Session{session}",
                    emotion=CLASSES[(number // 2) % 4],
                    transcript=EVIL if (session, number) == (1, 0) else text,
                    duration_s=11.0 if (session, number) == (1, 0) else 1.0,
                    digest=f"{session}-{number}",
                )
            )
    return Manifest(corpus="iemocap", classes=CLASSES, utterances=tuple(utterances))


def _folds(manifest: Manifest) -> tuple[Fold, ...]:
    own = [tuple(u.utterance_id for u in manifest.utterances if u.session == f"Session{s}") for s in (1, 2, 3)]
    return tuple(
        Fold(index=i, name=f"Session{i + 1}", train=own[(i + 2) % 3], validation=own[(i + 1) % 3], test=own[i])
        for i in range(3)
    )


def _predictions(manifest: Manifest, fold: Fold) -> tuple[pa.Table, np.ndarray]:
    labels = manifest.labels()
    rows = np.full((len(fold.test), 4), 0.1, dtype=np.float32)
    for i, name in enumerate(fold.test):
        rows[i, 3 if name.endswith("000") else labels[name]] = 0.7
    return predictions_table(manifest, fold.index, list(fold.test), rows), rows


def _write_trial(trial: Folder, names: list[str], probability_NC: np.ndarray, *, features: bool) -> None:
    lines = [
        {
            "epoch": epoch, "losses": {"total": 3.0 - epoch, "ce": 1.3, "scl": 1.0, "acl": 0.5, "cpc": 0.0},
            "validation_wa": 0.5, "validation_ua": 0.5 + 0.1 * epoch, "validation_loss": 1.0, "seconds": 2.0,
        }
        for epoch in range(3)
    ]  # fmt: skip
    trial.write_bytes("history.jsonl", ("\n".join(map(json.dumps, lines)) + "\n").encode())
    if features:
        noise_NF = np.random.default_rng(0).normal(0, 0.05, (len(names), 4)).astype(np.float32)
        trial.write_table("features.parquet", features_table(tuple(names), probability_NC + noise_NF))


def _more(kind: str) -> dict[str, Any]:
    values = ("1", "0.1")
    points = [
        {
            "name": f"alpha={a} beta={b}", "values": {"loss.alpha": a, "loss.beta": b}, "validation_ua": 0.7 - i / 100,
            "validation_ua_folds": [0.7, 0.7, 0.7], "epochs": [2, 2, 2], "test_ua": 0.8, "test_wa": 0.8,
            "stopped": False,
        }
        for i, (a, b) in enumerate((a, b) for a in values for b in values)
    ]  # fmt: skip
    points[3] |= {"validation_ua": None, "test_ua": None, "test_wa": None, "stopped": True}
    grid = {
        "axes": {"loss.alpha": list(values), "loss.beta": list(values)}, "points": points,
        "nested": {"1": "alpha=1 beta=0.1", "2": "alpha=1 beta=0.1", "3": "alpha=1 beta=1"},
        "optimistic": {
            "point": "alpha=1 beta=1", "wa": 0.95, "ua": 0.95, "folds": [], "pooled_wa": 0.951, "pooled_ua": 0.952,
            "confusion": [[1]],
        },
        "final": {"point": "alpha=1 beta=1", "epochs": 2, "folder": "model"}, "n_trials": 12, "n_failed": 0,
        "n_stopped": 1, "seconds_beyond_training": 0.6, "epochs_saved": 7,
    }  # fmt: skip
    difference = {"ua": -0.05, "ua_ci95": [-0.08, -0.02], "wa": -0.05, "wa_ci95": [-0.08, -0.02]}
    names = ("full", "no CPC, no ECL", "no augmentation", "no CCB1", "no CCB2", "audio only", "text & <b>only</b>")
    variants = [
        {
            "name": name, "flags": [], "parameters": 800_000, "ua": [0.75, 0.77], "wa": [0.74, 0.78], "ua_mean": 0.76,
            "ua_std": 0.014, "wa_mean": 0.76, "wa_std": 0.02, "confusion": [[1]], "trial": "folds/1",
            "difference": None if name == "full" else difference,
        }
        for name in names
    ]  # fmt: skip
    ablation = {"seeds": [0, 1], "variants": variants, "n_trials": 42, "seconds_beyond_training": None}
    match kind:
        case "gridsearch":
            return {"grid": grid}
        case "ablation":
            return {"ablation": ablation}
        case _:
            return {}
