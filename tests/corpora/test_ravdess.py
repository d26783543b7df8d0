import re
from collections import Counter
from pathlib import Path

import pytest

from raysys.corpora.ravdess import CLASSES, EMOBOX_FOLDS, read_ravdess
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import build_manifest
from raysys.errors import CorpusError


def touch(root: Path, actor: str, *names: str) -> Path:
    folder = root / actor
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return root


def test_the_real_corpus_has_its_published_counts(shared_data: Path) -> None:
    utterances = read_ravdess(shared_data / "ravdess", include_songs=False)
    assert len(utterances) == 1440
    assert Counter(u.emotion for u in utterances) == {name: 96 if name == "neutral" else 192 for name in CLASSES}
    assert Counter(u.speaker for u in utterances) == {f"Actor_{n:02d}": 60 for n in range(1, 25)}
    assert Counter(u.sex for u in utterances) == {"M": 720, "F": 720}
    assert set(Counter(u.transcript for u in utterances).values()) == {720}


def test_the_real_corpus_carries_emobox_folds(shared_data: Path) -> None:
    utterances = read_ravdess(shared_data / "ravdess", include_songs=False)
    actors = {(u.fold, u.speaker) for u in utterances}
    assert actors == {
        (f"emobox-{i}", f"Actor_{actor:02d}") for i, group in enumerate(EMOBOX_FOLDS, start=1) for actor in group
    }


def test_the_corpus_as_published_is_read_too(shared_data: Path) -> None:
    root = shared_data / "ravdess_as_published"
    manifest = build_manifest("ravdess", str(root), read_ravdess(root, include_songs=False), CLASSES)
    inspected = inspect_audio(manifest, max_duration_s=10.0, on_error="fail")
    assert len(inspected.utterances) == 4
    assert all(u.duration_s is not None and 2 < u.duration_s < 6 for u in inspected.utterances)


def test_emobox_tests_every_actor_once() -> None:
    assert sorted(actor for group in EMOBOX_FOLDS for actor in group) == list(range(1, 25))


def test_a_file_name_is_decoded(tmp_path: Path) -> None:
    touch(tmp_path, "Actor_07", "03-01-06-02-02-01-07.wav")
    (utterance,) = read_ravdess(tmp_path, include_songs=False)
    assert utterance.utterance_id == "03-01-06-02-02-01-07"
    assert utterance.emotion == "fearful"
    assert utterance.transcript == "Dogs are sitting by the door"
    assert (utterance.speaker, utterance.sex, utterance.fold) == ("Actor_07", "M", "emobox-4")
    assert utterance.audio_path == str(tmp_path / "Actor_07" / "03-01-06-02-02-01-07.wav")


def test_songs_are_read_only_when_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "Actor_02", "03-01-05-01-01-01-02.wav", "03-02-05-01-01-01-02.flac")
    assert len(read_ravdess(tmp_path, include_songs=False)) == 1
    assert len(read_ravdess(tmp_path, include_songs=True)) == 2


def test_missing_songs_are_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "Actor_02", "03-01-05-01-01-01-02.wav")
    with pytest.raises(CorpusError, match=r"--corpus\.include-songs.*drop the flag") as error:
        read_ravdess(tmp_path, include_songs=True)
    assert str(tmp_path) in str(error.value)


def test_videos_other_files_and_macos_files_are_not_utterances(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Actor_01",
        "03-01-01-01-01-01-01.wav",
        "01-01-01-01-01-01-01.mp4",
        "01-01-01-01-01-02-01.wav",  # audio of a video
        "._03-01-01-01-01-01-01.wav",
        "notes.txt",
    )
    assert len(read_ravdess(tmp_path, include_songs=False)) == 1


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("take two.wav", "does not parse"),
        ("03-01-01-01-01-01.wav", "does not parse"),
        ("03-01-09-01-01-01-01.flac", "emotion 09 in the file name, expected 01 to 08"),
        ("03-01-01-01-03-01-01.wav", "statement 03 in the file name, expected 01 to 02"),
        ("03-01-01-01-01-01-25.wav", "actor 25 in the file name, expected 01 to 24"),
        ("03-01-01-01-01-01-02.wav", "actor 02, but the folder is Actor_01"),
    ],
)
def test_a_name_that_does_not_parse_is_an_error(tmp_path: Path, name: str, found: str) -> None:
    touch(tmp_path, "Actor_01", name)
    with pytest.raises(CorpusError, match=found) as error:
        read_ravdess(tmp_path, include_songs=False)
    assert str(tmp_path / "Actor_01" / name) in str(error.value)
    assert "ename" in str(error.value)  # 'Rename or remove', 'Move ... or rename'


@pytest.mark.parametrize(("root", "found"), [("nowhere", "no such folder"), (".", "no Actor folder")])
def test_a_wrong_root_says_what_was_expected(tmp_path: Path, root: str, found: str) -> None:
    with pytest.raises(CorpusError, match=rf"{found}.*Actor_01 \.\.\. Actor_24.*--corpus\.root") as error:
        read_ravdess(tmp_path / root, include_songs=False)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ((), "found nothing"),
        (("Actor_02/03-01-01-01-01-01-02.wav",), "found other files or folders, such as 'Actor_02'"),
        (
            ("03-01-01-01-01-01-02.mp3", "03-01-01-01-01-02-02.mp3"),
            "found other files or folders, such as '03-01-01-01-01-01-02.mp3'",
        ),
        (("03-02-01-01-01-01-02.wav",), "found other files or folders, such as '03-02-01-01-01-01-02.wav'"),
        (("._03-01-01-01-01-01-02.wav",), "found other files or folders, such as '._03-01-01-01-01-01-02.wav'"),
    ],
)
def test_an_actor_without_speech_is_refused(tmp_path: Path, files: tuple[str, ...], found: str) -> None:
    touch(tmp_path, "Actor_01", "03-01-01-01-01-01-01.wav")
    touch(tmp_path, "Actor_02")
    for name in files:
        path = tmp_path / "Actor_02" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with pytest.raises(
        CorpusError, match=rf"Actor_02: contains no audio-only speech file, expected MM-.*{re.escape(found)}\. Move"
    ) as error:
        read_ravdess(tmp_path, include_songs=False)
    assert str(tmp_path / "Actor_02") in str(error.value)


@pytest.mark.parametrize("name", ["actor_02", "Actor_2", "Actor 02", "ACTOR-02", "Actor02", "Actor_002"])
def test_a_misnamed_actor_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "Actor_01", "03-01-01-01-01-01-01.wav")
    touch(tmp_path, name, "03-01-01-01-01-01-02.wav")
    (tmp_path / "Actor_01.zip").touch()
    with pytest.raises(
        CorpusError, match=rf"{name}: expected an actor's folder to be named Actor_01 \.\.\. Actor_24.*Rename"
    ):
        read_ravdess(tmp_path, include_songs=False)


def test_an_actor_behind_a_broken_link_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "Actor_01", "03-01-01-01-01-01-01.wav")
    (tmp_path / "Actor_02").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="Actor_02: expected a folder, found a broken link"):
        read_ravdess(tmp_path, include_songs=False)
