"""The record of each corpus, and readers as --corpus.name and --corpus.folds choose them."""

from pathlib import Path
from typing import get_args

import pytest

from raysys.config import CORPORA, CorpusConfig
from raysys.config.corpora import CorpusName
from raysys.corpora.read import read_corpus
from raysys.data.folds import make_folds
from raysys.errors import ConfigError, ManifestError
from tests.corpora import test_meld, test_msp_improv, test_msp_podcast
from tests.corpora.published import tone, write


def test_every_name_has_a_record() -> None:
    assert get_args(CorpusName) == tuple(CORPORA)


def tones(root: Path, *names: str) -> str:
    for number, name in enumerate(names):
        tone(root / name, hz=200 + 10 * number, seconds=0.2)
    return str(root)


def test_emodb_leaves_one_speaker_out(tmp_path: Path) -> None:
    speakers = ("03", "08", "09")
    root = tones(tmp_path, *(f"wav/{speaker}a01{letter}a.wav" for speaker in speakers for letter in "WLEAFNT"))
    config = CorpusConfig(name="emodb", root=root)
    manifest = read_corpus(config, cache=tmp_path)
    assert manifest.classes == CORPORA["emodb"].classes
    assert config.resolved_modalities == "audio"
    assert [fold.name for fold in make_folds(manifest, config)] == ["03", "08", "09"]


def test_cremad_has_votes_by_class_and_groups_of_speakers(tmp_path: Path) -> None:
    names = [f"100{n}_DFA_{code}_XX" for n in range(1, 6) for code in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")]
    root = tones(tmp_path, *(f"AudioWAV/{name}.wav" for name in names))
    rows = "".join(f'"{100001 + n}",1,0,0,3,0,0,"{name}",4,0.75,"H"\n' for n, name in enumerate(names))
    write(tmp_path / "processedResults" / "tabulatedVotes.csv", '"","A","D","F","H","N","S","fileName"\n' + _cut(rows))
    config = CorpusConfig(name="cremad", root=root, classes=("happy", "angry"))
    manifest = read_corpus(config, cache=tmp_path)
    assert {u.votes for u in manifest.utterances} == {(0.75, 0.25)}
    assert len(make_folds(manifest, config)) == 5


def _cut(rows: str) -> str:
    """Without the columns after the file's name."""
    return "".join(",".join(row.split(",")[:8]) + "\n" for row in rows.splitlines())


def test_meld_trains_on_its_own_parts(tmp_path: Path) -> None:
    root = test_meld.make(tmp_path, ending=".wav")
    tones(root, *(str(path.relative_to(root)) for path in root.rglob("dia*.wav")))
    config = CorpusConfig(name="meld", root=str(root), classes=("neutral", "surprised"), emotion_map=("sad=neutral",))
    (fold,) = make_folds(read_corpus(config, cache=tmp_path), config)
    assert (fold.name, fold.validation, fold.test) == ("given", ("dev-dia0_utt0",), ("test-dia0_utt0",))
    assert config.published == "given partition"


def test_msp_podcast_of_unknown_speakers_has_no_other_folds(tmp_path: Path) -> None:
    root = str(test_msp_podcast.make(tmp_path))
    config = CorpusConfig(name="msp_podcast", root=root, classes=("neutral", "happy", "surprised"), folds="speaker")
    with pytest.raises(ManifestError, match="speakers of 1 of 3 utterances are unknown"):
        make_folds(read_corpus(config, cache=tmp_path), config)


def test_msp_improv_keeps_attributes_in_its_file(tmp_path: Path) -> None:
    config = CorpusConfig(name="msp_improv", root=str(test_msp_improv.make(tmp_path)), classes=("angry", "happy"))
    manifest = read_corpus(config, cache=tmp_path)
    again = type(manifest).from_table(manifest.to_table())
    assert [u.attributes for u in again.utterances] == [(1.5, 4.5, 4.0), (None, None, None)]
    assert again.fingerprint() == manifest.fingerprint()


def test_two_speakers_are_too_few(tmp_path: Path) -> None:
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    root = tones(tmp_path, *(f"{who}_x/{who}_back_{emotion}.wav" for who in ("OAF", "YAF") for emotion in emotions))
    config = CorpusConfig(name="tess", root=root)
    with pytest.raises(ManifestError, match=r"gives 2 group\(s\), OAF, YAF"):
        make_folds(read_corpus(config, cache=tmp_path), config)


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ({"name": "cremad", "folds": "given"}, "this corpus comes without"),
        ({"name": "meld", "labels": "voted"}, "--corpus.labels voted is for CREMA-D"),
        ({"name": "emodb", "n_folds": 4}, "--corpus.n-folds 4 is for groups of speakers"),
    ],
)
def test_flags_of_another_corpus_are_refused(flags: dict[str, object], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        CorpusConfig(root="/x", **flags)  # type: ignore[arg-type]
