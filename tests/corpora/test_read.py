import shutil
from pathlib import Path

import pytest

from raysys.config import CorpusConfig
from raysys.corpora import read
from raysys.corpora.read import read_corpus
from raysys.errors import ConfigError, CorpusError
from tests.corpora.iemocap_folder import CLASSES, write_iemocap


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_iemocap(tmp_path_factory.mktemp("iemocap"))


@pytest.fixture
def table(corpus: Path, tmp_path: Path) -> Path:
    """Two emotions under three names."""
    wavs = sorted((corpus / "Session1").rglob("Ses*.wav"))[:6]
    rows = [f"u{i},{wav},S{i},{('joy', 'fear', 'happiness')[i % 3]}" for i, wav in enumerate(wavs)]
    path = tmp_path / "corpus.csv"
    path.write_text("utterance_id,audio_path,speaker,emotion\n" + "\n".join(rows) + "\n")
    return path


def test_iemocap_comes_with_durations_digests_and_its_order_of_classes(corpus: Path, tmp_path: Path) -> None:
    manifest = read_corpus(CorpusConfig(name="iemocap", root=str(corpus)), cache=tmp_path)
    assert manifest.classes == CLASSES and len(manifest.utterances) == 32
    assert all(u.duration_s and u.digest for u in manifest.utterances)


def test_the_demo_is_generated_in_the_cache(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def ensure(root: Path) -> Path:
        asked.append(root)
        return corpus

    monkeypatch.setattr(read, "ensure_demo", ensure)
    assert read_corpus(CorpusConfig(name="demo"), cache=tmp_path).corpus == "demo"
    assert asked == [tmp_path / "demo"]


def test_ravdess_keeps_its_published_order_of_classes(shared_data: Path, tmp_path: Path) -> None:
    config = CorpusConfig(name="ravdess", root=str(shared_data / "ravdess"), emotion_map=("calm=neutral", "sad="))
    manifest = read_corpus(config, cache=tmp_path)
    assert manifest.classes == ("neutral", "happy", "angry", "fearful", "disgust", "surprised")
    assert len(manifest.utterances) == 1440 - 192


def test_emotions_of_a_table_are_merged_dropped_and_ordered(table: Path, tmp_path: Path) -> None:
    config = CorpusConfig(name="table", root=str(table), emotion_map=("happiness=joy",))
    assert read_corpus(config, cache=tmp_path).classes == ("fear", "joy")

    config = CorpusConfig(name="table", root=str(table), emotion_map=("happiness=",), classes=("joy", "fear"))
    manifest = read_corpus(config, cache=tmp_path)
    assert manifest.classes == ("joy", "fear") and len(manifest.utterances) == 4


def test_emotions_are_mapped_and_ordered_in_any_unicode_form(table: Path, tmp_path: Path) -> None:
    nfc, nfd = "g\u00eane", "ge\u0302ne"
    table.write_text(table.read_text().replace("joy", nfd).replace("happiness", nfc))
    assert nfd in table.read_text() and nfc in table.read_text()
    config = CorpusConfig(name="table", root=str(table), emotion_map=(f"{nfc}=g\u00ea",), classes=("fear", "ge\u0302"))
    manifest = read_corpus(config, cache=tmp_path)
    assert manifest.classes == ("fear", "g\u00ea")
    assert {u.emotion for u in manifest.utterances} == set(manifest.classes)


def test_names_can_be_swapped(table: Path, tmp_path: Path) -> None:
    config = CorpusConfig(name="table", root=str(table), emotion_map=("joy=fear", "fear=joy"))
    emotions = [u.emotion for u in read_corpus(config, cache=tmp_path).utterances]
    assert emotions == ["fear", "joy", "happiness"] * 2


@pytest.mark.parametrize(
    ("emotion_map", "found"),
    [
        (("rage=ang",), "no utterance has the emotion 'rage'; the corpus contains fear, happiness, joy"),
        (("joy=a", "joy=b"), "two new names, 'a' and 'b'. Keep one"),
        (("joy=", "fear=", "happiness="), "drops all 6 utterances. Drop fewer"),
    ],
)
def test_a_wrong_map_is_refused(table: Path, tmp_path: Path, emotion_map: tuple[str, ...], found: str) -> None:
    config = CorpusConfig(name="table", root=str(table), emotion_map=emotion_map)
    with pytest.raises(CorpusError, match=r"--corpus\.emotion-map") as error:
        read_corpus(config, cache=tmp_path)
    assert str(table) in str(error.value) and found in str(error.value)


def test_a_class_that_never_occurs_is_refused(table: Path, tmp_path: Path) -> None:
    config = CorpusConfig(name="table", root=str(table), classes=("fear", "joy", "happiness", "rage"))
    with pytest.raises(
        CorpusError, match=r"emotion rage.*contains fear, happiness, joy.*remove it from --corpus\.classes"
    ) as error:
        read_corpus(config, cache=tmp_path)
    assert str(table) in str(error.value)


def test_classes_select_and_the_corpus_has_the_tables_name(table: Path, tmp_path: Path) -> None:
    config = CorpusConfig(name="table", root=str(table), classes=("joy", "fear"))
    manifest = read_corpus(config, cache=tmp_path)
    assert manifest.classes == ("joy", "fear") and len(manifest.utterances) == 4
    assert "2 utterances" in manifest.notes[0] and "happiness 2" in manifest.notes[0]
    assert manifest.title == "corpus"
    titled = CorpusConfig(name="table", root=str(table), title="My corpus")
    assert read_corpus(titled, cache=tmp_path).title == "My corpus"


def test_spellings_that_the_map_joins_are_one_class(table: Path, tmp_path: Path) -> None:
    table.write_text(table.read_text().replace("happiness", "JOY"))
    with pytest.raises(CorpusError, match=r"'joy' \(line 2 and 1 more\) and 'JOY' \(line 4 and 1 more\)"):
        read_corpus(CorpusConfig(name="table", root=str(table)), cache=tmp_path)
    joined = CorpusConfig(name="table", root=str(table), emotion_map=("JOY=joy",))
    assert read_corpus(joined, cache=tmp_path).classes == ("fear", "joy")
    kept = CorpusConfig(name="table", root=str(table), same_names="keep")
    assert read_corpus(kept, cache=tmp_path).classes == ("JOY", "fear", "joy")


def test_addresses_are_refused_with_a_remedy(tmp_path: Path) -> None:
    config = CorpusConfig(name="iemocap", root="s3://bucket/iemocap")
    with pytest.raises(CorpusError, match=r"s3://bucket/iemocap: .*Copy or mount it.*--corpus\.root"):
        read_corpus(config, cache=tmp_path)


def test_a_corpus_needs_a_root() -> None:
    with pytest.raises(ConfigError, match=r"iemocap needs --corpus\.root: the folder"):
        CorpusConfig(name="iemocap")


@pytest.mark.parametrize("kind", ["folder", "broken link", "link to itself"])
@pytest.mark.parametrize("place", ["EmoEvaluation", "transcriptions"])
def test_an_unreadable_iemocap_text_is_an_error_with_its_name(
    corpus: Path, tmp_path: Path, kind: str, place: str
) -> None:
    root = tmp_path / "IEMOCAP"
    shutil.copytree(corpus, root)
    path = root / "Session1" / "dialog" / place / "Ses01F_impro01.txt"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if "itself" in kind else root / "nowhere")
    with pytest.raises(CorpusError, match=r"Ses01F_impro01\.txt: cannot be read"):
        read_corpus(CorpusConfig(name="iemocap", root=str(root)), cache=tmp_path)
