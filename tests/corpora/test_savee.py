from pathlib import Path

import pytest

from raysys.corpora.savee import read_savee
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import build_manifest
from raysys.errors import CorpusError
from tests.corpora.published import tone, touch

EMOTIONS = {
    "a01": "angry",
    "d02": "disgust",
    "f03": "fearful",
    "h04": "happy",
    "n30": "neutral",
    "sa05": "sad",
    "su06": "surprised",
}


@pytest.mark.parametrize("form", ["ALL/DC_{}.wav", "AudioData/DC/{}.wav"])
def test_both_layouts_are_read(tmp_path: Path, form: str) -> None:
    touch(tmp_path, *(form.format(name) for name in EMOTIONS), "AudioData/Info.txt")
    utterances = read_savee(tmp_path)
    assert {u.utterance_id: u.emotion for u in utterances} == {f"DC_{name}": e for name, e in EMOTIONS.items()}
    assert {(u.speaker, u.sex, u.transcript) for u in utterances} == {("DC", "M", None)}


def test_its_audio_is_found(tmp_path: Path) -> None:
    for name in ("DC/a01", "JE/sa02"):
        tone(tmp_path / f"{name}.wav")
    manifest = build_manifest("savee", str(tmp_path), read_savee(tmp_path))
    assert len(inspect_audio(manifest, max_duration_s=10.0, on_error="fail").utterances) == 2


@pytest.mark.parametrize("name", ["DC/s01.wav", "XX/a01.wav", "XX_a01.wav", "a01.wav", "DC/a1.wav"])
def test_a_name_that_does_not_parse_is_an_error(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    with pytest.raises(CorpusError, match=r"expected a speaker.*DC_a01\.wav") as error:
        read_savee(tmp_path)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize(("root", "found"), [("nowhere", "no such folder"), (".", "contains no audio")])
def test_a_wrong_root_says_what_was_expected(tmp_path: Path, root: str, found: str) -> None:
    with pytest.raises(CorpusError, match=rf"{found}.*DC_a01.*--corpus\.root"):
        read_savee(tmp_path / root)
