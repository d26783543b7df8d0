"""Comparison of two runs: which is better, by how much, and refusal where they are not comparable."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysys.data.manifest import Manifest, Utterance
from raysys.errors import ConfigError, StorageError
from raysys.report.compare import compare, comparison_table
from raysys.report.results import summarise
from raysys.results import FoldRow
from raysys.storage import Folder

CLASSES = ("joy", "fear", "rage")
SPEAKERS = ("ana", "bo", "cy", "di")
# Two folds of two speakers, four utterances each: j and f are joy and fear.
LABELS = {f"{speaker}-{i}": "jjff"[i] for speaker in SPEAKERS for i in range(4)}
A = dict(zip(LABELS, "jjffjfffjjffjfjf", strict=True))
B = dict(zip(LABELS, "jjffjjffjjffjrff", strict=True))
NAME = {name[0]: name for name in CLASSES}


def manifest_of(labels: Mapping[str, str]) -> Manifest:
    utterances = [
        Utterance(utterance_id=name, audio_path=f"/{name}.wav", speaker=name.split("-")[0], emotion=NAME[label])
        for name, label in sorted(labels.items())
    ]
    return Manifest(corpus="table", classes=CLASSES, utterances=tuple(utterances))


def write_run(
    location: str,
    predictions: Mapping[str, str],
    *,
    manifest: Manifest | None = None,
    fold_of: Mapping[str, int] | None = None,
) -> Folder:
    """A finished run's folder, with the files a comparison reads.

    Args:
        predictions: first letter of the class, by utterance id.
        fold_of: fold by speaker; two folds of two speakers unless given.
    """
    manifest = manifest or manifest_of(LABELS)
    folds = fold_of or {"ana": 1, "bo": 1, "cy": 2, "di": 2}
    # Every run has its own row order: predictions must be matched by id.
    rows = random.Random(location.rsplit("/", 1)[-1]).sample(manifest.utterances, len(manifest.utterances))
    table = pa.table(
        {
            "utterance_id": [u.utterance_id for u in rows],
            "speaker": [u.speaker for u in rows],
            "fold": [folds[u.speaker] for u in rows],
            "label": [u.emotion for u in rows],
            "prediction": [NAME[predictions[u.utterance_id]] for u in rows],
            **{f"p_{name}": np.full(len(manifest.utterances), 1 / len(CLASSES)) for name in manifest.classes},
        }
    )
    sizes = {"n_train": 8, "n_validation": 0, "n": 8, "epoch": 1, "wa": 0.5, "ua": 0.5}
    rows_of_folds = [FoldRow(fold=k, name=f"Session{k}", **sizes) for k in sorted(set(folds.values()))]  # type: ignore[arg-type]
    run = Folder.at(location)
    run.write_table("predictions.parquet", table)
    facts: dict[str, Any] = {"protocol": "nested", "modalities": "both", "seed": 0, "parameters": 9}
    summarise(manifest, rows_of_folds, table, **facts, notes=(), seconds=1.0).write(run)
    return run


@pytest.fixture
def a(tmp_path: Path) -> Folder:
    return write_run(str(tmp_path / "a"), A)


@pytest.fixture
def b(tmp_path: Path) -> Folder:
    return write_run(str(tmp_path / "b"), B)


def test_differences_by_hand(a: Folder, b: Folder) -> None:
    """Joy: 6 of 8 in a, 7 in b. Fear: 7 of 8 in a, 8 in b. Bo gains one utterance in fold 1, di one in fold 2."""
    found = compare(a, b)
    assert (found["n"], found["speakers"]) == (16, 4)
    assert (found["a"]["wa"], found["b"]["wa"]) == pytest.approx((13 / 16, 15 / 16))
    assert found["difference"]["wa"] == pytest.approx(2 / 16)
    assert found["difference"]["ua"] == pytest.approx((7 / 8 + 1) / 2 - (6 / 8 + 7 / 8) / 2)
    # Within a fold, the speakers' contributions are 1/16 apart, which adds 2 x 2 x (1/32)^2; t of two degrees.
    half = 4.30265 * (8 / 32**2) ** 0.5
    assert found["difference"]["wa_ci95"] == pytest.approx([2 / 16 - half, 2 / 16 + half], rel=1e-5)
    assert found["difference"]["wa_excludes_0"] is False
    joy, fear, rage = found["recalls"]
    assert joy == {"class": "joy", "n": 8, "a": 6 / 8, "b": 7 / 8, "difference": 1 / 8}
    assert fear == {"class": "fear", "n": 8, "a": 7 / 8, "b": 1.0, "difference": 1 / 8}
    assert rage == {"class": "rage", "n": 0, "a": None, "b": None, "difference": None}
    first, second = found["folds"]
    assert (first["name"], first["n"]) == ("Session1", 8)
    assert (first["a"], first["b"]) == pytest.approx(((3 / 4 + 1) / 2, 1.0))
    assert (second["a"], second["b"]) == pytest.approx(((3 / 4 + 3 / 4) / 2, (3 / 4 + 1) / 2))
    assert second["difference"] == pytest.approx(1 / 8)
    assert found["folds_differ"] is False
    json.dumps(found, allow_nan=False)


def test_a_gain_of_every_speaker_excludes_0_in_either_direction(tmp_path: Path, a: Folder) -> None:
    none_right = write_run(str(tmp_path / "none"), dict.fromkeys(LABELS, "r"))
    up, down = compare(none_right, a), compare(a, none_right)
    assert up["difference"]["wa_excludes_0"] is True and down["difference"]["wa_excludes_0"] is True
    assert up["difference"]["wa"] == pytest.approx(-down["difference"]["wa"]) == pytest.approx(13 / 16)
    assert up["difference"]["wa_ci95"][0] > 0 > down["difference"]["wa_ci95"][1]


def test_a_run_does_not_differ_from_itself(a: Folder) -> None:
    found = compare(a, a)
    for metric in ("wa", "ua"):
        assert found["difference"][metric] == 0
        assert found["difference"][f"{metric}_ci95"] == [0, 0]
        assert found["difference"][f"{metric}_excludes_0"] is False
    assert all(row["difference"] in (0, None) for row in found["recalls"] + found["folds"])


def test_the_table_shows_the_numbers_in_per_cent(a: Folder, b: Folder) -> None:
    table = comparison_table(compare(a, b))
    lines = {line.split()[0]: " ".join(line.split()) for line in table.splitlines() if line}
    assert f"a {a.location} (crossval, modalities: both, seed 0)" == lines["a"]
    assert lines["WA"] == "WA 16 81.2 93.8 +12.5 -25.5 to +50.5, includes 0: may be chance"
    assert lines["joy"] == "joy 8 75.0 87.5 +12.5"
    assert lines["rage"] == "rage 0 - - -"
    assert lines["Session1"] == "Session1 8 87.5 100.0 +12.5"
    assert "4 speakers" in table and "different folds" not in table
    # All differences line up in one column, whatever the heading.
    ends = {line.index(word) + len(word) for word in ("b - a", "+12.5") for line in table.splitlines() if word in line}
    assert len(ends) == 1


def test_where_the_folds_differ_those_of_the_first_run_serve_both(tmp_path: Path, a: Folder) -> None:
    other = write_run(str(tmp_path / "other"), B, fold_of={"ana": 1, "bo": 2, "cy": 1, "di": 2})
    found = compare(a, other)
    assert found["folds_differ"] is True
    assert "different folds: those of a" in comparison_table(found)
    same = compare(a, write_run(str(tmp_path / "same"), B))
    assert found["folds"] == same["folds"] and found["difference"] == same["difference"]
    # The other way round, the folds are the other run's: both gains are in its second fold.
    assert [row["difference"] for row in compare(other, a)["folds"]] == pytest.approx([0, -2 / 8])


@pytest.mark.parametrize("absent", ["results.json", "predictions.parquet"])
def test_a_folder_without_a_finished_run_is_named_with_what_it_lacks(a: Folder, b: Folder, absent: str) -> None:
    b.delete(absent)
    with pytest.raises(StorageError, match=rf"{b.location}: there is no {absent} in it"):
        compare(a, b)
    with pytest.raises(StorageError, match=r"no results\.json and no predictions\.parquet"):
        compare(Folder.at(f"{a.location}/nowhere"), a)


@pytest.mark.parametrize(
    ("name", "content"),
    [("results.json", b"{"), ("results.json", b'{"classes": []}'), ("predictions.parquet", b"PAR1")],
)
def test_files_that_are_not_a_runs_are_an_error_naming_the_folder(
    a: Folder, b: Folder, name: str, content: bytes
) -> None:
    b.write_bytes(name, content)
    with pytest.raises(StorageError, match=rf"{b.location}: .* cannot be read"):
        compare(a, b)


def test_runs_over_different_classes_utterances_or_content_are_refused(tmp_path: Path, a: Folder) -> None:
    manifest = manifest_of(LABELS)

    def refused(other: Manifest) -> str:
        run = write_run(str(tmp_path / "other"), A, manifest=other)
        with pytest.raises(ConfigError) as error:
            compare(a, run)
        assert a.location in str(error.value) and run.location in str(error.value)
        return str(error.value)

    said = refused(dataclasses.replace(manifest, corpus="ravdess", title="ravdess"))
    assert "runs over different corpora, table and ravdess" in said
    said = refused(dataclasses.replace(manifest, classes=("fear", "joy", "rage")))
    assert "have different classes: joy, fear, rage, and fear, joy, rage" in said
    said = refused(dataclasses.replace(manifest, utterances=manifest.utterances[1:]))
    assert "1 only in the first, 0 only in the second, such as 'ana-0'" in said
    first = dataclasses.replace(manifest.utterances[0], transcript="Other words.")
    other = dataclasses.replace(manifest, utterances=(first, *manifest.utterances[1:]))
    said = refused(other)
    assert manifest.fingerprint() in said and other.fingerprint() in said


def test_a_run_in_an_object_store_compares_with_one_on_disk(a: Folder) -> None:
    remote = write_run("memory://compare/b", B)
    assert remote.location == "memory://compare/b"
    found = compare(a, remote)
    assert found["b"]["run"] == remote.location
    assert math.isclose(found["difference"]["wa"], 2 / 16)
