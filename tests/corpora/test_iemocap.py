import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from raysys.corpora.iemocap import CLASSES, read_iemocap
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import Utterance, build_manifest
from raysys.errors import CorpusError
from tests.corpora.iemocap_folder import UNTRANSCRIBED, write_iemocap

# For reference, if you have the corpus itself (METHOD section 7); its licence keeps it out of tests:
# 5531 utterances; ang 1103, hap 1636, neu 1708, sad 1084; by session 1085, 1023, 1151, 1031, 1241;
# session 1 by class 229, 278, 384, 194.


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_iemocap(tmp_path_factory.mktemp("iemocap"), sessions=2, per_class=2)


@pytest.fixture(scope="module")
def by_id(corpus: Path) -> dict[str, Utterance]:
    return {u.utterance_id: u for u in read_iemocap(corpus)}


def label_file(corpus: Path, dialog: str = "Ses01F_impro01") -> Path:
    return corpus / "Session1" / "dialog" / "EmoEvaluation" / f"{dialog}.txt"


def test_four_classes_are_read_with_excited_as_happy_and_the_others_left_out(by_id: dict[str, Utterance]) -> None:
    # 2 sessions x 2 speakers x 2 utterances of each class; without the merge, hap would have 4.
    assert Counter(u.emotion for u in by_id.values()) == dict.fromkeys(CLASSES, 8)


def test_single_annotators_files_in_subfolders_are_not_labels(by_id: dict[str, Utterance]) -> None:
    assert by_id["Ses01F_impro01_F000"].emotion == "ang"  # 'sad' in every subfolder


def test_the_speaker_is_the_letter_of_the_last_field(by_id: dict[str, Utterance]) -> None:
    man = by_id["Ses01F_impro01_M000"]
    assert (man.speaker, man.sex, man.session) == ("Ses01_M", "M", "Session1")
    woman = by_id["Ses02M_impro05a_F000"]
    assert (woman.speaker, woman.sex, woman.session) == ("Ses02_F", "F", "Session2")
    assert Counter(u.speaker for u in by_id.values()) == dict.fromkeys(("Ses01_F", "Ses01_M", "Ses02_F", "Ses02_M"), 8)


def test_transcripts_are_read_as_latin_1_where_they_are_not_utf_8(by_id: dict[str, Utterance]) -> None:
    transcript = by_id["Ses01F_script01_1b_F000"].transcript
    assert transcript is not None and transcript.endswith("café.")


def test_utf_8_transcripts_keep_their_letters(tmp_path: Path) -> None:
    corpus = write_iemocap(tmp_path)
    path = corpus / "Session1" / "dialog" / "transcriptions" / "Ses01F_impro01.txt"
    path.write_text("Ses01F_impro01_F000 [006.2901-008.2357]: Naïve: “no”.\r\n", encoding="utf-8")
    by_id = {u.utterance_id: u for u in read_iemocap(corpus)}
    assert by_id["Ses01F_impro01_F000"].transcript == "Naïve: “no”."


def words_file(corpus: Path, dialog: str = "Ses01F_impro01") -> Path:
    return corpus / "Session1" / "dialog" / "transcriptions" / f"{dialog}.txt"


def test_lines_may_end_as_on_an_old_mac(tmp_path: Path) -> None:
    """Otherwise the first utterance would get the words of the whole dialog."""
    corpus = write_iemocap(tmp_path)
    before = read_iemocap(corpus)
    for path in (words_file(corpus), label_file(corpus)):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    assert read_iemocap(corpus) == before


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "without a colon"])
def test_transcripts_in_another_encoding_or_form_are_not_dropped(tmp_path: Path, encoding: str) -> None:
    corpus = write_iemocap(tmp_path)
    path = words_file(corpus)
    text = path.read_text("iso-8859-1")
    path.write_bytes(text.replace("]:", "]").encode() if encoding == "without a colon" else text.encode(encoding))
    with pytest.raises(
        CorpusError, match=r"contains no line '<utterance> \[start-end\]: words'.*UTF-8.*Restore"
    ) as error:
        read_iemocap(corpus)
    assert str(error.value).startswith(f"{path}: ")


def test_one_line_without_a_colon_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_iemocap(tmp_path)
    read_iemocap(corpus)
    assert not capsys.readouterr().out
    path = words_file(corpus)
    path.write_bytes(path.read_bytes().replace(b"]:", b"]", 1))
    read_iemocap(corpus)
    said = capsys.readouterr().out
    assert said.startswith(f"corpus    {path}, line 1: ignored: 'Ses01F_impro01_F001 [") and said.count("\n") == 1


def test_two_transcripts_of_one_utterance_name_both(tmp_path: Path) -> None:
    corpus = write_iemocap(tmp_path)
    path = words_file(corpus)
    path.write_text(
        "Ses01F_impro01_F001 [006.2901-008.2357]: Yes.\nSes01F_impro01_MXX0 [1-2]: a\nSes01F_impro01_MXX0 [2-3]: b\n"
        "Ses01F_impro01_F001 [006.2901-008.2357]: Yes. \nSes01F_impro01_F001 [006.2901-008.2357]: No.\n"
    )
    with pytest.raises(CorpusError, match=r"line 5: Ses01F_impro01_F001 is 'No\.' here and 'Yes\.' above") as error:
        read_iemocap(corpus)
    assert str(path) in str(error.value) and "Keep one" in str(error.value)


def test_an_utterance_without_a_transcript_is_kept(by_id: dict[str, Utterance]) -> None:
    assert [u.utterance_id for u in by_id.values() if u.transcript is None] == [UNTRANSCRIBED]


