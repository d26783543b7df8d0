"""EmoBox's metadata: labels, speakers, stretches of files, folds, and where the audio is."""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from pathlib import Path

import pytest

from raysys.config import CorpusConfig
from raysys.corpora.emobox import read_emobox
from raysys.corpora.read import look, read_corpus, read_manifest
from raysys.data.folds import make_folds, published_partition
from raysys.data.manifest import UNKNOWN, Manifest
from raysys.errors import ConfigError, CorpusError, ManifestError
from tests.corpora.emobox_folder import line, write_audio, write_corpus, write_fold, write_lines, write_metadata

SPEAKERS = ("male_03", "female_08", "male_10")


def config(root: Path, audio: Path, folds: str = "auto") -> CorpusConfig:
    return CorpusConfig(name="emobox", root=str(root), audio_root=str(audio), folds=folds)  # type: ignore[arg-type]


def read(root: Path, audio: Path, folds: str = "auto") -> Manifest:
    return read_manifest(config(root, audio, folds), cache=root)


def test_a_corpus_is_read_with_its_classes_speakers_and_audio(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, SPEAKERS)
    manifest = read_corpus(config(root, tmp_path / "audio"), cache=tmp_path)
    # In the map's order, without 'Sad', which does not occur; 'neutral' is the map's 'Neutral'.
    assert manifest.classes == ("Angry", "Neutral") and manifest.title == "emodb"
    assert manifest.speakers == tuple(sorted(SPEAKERS)) and len(manifest.utterances) == 12
    first = manifest.utterances[0]
    assert (first.utterance_id, first.speaker, first.emotion) == ("female_080", "female_08", "Angry")
    assert first.audio_path == str(tmp_path / "audio" / "wav" / "female_080.wav")
    assert first.duration_s == pytest.approx(0.3)
    assert CorpusConfig(name="emobox", root="x", audio_root="y").resolved_modalities == "audio"


def test_folds_keep_speakers_apart_unless_emoboxs_own_are_asked_for(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, SPEAKERS)
    manifest = read(root, tmp_path / "audio")
    assert [fold.name for fold in make_folds(manifest, config(root, root))] == sorted(SPEAKERS)
    own = config(root, tmp_path / "audio", "emobox")
    folds = make_folds(manifest, own)
    assert [fold.name for fold in folds] == ["emobox-1", "emobox-2", "emobox-3", "emobox-4"]
    assert set(folds[0].test) == {"male_030", "female_080", "male_100"}
    assert folds[0].validation == folds[1].test
    partition = published_partition(manifest, own, folds)
    assert partition is not None
    assert partition.described == "EmoBox's folds, whose parts share 3 of 3 speakers (3 of 3 tested ones)"


def test_emoboxs_folds_that_keep_speakers_apart_are_the_default(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, SPEAKERS)
    rows = [json.loads(text) for text in (root / "emodb.jsonl").read_text().splitlines()]
    for path in root.glob("fold_*/*"):
        path.unlink()
    (root / "fold_4").rmdir()
    for k, speaker in enumerate(SPEAKERS, start=1):
        own = [row for row in rows if speaker in row["key"]]
        write_fold(root, k, {"train": [row for row in rows if row not in own], "test": own})
    manifest = read(root, tmp_path / "audio")
    folds = make_folds(manifest, config(root, root))
    assert [fold.name for fold in folds] == ["emobox-1", "emobox-2", "emobox-3"]
    assert folds == make_folds(manifest, config(root, root, "emobox"))


def _single_fold(tmp_path: Path, *, valid: bool) -> Path:
    """One speaker, ten utterances of each class; every fifth is tested, every other fifth validated on if asked for."""
    root = tmp_path / "data" / "pavoque"
    rows = [line("pavoque", f"u{i:02d}", ("angry", "sad")[i % 2]) for i in range(20)]
    write_metadata(root, rows, {row["key"]: "STEFAN-RÖTTIG" for row in rows})
    parts = {"test": rows[:4], "valid": rows[4:8], "train": rows[8:]}
    write_fold(root, 1, parts if valid else {"test": rows[:4], "train": rows[4:]})
    write_audio(tmp_path / "audio", rows)
    return root


