import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from raysys.config import CorpusConfig
from raysys.corpora.ravdess import EMOBOX_FOLDS
from raysys.data.folds import Fold, check_folds, make_folds
from raysys.data.manifest import Manifest, Utterance
from raysys.errors import ConfigError, ManifestError

CLASSES = ("ang", "neu")


def manifest_of(speakers: Mapping[str, Mapping[str, Any]], corpus: str = "table", per_class: int = 2) -> Manifest:
    """Utterances of every class for each speaker; the values are session, sex and fold."""
    utterances = [
        Utterance(
            utterance_id=f"{speaker}-{emotion}-{i}",
            audio_path="/data/a.wav",
            speaker=speaker,
            emotion=emotion,
            **fields,
        )
        for speaker, fields in speakers.items()
        for emotion in CLASSES
        for i in range(per_class)
    ]
    ordered = tuple(sorted(utterances, key=lambda u: u.utterance_id))
    return Manifest(corpus=corpus, classes=CLASSES, utterances=ordered)


def table(folds: str = "auto", n_folds: int = 5) -> CorpusConfig:
    return CorpusConfig(name="table", root="x.csv", folds=folds, n_folds=n_folds)  # type: ignore[arg-type]


def speakers_of(manifest: Manifest, utterance_ids: tuple[str, ...]) -> set[str]:
    wanted = set(utterance_ids)
    return {u.speaker for u in manifest.utterances if u.utterance_id in wanted}


@pytest.fixture
def iemocap() -> Manifest:
    return manifest_of(
        {f"Ses{n:02d}_{sex}": {"session": f"Session{n}", "sex": sex} for n in range(1, 6) for sex in "FM"},
        corpus="iemocap",
    )


@pytest.fixture
def ravdess() -> Manifest:
    fold_of = {a: f"emobox-{i}" for i, group in enumerate(EMOBOX_FOLDS, 1) for a in group}
    return manifest_of(
        {f"Actor_{a:02d}": {"sex": "M" if a % 2 else "F", "fold": fold_of[a]} for a in range(1, 25)}, corpus="ravdess"
    )


def test_iemocap_leaves_one_session_out_and_validates_on_the_next(iemocap: Manifest) -> None:
    folds = make_folds(iemocap, CorpusConfig(name="iemocap", root="x"))
    assert [f.name for f in folds] == [f"Session{n}" for n in range(1, 6)]
    assert [f.index for f in folds] == [0, 1, 2, 3, 4]
    last = folds[4]
    assert speakers_of(iemocap, last.test) == {"Ses05_F", "Ses05_M"}
    assert speakers_of(iemocap, last.validation) == {"Ses01_F", "Ses01_M"}
    assert len(speakers_of(iemocap, last.train)) == 6


def test_every_utterance_is_tested_once_and_is_in_one_part_of_each_fold(iemocap: Manifest) -> None:
    folds = make_folds(iemocap, CorpusConfig(name="iemocap", root="x", folds="speaker"))
    everything = Counter(u.utterance_id for u in iemocap.utterances)
    assert len(folds) == 10
    assert Counter(name for f in folds for name in f.test) == everything
    for fold in folds:
        assert Counter((*fold.train, *fold.validation, *fold.test)) == everything
        parts = [speakers_of(iemocap, p) for p in (fold.train, fold.validation, fold.test)]
        assert sum(len(p) for p in parts) == len(set.union(*parts)) == 10


def test_parts_are_in_the_manifests_order(iemocap: Manifest) -> None:
    folds = make_folds(iemocap, CorpusConfig(name="iemocap", root="x"))
    for fold in folds:
        for part in (fold.train, fold.validation, fold.test):
            assert list(part) == sorted(part)


def test_ravdess_takes_emobox_folds(ravdess: Manifest) -> None:
    folds = make_folds(ravdess, CorpusConfig(name="ravdess", root="x"))
    tested = [speakers_of(ravdess, f.test) for f in folds]
    assert tested == [{f"Actor_{a:02d}" for a in group} for group in EMOBOX_FOLDS]


def test_five_groups_of_ravdess_actors_are_balanced_by_sex(ravdess: Manifest) -> None:
    folds = make_folds(ravdess, CorpusConfig(name="ravdess", root="x", folds="groups"))
    actors = [sorted(int(s[-2:]) for s in speakers_of(ravdess, f.test)) for f in folds]
    assert [len(group) for group in actors] == [5, 5, 5, 5, 4]
    # Women 2, 4, ... 24 are dealt to groups 1 2 3 4 5 1 ...; the men continue at group 3.
    assert actors[0] == [2, 7, 12, 17, 22]
    assert all(2 <= sum(a % 2 for a in group) <= 3 for group in actors)
    assert all(2 <= sum(a % 2 == 0 for a in group) <= 3 for group in actors)


def test_auto_uses_a_tables_fold_column_then_sessions_then_speakers() -> None:
    names = [f"S{i}" for i in range(1, 5)]
    everything = {n: {"fold": f"part{n}", "session": f"day{n}"} for n in names}
    assert make_folds(manifest_of(everything), table())[0].name == "partS1"
    sessions = {n: {"session": f"day{n}"} for n in names}
    assert make_folds(manifest_of(sessions), table())[0].name == "dayS1"
    assert make_folds(manifest_of({n: {} for n in names}), table())[0].name == "S1"


@pytest.mark.parametrize(("n_speakers", "n_folds"), [(10, 10), (11, 5)])
def test_auto_puts_more_than_ten_speakers_into_groups(n_speakers: int, n_folds: int) -> None:
    manifest = manifest_of({f"S{i}": {} for i in range(n_speakers)})
    assert len(make_folds(manifest, table())) == n_folds


