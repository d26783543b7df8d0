from pathlib import Path

import pytest

from raysys.corpora.emodb import CLASSES, read_emodb
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import build_manifest
from raysys.errors import CorpusError
from tests.corpora.published import tone, touch


def test_a_file_name_is_decoded(tmp_path: Path) -> None:
    touch(tmp_path, "wav/03a01Fa.wav", "wav/16b10Lb.wav", "wav/._03a01Fa.wav", "lablaut/03a01Fa.lablaut")
    happy, bored = read_emodb(tmp_path)
    assert (happy.utterance_id, happy.speaker, happy.sex, happy.emotion) == ("03a01Fa", "03", "M", "happy")
    assert happy.transcript == "Der Lappen liegt auf dem Eisschrank."
    assert (bored.speaker, bored.sex, bored.emotion) == ("16", "F", "bored")
    assert read_emodb(tmp_path / "wav") == [happy, bored]


def test_every_letter_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, *(f"wav/08a02{letter}a.wav" for letter in "WLEAFNT"))
    assert {u.utterance_id[5]: u.emotion for u in read_emodb(tmp_path)} == dict(zip("WLEAFNT", CLASSES, strict=True))


def test_its_audio_is_found(tmp_path: Path) -> None:
    for name in ("03a01Fa", "08a02Wc"):
        tone(tmp_path / "wav" / f"{name}.wav")
    manifest = build_manifest("emodb", str(tmp_path), read_emodb(tmp_path))
    assert len(inspect_audio(manifest, max_duration_s=10.0, on_error="fail").utterances) == 2


@pytest.mark.parametrize("name", ["03a01Xa.wav", "04a01Fa.wav", "03a03Fa.wav", "03a01F.wav"])
def test_a_name_that_does_not_parse_is_an_error(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"wav/{name}")
    with pytest.raises(CorpusError, match=r"does not parse.*such as 03a01Fa") as error:
        read_emodb(tmp_path)
    assert str(tmp_path / "wav" / name) in str(error.value)


@pytest.mark.parametrize(("root", "found"), [("nowhere", "no such folder"), (".", "contains no audio")])
def test_a_wrong_root_says_what_was_expected(tmp_path: Path, root: str, found: str) -> None:
    with pytest.raises(CorpusError, match=rf"{found}.*03a01Fa.*--corpus\.root"):
        read_emodb(tmp_path / root)