def test_a_single_fold_is_taken_as_it_is(tmp_path: Path) -> None:
    root = _single_fold(tmp_path, valid=True)
    own = config(root, tmp_path / "audio", "emobox")
    manifest = read_manifest(own, cache=root)
    (fold,) = make_folds(manifest, own)
    assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [12, 4, 4]
    assert [u.utterance_id for u in manifest.tested] == ["u00", "u01", "u02", "u03"]
    with pytest.raises(ManifestError, match=r"gives 1 group\(s\), STEFAN-RÖTTIG; .*published partition .*or emobox"):
        look(config(root, tmp_path / "audio"))


def test_where_there_is_no_validation_part_a_fifth_of_each_class_is_drawn_and_told(tmp_path: Path) -> None:
    root = _single_fold(tmp_path, valid=False)
    manifest = read(root, tmp_path / "audio", "emobox")
    drawn = [u for u in manifest.utterances if u.split == "validation"]
    # Eight of each class are left to train on: a fifth is two.
    assert sorted(u.emotion for u in drawn) == ["Angry", "Angry", "Sad", "Sad"]
    assert "4 of its 16 training utterances, a fifth of each class, are drawn for it" in manifest.notes[0]
    assert read(root, tmp_path / "audio", "emobox") == manifest


def test_the_other_lists_of_a_fold_are_not_read(tmp_path: Path) -> None:
    """EMO-DB has each list twice; the one of the earlier format has other names of fields."""
    root = write_corpus(tmp_path, SPEAKERS)
    before = read(root, tmp_path / "audio")
    write_lines(root / "fold_1" / "emodb_test_fold1.jsonl", [{"key": "emodb-male_031", "audio": "x", "label": "anger"}])
    assert read(root, tmp_path / "audio") == before


def test_the_second_name_of_the_map_of_labels(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, SPEAKERS)
    (root / "label_map.json").rename(root / "label_dict.json")
    assert read(root, tmp_path / "audio").classes == ("Angry", "Neutral")


def test_a_stretch_of_a_file_is_in_seconds(tmp_path: Path) -> None:
    root = tmp_path / "pavoque"
    rows = [
        line("pavoque", f"n{i}", ("angry", "sad")[i], wav="downloads/pavoque/all.flac", start_time=i / 10, end_time=0.2)
        for i in range(2)
    ]
    write_metadata(root, rows, {})
    write_audio(tmp_path / "audio", rows)
    utterances, _ = read_emobox(root, tmp_path / "audio", own_folds=False, note=print)
    assert [(u.start_s, u.end_s) for u in utterances] == [(0.0, 0.2), (0.1, 0.2)]
    assert {u.audio_path for u in utterances} == {str(tmp_path / "audio" / "all.flac")}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_blanks_parentheses_and_accents_in_paths(tmp_path: Path, form: str) -> None:
    """An archive that was made on a Mac has its names decomposed."""
    root = tmp_path / "cafe"
    wav = "downloads/cafe/Joie/Faible (fort)/01-é-1.wav"
    rows = [line("cafe", f"0{i}-J", ("angry", "sad")[i], wav=unicodedata.normalize("NFC", wav)) for i in range(2)]
    write_metadata(root, rows, {})
    stored = unicodedata.normalize(form, wav)
    write_audio(tmp_path / "audio", [{"wav": stored}])
    utterances, _ = read_emobox(root, tmp_path / "audio", own_folds=False, note=print)
    assert utterances[0].audio_path == str(tmp_path / "audio" / stored.removeprefix("downloads/cafe/"))