@pytest.mark.parametrize(
    ("n_speakers", "folds", "n_folds", "found"),
    [
        (10, "groups", 20, r"--corpus\.n-folds is 20, but there are 10 speakers.*Set it to 10 at most"),
        (10, "auto", 20, r"n-folds 20 is for groups of speakers.*auto means speaker.*Add --corpus\.folds groups"),
    ],
)
def test_more_groups_than_speakers_are_refused(n_speakers: int, folds: str, n_folds: int, found: str) -> None:
    with pytest.raises(ManifestError, match=found):
        make_folds(manifest_of({f"S{i}": {} for i in range(n_speakers)}), table(folds, n_folds))


@pytest.mark.parametrize("name", ["demo", "iemocap"])
def test_a_number_of_groups_that_nothing_uses_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"n-folds 20 is for groups of speakers; add --corpus\.folds groups"):
        CorpusConfig(name=name, root="x", n_folds=20)  # type: ignore[arg-type]


def test_folds_are_in_numeric_order() -> None:
    manifest = manifest_of({f"S{i}": {"fold": str(i)} for i in (10, 9, 1, 2)})
    assert [f.name for f in make_folds(manifest, table())] == ["1", "2", "9", "10"]


@pytest.mark.parametrize(
    ("folds", "n_folds", "found", "remedy"),
    [
        ("session", 5, "session gives 2 group(s), day0, day1", "--corpus.folds speaker"),
        ("column", 5, "column gives 2 group(s), 0, 1", "--corpus.folds groups"),
        ("groups", 2, "groups gives 2 group(s), group-1, group-2", "--corpus.n-folds to 3"),
    ],
)
def test_fewer_than_three_groups_say_how_many_and_how_to_get_more(
    folds: str, n_folds: int, found: str, remedy: str
) -> None:
    manifest = manifest_of({f"S{i}": {"session": f"day{i % 2}", "fold": str(i % 2)} for i in range(6)})
    with pytest.raises(ManifestError, match="at least 3 are needed") as error:
        make_folds(manifest, table(folds, n_folds))
    assert f"table: --corpus.folds {found}" in str(error.value) and remedy in str(error.value)


def test_names_of_any_number_of_digits_are_ordered() -> None:
    names = ["S0", "S1", "S007", "S\u0668", "S10", f"S{'0' * 5000}11", "S12a", f"S1{'0' * 5000}"]
    folds = make_folds(manifest_of({name: {} for name in reversed(names)}), table("speaker"))
    assert [fold.name for fold in folds] == names


def test_two_speakers_are_too_few() -> None:
    with pytest.raises(ManifestError, match=r"speaker gives 2 group\(s\), S1, S2.*Add speakers"):
        make_folds(manifest_of({"S1": {}, "S2": {}}), table())


def test_a_speaker_in_two_sessions_is_refused_by_name(iemocap: Manifest) -> None:
    traveller = dataclasses.replace(iemocap.utterances[0], utterance_id="Ses01F_visit_F000", session="Session3")
    manifest = dataclasses.replace(iemocap, utterances=(*iemocap.utterances, traveller))
    with pytest.raises(ManifestError, match=r"'Ses01_F' is in both the train and the test") as e:
        make_folds(manifest, CorpusConfig(name="iemocap", root="x"))
    assert "fold 'Session1'" in str(e.value) and "--corpus.folds speaker" in str(e.value)


@pytest.mark.parametrize(("folds", "column"), [("session", "session"), ("column", "fold")])
def test_an_utterance_without_its_group_is_refused(folds: str, column: str) -> None:
    speakers: dict[str, dict[str, str | None]] = {f"S{i}": {column: str(i)} for i in range(4)}
    speakers["S3"] = {column: None}
    with pytest.raises(ManifestError, match=r"4 of 16 have none, such as 'S3-ang-0'.*Fill") as error:
        make_folds(manifest_of(speakers), table(folds))
    assert f"column {column!r}" in str(error.value)


def test_a_class_without_training_utterances_in_a_fold_is_refused() -> None:
    manifest = manifest_of({f"S{i}": {} for i in range(3)})
    rare = tuple(u for u in manifest.utterances if u.emotion == "neu" or u.speaker == "S0")
    with pytest.raises(ManifestError, match=r"fold 'S0' has no training .* class 'ang'.*Drop"):
        make_folds(dataclasses.replace(manifest, utterances=rare), table())


def test_a_class_that_is_not_tested_everywhere_is_allowed() -> None:
    manifest = manifest_of({f"S{i}": {} for i in range(4)})
    kept = tuple(u for u in manifest.utterances if u.emotion == "neu" or u.speaker != "S0")
    assert len(make_folds(dataclasses.replace(manifest, utterances=kept), table())) == 4


def test_a_speaker_of_two_sexes_is_refused() -> None:
    manifest = manifest_of({f"S{i}": {"sex": "F"} for i in range(4)})
    changed = dataclasses.replace(manifest.utterances[0], sex="M")
    manifest = dataclasses.replace(manifest, utterances=(changed, *manifest.utterances[1:]))
    with pytest.raises(ManifestError, match=r"speaker 'S0' is F in some .* Fix column 'sex'"):
        make_folds(manifest, table("groups", 3))


@pytest.mark.parametrize("times", [0, 2])
def test_folds_that_do_not_test_everything_once_are_refused(times: int) -> None:
    manifest = manifest_of({f"S{i}": {} for i in range(4)})
    folds: list[Fold] = list(make_folds(manifest, table()))
    first = folds[0].test[0]
    test = folds[0].test[1:] if times == 0 else (*folds[0].test, first)
    folds[0] = dataclasses.replace(folds[0], test=test)
    with pytest.raises(ManifestError, match=rf"such as '{first}' \({times} times\).*--corpus\.folds"):
        check_folds(manifest, folds)
