from pathlib import Path

import pytest

from raysys.corpora.tess import read_tess
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import build_manifest
from raysys.errors import CorpusError
from tests.corpora.published import tone, touch

NAME = "TESS Toronto emotional speech set data"
FILES = (
    "OAF_angry/OAF_back_angry.wav",
    "OAF_neutral/OA_bite_neutral.wav",
    "OAF_Pleasant_surprise/OAF_back_ps.wav",
    "YAF_fear/YAF_thought_fear.wav",
)


def test_file_names_are_decoded(tmp_path: Path) -> None:
    notes: list[str] = []
    utterances = {u.utterance_id: u for u in read_tess(touch(tmp_path, *FILES), note=notes.append)}
    assert {name: u.emotion for name, u in utterances.items()} == {
        "OAF_back_angry": "angry",
        "OAF_bite_neutral": "neutral",
        "OAF_back_ps": "surprised",
        "YAF_thought_fear": "fearful",
    }
    assert utterances["OAF_bite_neutral"].speaker == "OAF"
    assert utterances["YAF_thought_fear"].transcript == "Say the word thought."
    assert not notes


def test_what_the_archive_holds_twice_is_read_once(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{NAME}/{name}" for name in FILES), *(f"{NAME}/{NAME}/{name}" for name in FILES))
    notes: list[str] = []
    utterances = read_tess(tmp_path, note=notes.append)
    assert len(utterances) == 4
    assert not any(f"{NAME}/{NAME}" in u.audio_path for u in utterances)
    assert notes == ["4 files that are there a second time, under the same name in another folder, are left out"]


def test_its_audio_is_found(tmp_path: Path) -> None:
    for name in FILES[:2]:
        tone(tmp_path / name)
    manifest = build_manifest("tess", str(tmp_path), read_tess(tmp_path))
    assert len(inspect_audio(manifest, max_duration_s=10.0, on_error="fail").utterances) == 2


@pytest.mark.parametrize("name", ["OAF_back.wav", "OAF_back_surprise.wav", "XAF_back_sad.wav"])
def test_a_name_that_does_not_parse_is_an_error(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"OAF_Sad/{name}")
    with pytest.raises(CorpusError, match=r"does not parse.*OAF_back_angry") as error:
        read_tess(tmp_path)
    assert str(tmp_path / "OAF_Sad" / name) in str(error.value)


@pytest.mark.parametrize(("root", "found"), [("nowhere", "no such folder"), (".", "contains no audio")])
def test_a_wrong_root_says_what_was_expected(tmp_path: Path, root: str, found: str) -> None:
    with pytest.raises(CorpusError, match=rf"{found}.*OAF_back_angry.*--corpus\.root"):
        read_tess(tmp_path / root)