@pytest.mark.parametrize(
    ("corpus", "name", "stated", "speaker"),
    [
        ("ravdess", "03-01-05-01-02-01-18", "18", "18"),
        # Who wore the markers is not who speaks.
        ("iemocap", "Ses01F_impro01_M003", "Ses01F", "Ses01M"),
        ("iemocap", "Ses01F_impro01_F000", "Ses01F", "Ses01F"),
        ("iemocap", "Ses05M_script01_1b_F012", "Ses05M", "Ses05F"),
        # The name of the file says nothing of who speaks.
        ("mer2023", "sample_00001157.mp4", "sample_00001157.mp4", UNKNOWN),
        ("msppodcast", "MSP-PODCAST_0001_0008", "Unknown", UNKNOWN),
        ("meld", "dia0_utt1-train", "The-Interviewer", "The-Interviewer"),
        ("x", "a,b=1", "Zoë, of X", "Zoë, of X"),
    ],
)
def test_who_speaks(tmp_path: Path, corpus: str, name: str, stated: str, speaker: str) -> None:
    root = tmp_path / corpus
    row = line(corpus, name, "angry")
    write_metadata(root, [row], {row["key"]: stated})
    write_audio(tmp_path / "audio", [row])
    ((utterance,), _) = read_emobox(root, tmp_path / "audio", own_folds=False, note=print)
    assert (utterance.utterance_id, utterance.speaker) == (name, speaker)


def test_without_speakers_only_emoboxs_own_folds_can_be_used(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, SPEAKERS)
    (root / "data.seg.wrd.stm").unlink()
    with pytest.raises(ManifestError, match=r"speakers of 12 of 12 utterances are unknown.*given, or emobox"):
        look(config(root, tmp_path / "audio"))
    own = config(root, tmp_path / "audio", "emobox")
    look(own)
    manifest = read_manifest(own, cache=root)
    partition = published_partition(manifest, own, make_folds(manifest, own))
    assert partition is not None and partition.described == "EmoBox's folds, whose speakers are unknown"


def test_a_label_without_a_class_is_named_with_its_number(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, SPEAKERS)
    (root / "label_map.json").write_text(json.dumps({"Neutral": "Neutral"}))
    with pytest.raises(CorpusError, match=r"label_map\.json: no class for the label 'angry' of 6 utterances, such as"):
        read(root, tmp_path / "audio")


def test_missing_audio_is_counted_with_the_first_five(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, SPEAKERS)
    with pytest.raises(CorpusError, match=r"(?s)none of the 12 audio files.*--corpus\.audio-root") as error:
        read(root, tmp_path / "elsewhere")
    assert str(error.value).count(".wav") == 5
    for path in sorted((tmp_path / "audio" / "wav").iterdir())[:7]:
        path.unlink()
    with pytest.raises(ManifestError, match=r"7 of 12 utterances cannot be used") as partly:
        read_corpus(config(root, tmp_path / "audio"), cache=tmp_path)
    assert str(partly.value).count("does not exist") == 5 and "and 2 more" in str(partly.value)


def test_a_fold_that_is_missing_is_an_error(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, SPEAKERS)
    (root / "fold_2" / "emodb_test_fold_2.jsonl").rename(tmp_path / "moved")
    with pytest.raises(CorpusError, match=r"emodb_test_fold_2\.jsonl: is missing"):
        read(root, tmp_path / "audio")
    for path in (root / "fold_2").iterdir():
        path.unlink()
    (root / "fold_2").rmdir()
    with pytest.raises(CorpusError, match=r"3 folds do not hold each utterance .*3 differ, such as 'emodb-female_081'"):
        read(root, tmp_path / "audio")
    for path in root.glob("fold_*"):
        path.rename(tmp_path / path.name)
    with pytest.raises(CorpusError, match=r"no fold_1 folder with EmoBox's folds"):
        read(root, tmp_path / "audio", "emobox")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", r"emodb\.jsonl, line 1: not JSON"),
        ('{"key": "emodb-a", "wav": "a.wav"}', r"line 1: no text under 'emo'"),
        ("[1]", r"line 1: no text under 'key'"),
        ('{"key": "a", "wav": "a", "emo": "angry", "start_time": "1"}', r"line 1: 'start_time' is no number"),
    ],
)
def test_a_line_that_is_not_emoboxs_is_named(tmp_path: Path, text: str, found: str) -> None:
    root = write_corpus(tmp_path, SPEAKERS)
    (root / "emodb.jsonl").write_text(text)
    with pytest.raises(CorpusError, match=found):
        read(root, tmp_path / "audio")


