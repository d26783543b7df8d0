"""Several corpora in one training, listed in a YAML file."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import yaml

from raysys.config import CorpusConfig
from raysys.corpora.read import look, read_manifest
from raysys.data.folds import make_folds
from raysys.errors import ConfigError, CorpusError
from raysys.report.parts import split_scores

OWN = {"calls": ("joy", "grief"), "acted": ("happy", "sad"), "films": ("Freude", "Trauer")}
CORPORA = {
    name: {"name": "table", "as": name, "root": f"{name}.csv", "labels": {joy: "happy", grief: "sad"}}
    for name, (joy, grief) in OWN.items()
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three tables whose files, ids, speakers and sessions have the same names: four speakers, an utterance a class."""
    for name, emotions in OWN.items():
        rows = [f"{name}{s}{e}.wav,spk{s},{e},s1,u{s}{e}" for s in range(4) for e in emotions]
        for row in rows:
            soundfile.write(tmp_path / row.split(",")[0], np.zeros(1600), 16_000)
        (tmp_path / f"{name}.csv").write_text("\n".join(["audio_path,speaker,emotion,session,utterance_id", *rows]))
    return tmp_path


def config(folder: Path, entries: object, **values: object) -> CorpusConfig:
    (folder / "all.yaml").write_text(yaml.safe_dump({"corpora": entries}, allow_unicode=True))
    return CorpusConfig(name="multi", root=str(folder / "all.yaml"), **values)


def refused(folder: Path, entries: object) -> str:
    with pytest.raises(CorpusError) as error:
        look(config(folder, entries))
    return str(error.value)


def changed(**values: object) -> list[dict[str, object]]:
    first, *others = CORPORA.values()
    return [{key: value for key, value in {**first, **values}.items() if value != "absent"}, *others]


def test_what_has_one_name_in_two_corpora_stays_apart_and_classes_are_common(folder: Path) -> None:
    manifest = read_manifest(config(folder, [*CORPORA.values()]), cache=folder)
    assert manifest.title == "all" and manifest.classes == ("happy", "sad")
    assert len(manifest.utterances) == 24 and len(manifest.speakers) == 12
    first = manifest.utterances[0]
    assert first.utterance_id == "acted/u0happy" and first.audio_path == str(folder / "acted0happy.wav")
    assert (first.speaker, first.session, first.emotion) == ("acted/spk0", "acted/s1", "happy")
    german = next(u for u in manifest.utterances if u.utterance_id == "films/u2Trauer")
    assert (german.speaker, german.emotion) == ("films/spk2", "sad")


def test_a_label_without_a_common_class_is_left_out(folder: Path) -> None:
    manifest = read_manifest(config(folder, changed(labels={"joy": "happy", "grief": None})), cache=folder)
    assert Counter(u.fold for u in manifest.utterances) == {"calls": 4, "acted": 8, "films": 8}


def test_each_fold_tests_speakers_of_every_corpus(folder: Path) -> None:
    given = config(folder, [*CORPORA.values()], n_folds=4)
    for fold in make_folds(read_manifest(given, cache=folder), given):
        assert Counter(name.split("/")[0] for name in fold.test) == {"calls": 2, "acted": 2, "films": 2}


def test_one_corpus_is_left_out_at_a_time(folder: Path) -> None:
    given = config(folder, [*CORPORA.values()], folds="corpus")
    folds = make_folds(read_manifest(given, cache=folder), given)
    assert [fold.name for fold in folds] == ["acted", "calls", "films"]
    for fold in folds:
        assert {name.split("/")[0] for name in fold.test} == {fold.name}
        assert not any(name.startswith(fold.name) for name in (*fold.train, *fold.validation))


def test_a_corpus_cannot_be_left_out_of_one() -> None:
    with pytest.raises(ConfigError, match=r"--corpus\.name multi"):
        CorpusConfig(name="table", root="a.csv", folds="corpus")


def test_each_corpus_is_scored_apart(folder: Path) -> None:
    manifest = read_manifest(config(folder, [*CORPORA.values()]), cache=folder)
    labels = [u.emotion for u in manifest.utterances]
    # All of 'acted' and half of 'films' are right.
    guesses = [u.emotion if u.fold == "acted" else "happy" if u.fold == "films" else "" for u in manifest.utterances]
    wrong = {"happy": "sad", "sad": "happy"}
    predictions = pa.table(
        {
            "utterance_id": [u.utterance_id for u in manifest.utterances],
            "speaker": [u.speaker for u in manifest.utterances],
            "fold": [1 for _ in labels],
            "label": labels,
            "prediction": [guess or wrong[label] for guess, label in zip(guesses, labels, strict=True)],
        }
    )
    scores = split_scores(manifest, predictions)
    assert [(part.name, part.n, part.wa) for part in scores] == [
        ("acted", 8, 1.0),
        ("calls", 8, 0.0),
        ("films", 8, 0.5),
    ]


def test_a_class_that_the_labels_leave_out_is_named(folder: Path) -> None:
    said = refused(folder, changed(labels={"joy": "happy"}))
    assert f"{folder / 'all.yaml'}, corpus 1: labels leave out 'grief' (4 utterances) of calls." in said


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (changed(**{"as": "films"}), "2 corpora are called 'films'. Tell them apart with 'as: NAME'"),
        (changed(label={}), "corpus 1: unknown key 'label', expected"),
        (
            changed(labels={"joy": "happy", "grief": "sad", "fury": "angry"}),
            "no utterance of calls has the label 'fury'",
        ),
        (changed(labels={"joy": "happy", False: "sad"}), "labels hold False: 'sad', expected text"),
        (changed(labels=["joy"]), "labels ['joy'], expected 'label: class'"),
        (changed(labels="absent"), "corpus 1: 'labels' is missing"),
        (changed(name="iemocup"), "name 'iemocup', expected one of iemocap, ravdess"),
        (changed(name="multi"), "name 'multi', expected one of"),
        (changed(name="emobox"), "--corpus.audio-root is for --corpus.name emobox, and needed there"),
        (changed(root="nowhere.csv"), "nowhere.csv: no such file"),
        (changed(**{"as": "a/b"}), "as 'a/b', expected a name on one line"),
        ([*CORPORA.values()][:1], "a list of two corpora or more"),
        (["calls", "films"], "corpus 1: expected 'name', 'root', 'labels'"),
    ],
)
def test_a_list_that_is_not_one_is_refused_with_the_reason(folder: Path, entries: object, said: str) -> None:
    assert re.search(re.escape(said), refused(folder, entries))


@pytest.mark.parametrize("text", ["corpora: [", "- a\n- b\n", "corpora:\nfolds: 5\n", "\udcff"])
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "all.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CorpusError, match=r"all\.yaml"):
        look(CorpusConfig(name="multi", root=str(tmp_path / "all.yaml")))