def test_a_dialog_without_a_transcript_file_is_kept(tmp_path: Path) -> None:
    corpus = write_iemocap(tmp_path)
    (corpus / "Session1" / "dialog" / "transcriptions" / "Ses01M_impro05a.txt").unlink()
    silent = [u for u in read_iemocap(corpus) if "Ses01M_impro05a" in u.utterance_id]
    assert silent and all(u.transcript is None for u in silent)


def test_turns_marked_xx_are_not_utterances(tmp_path: Path) -> None:
    corpus = write_iemocap(tmp_path)
    with label_file(corpus).open("a") as file:
        file.write("\n[1.0000 - 2.0000]\tSes01F_impro01_MXX0\tneu\t[2.5000, 2.5000, 2.5000]\n")
    assert not any("XX" in u.utterance_id for u in read_iemocap(corpus))


def test_wav_and_flac_of_any_rate_pass_the_inspection(corpus: Path) -> None:
    manifest = build_manifest("iemocap", str(corpus), read_iemocap(corpus), CLASSES)
    inspected = inspect_audio(manifest, max_duration_s=1.0, on_error="fail")
    assert {Path(u.audio_path).suffix for u in inspected.utterances} == {".wav", ".flac"}
    assert all(u.duration_s is not None and 0.29 < u.duration_s < 0.6 for u in inspected.utterances)


@pytest.mark.parametrize(
    ("lines", "place", "found"),
    [
        ("[6.2901 - 8.2357]\tSes01F_impro01_F000\tangry\t[2.5, 2.5, 2.5]", "line 4", "unknown label 'angry'.*fru"),
        ("[6.2901 - 8.2357] Ses01F_impro01_F000 neu", "line 4", "is not a label line, expected"),
        ("[6.2901 - 8.2357]\tSes01F_impro01\tneu\t[2.5, 2.5, 2.5]", "line 4", "is not a label line, expected"),
        ("6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]", "line 4", "is not a label line, expected"),
        ("", "", "contains no label line"),
    ],
)
def test_damaged_labels_name_file_and_line(tmp_path: Path, lines: str, place: str, found: str) -> None:
    corpus = write_iemocap(tmp_path)
    label_file(corpus).write_text(f"% header\n\n\n{lines}\n" if lines else "")
    with pytest.raises(CorpusError, match=rf"{found}.*Restore the file") as error:
        read_iemocap(corpus)
    assert str(error.value).startswith(f"{label_file(corpus)}, {place}" if place else f"{label_file(corpus)}: ")


@pytest.mark.parametrize("name", ["Ses01F_impro01.TXT", "Ses01F_impro01.txt.bak", None])
def test_a_dialogs_audio_without_labels_names_both(tmp_path: Path, name: str | None) -> None:
    corpus = write_iemocap(tmp_path)
    path = label_file(corpus)
    if name is None:
        path.unlink()
    else:
        path.rename(path.with_name(name))
    with pytest.raises(CorpusError, match=r"audio but no label file.*Restore the file") as error:
        read_iemocap(corpus)
    audio = corpus / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    assert str(error.value).startswith(f"{audio}: ") and str(path) in str(error.value)


def test_system_and_empty_folders_are_not_dialogs(tmp_path: Path) -> None:
    corpus = write_iemocap(tmp_path)
    before = read_iemocap(corpus)
    wav = corpus / "Session1" / "sentences" / "wav"
    (wav / "Ses01F_impro99").mkdir()
    (wav / "._Ses01F_impro98").mkdir()
    (wav / ".cache").mkdir()
    for folder in (wav / "._Ses01F_impro98", wav / ".cache"):
        (folder / "Ses01F_impro98_F000.wav").touch()
    assert read_iemocap(corpus) == before


def test_a_label_without_audio_names_both_files(tmp_path: Path) -> None:
    corpus = write_iemocap(tmp_path)
    dialog = "Ses01F_impro01"
    audio = corpus / "Session1" / "sentences" / "wav" / dialog / f"{dialog}_F000.wav"
    audio.unlink()
    with pytest.raises(CorpusError, match="Restore it") as error:
        read_iemocap(corpus)
    assert str(audio) in str(error.value) and f"{label_file(corpus)}, line 3" in str(error.value)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda root: (root / "Session1").rename(root / "Session3"), r"\.txt, line 3: .* does not belong to Session3"),
        (lambda root: shutil.rmtree(label_file(root).parent), r"Session1/dialog/EmoEvaluation: no label file.*Restore"),
        (lambda root: (root / "Session3").symlink_to("nowhere"), "Session3: expected a folder, found a broken link"),
        (shutil.rmtree, r"IEMOCAP: no such folder.*Session1.*--corpus\.root"),
        (
            lambda root: [shutil.rmtree(session) for session in root.iterdir()],
            r"no Session folder.*EmoEvaluation.*--corpus\.root",
        ),
    ],
    ids=["of another session", "no labels", "broken link", "no folder", "no session"],
)
def test_an_incomplete_session_is_an_error_that_says_what_was_expected(
    tmp_path: Path, spoil: Callable[[Path], object], found: str
) -> None:
    corpus = write_iemocap(tmp_path / "IEMOCAP")
    spoil(corpus)
    with pytest.raises(CorpusError, match=found):
        read_iemocap(corpus)


def test_a_session_as_root_is_an_error_that_points_to_its_parent(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"Set --corpus\.root to the folder above"):
        read_iemocap(write_iemocap(tmp_path) / "Session1")