def test_a_folder_that_is_not_of_a_corpus(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, SPEAKERS)
    with pytest.raises(CorpusError, match=r"there is no data\.jsonl. Set --corpus\.root to a corpus's folder"):
        read(root.parent, tmp_path / "audio")


def test_the_audio_has_a_place_of_its_own() -> None:
    for values in ({"name": "emobox", "root": "x"}, {"name": "table", "root": "x.csv", "audio_root": "y"}):
        with pytest.raises(ConfigError, match=r"--corpus\.audio-root is for --corpus\.name emobox, and needed there"):
            CorpusConfig(**values)  # type: ignore[arg-type]


@pytest.fixture
def ravdess(shared_data: Path, tmp_path: Path) -> CorpusConfig:
    """RAVDESS's metadata, and audio in the folders that it names."""
    root = shared_data / "emobox" / "ravdess"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    for actor in sorted((shared_data / "ravdess").glob("Actor_*")):
        folder = tmp_path / "audio" / "Audio_Speech_Actors_01-24" / actor.name
        folder.mkdir(parents=True)
        for path in actor.iterdir():
            (folder / f"{path.stem}.wav").symlink_to(path)
    return CorpusConfig(name="emobox", root=str(root), audio_root=str(tmp_path))


def test_ravdess_has_the_folds_of_its_own_reader(ravdess: CorpusConfig, shared_data: Path, tmp_path: Path) -> None:
    known = read_manifest(CorpusConfig(name="ravdess", root=str(shared_data / "ravdess")), cache=tmp_path)
    found = read_manifest(ravdess, cache=tmp_path)
    assert make_folds(found, ravdess) == make_folds(known, CorpusConfig(name="ravdess", root="x"))
    # Ids, parts and class indices are all that a trial learns of a manifest beside the audio.
    order = ("Neutral", "Calm", "Happy", "Sad", "Angry", "Fear", "Disgust", "Surprise")
    assert read_manifest(dataclasses.replace(ravdess, classes=order), cache=tmp_path).labels() == known.labels()
    names = {u.utterance_id: (u.emotion[:4].lower(), int(u.speaker[-2:]), u.fold) for u in known.utterances}
    assert {u.utterance_id: (u.emotion[:4].lower(), int(u.speaker[-2:]), u.fold) for u in found.utterances} == names


@pytest.mark.parametrize(
    ("corpus", "n", "speakers", "heard"),
    [
        ("cremad", 7442, 91, 91),
        ("emodb", 535, 10, 10),
        ("emovo", 588, 6, 0),
        ("pavoque", 7334, 1, 1),
        ("savee", 480, 4, 0),
    ],
)
def test_emoboxs_own_folds_share_what_was_counted(
    shared_data: Path, tmp_path: Path, corpus: str, n: int, speakers: int, heard: int
) -> None:
    root = shared_data / "emobox" / corpus
    if not root.is_dir():
        pytest.skip(f"no {root}")
    first = json.loads((root / f"{corpus}.jsonl").open().readline())["wav"].split("/", 2)[2]
    (tmp_path / first).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / first).touch()
    own = config(root, tmp_path, "emobox")
    manifest = read_manifest(own, cache=tmp_path)
    partition = published_partition(manifest, own, make_folds(manifest, own))
    assert partition is not None
    assert (len(manifest.utterances), partition.speakers, partition.heard) == (n, speakers, heard)
