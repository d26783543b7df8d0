from pathlib import Path

import pytest

from raysys.corpora.esd import read_esd
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import build_manifest
from raysys.errors import CorpusError
from tests.corpora.published import tone, touch, write


def make(root: Path) -> Path:
    """One speaker of each encoding, without folders of parts."""
    for speaker in ("0001", "0003", "0011", "0016"):
        touch(root, f"{speaker}/Angry/{speaker}_000351.wav", f"{speaker}/Surprise/{speaker}_001401.wav")
    chinese = "{0}_000351\t打远一看，它们的确很是美丽，\t生气\n"
    write(root / "0001" / "0001.txt", chinese.format("0001"), "gbk")
    write(root / "0003" / "0003.txt", chinese.format("0003"), "utf-16")
    write(root / "0011" / "0011.txt", "0011_000351\tThe nine the eggs, I keep.\tAngry\n", "utf-8-sig")
    english = "0016_000351\tA “quoted” word.\tAngry\r\n0016_001401 Be it ever so far. Surprise\r\n"
    write(root / "0016" / "0016.txt", english, "cp1252")
    return root


def test_words_are_read_in_every_encoding(tmp_path: Path) -> None:
    utterances = {u.utterance_id: u for u in read_esd(make(tmp_path), given=False, note=[].append)}
    assert {name: u.transcript for name, u in utterances.items()} == {
        "0001_000351": "打远一看，它们的确很是美丽，",
        "0001_001401": None,
        "0003_000351": "打远一看，它们的确很是美丽，",
        "0003_001401": None,
        "0011_000351": "The nine the eggs, I keep.",
        "0011_001401": None,
        "0016_000351": "A “quoted” word.",
        "0016_001401": "Be it ever so far.",
    }
    angry = utterances["0011_000351"]
    assert (angry.speaker, angry.sex, angry.emotion, angry.split) == ("0011", "M", "angry", None)
    assert utterances["0016_001401"].emotion == "surprised"
    assert utterances["0016_001401"].sex == "F"


def test_folders_of_parts_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    names = {"train": "0011_000371", "evaluation": "0011_000351", "test": "0011_000400"}
    touch(tmp_path, *(f"0011/Angry/{part}/{name}.wav" for part, name in names.items()))
    notes: list[str] = []
    given = {u.utterance_id: u.split for u in read_esd(tmp_path, given=True, note=notes.append)}
    assert given == {"0011_000371": "train", "0011_000351": "validation", "0011_000400": "test"}
    assert {u.split for u in read_esd(tmp_path, given=False, note=notes.append)} == {None}
    assert "0011.txt: is missing; the utterances of this speaker have no transcripts" in notes[0]


def test_parts_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"0001_000351\.wav: is in no folder train.*--corpus\.folds given"):
        read_esd(make(tmp_path), given=True, note=[].append)


def test_its_audio_is_found(tmp_path: Path) -> None:
    for emotion, name in (("Angry", "0011_000351"), ("Sad", "0011_001051")):
        tone(tmp_path / "0011" / emotion / f"{name}.wav")
    manifest = build_manifest("esd", str(tmp_path), read_esd(tmp_path, given=False, note=[].append))
    assert len(inspect_audio(manifest, max_duration_s=10.0, on_error="fail").utterances) == 2


@pytest.mark.parametrize(
    "name",
    ["Angry/0012_000351.wav", "Anger/0011_000351.wav", "Angry/dev/0011_000351.wav", "0011_000351.wav", "Sad/a/b/c.wav"],
)
def test_a_file_in_the_wrong_place_is_an_error(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"0011/{name}")
    with pytest.raises(CorpusError, match=r"expected 0011/<emotion>/0011_<six digits>\.wav") as error:
        read_esd(tmp_path, given=False, note=[].append)
    assert str(tmp_path / "0011" / name) in str(error.value)


@pytest.mark.parametrize(("root", "found"), [("nowhere", "no such folder"), (".", "contains no speaker's folder")])
def test_a_wrong_root_says_what_was_expected(tmp_path: Path, root: str, found: str) -> None:
    with pytest.raises(CorpusError, match=rf"{found}.*0001 \.\.\. 0020.*--corpus\.root"):
        read_esd(tmp_path / root, given=False)
