from pathlib import Path

import pytest

from raysys.corpora.msp_improv import CLASSES, read_msp_improv
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import build_manifest
from raysys.errors import CorpusError
from tests.corpora.published import tone, write

LABELS = """UTD-IMPROV-S01A-F01-P-FM01.avi; A; A:4.5; V:1.5; D:4.0 ; N:2.8;
02_F; Angry; Angry,Disgusted; A:4.000000; V:1.000000; D:4.000000; N:3.000000;
03_M; Angry; Angry; A:5.000000; V:2.000000; D:4.000000; N:3.000000;
04_M; Other; Frustrated; A:5.000000; V:2.000000; D:4.000000; N:3.000000;
05_M; Sad; Sad; A:5.000000; V:2.000000; D:4.000000; N:3.000000;

UTD-IMPROV-S08A-M06-R-MF02.avi; H; A:NaN; V:NaN; D:NaN ; N:NaN;

UTD-IMPROV-S08A-M06-R-MF03.avi; X; A:3.0; V:3.0; D:3.0 ; N:3.0;
02_F; Happy; Happy; A:3.000000; V:3.000000; D:3.000000; N:3.000000;
"""
ANGRY, HAPPY = "MSP-IMPROV-S01A-F01-P-FM01", "MSP-IMPROV-S08A-M06-R-MF02"


def make(root: Path, table: str = "Evalution.txt") -> Path:
    write(root / table, LABELS)
    tone(root / "session1" / "S01A" / "P" / f"{ANGRY}.wav", seconds=0.2)
    tone(root / "session6" / "S08A" / "R" / f"{HAPPY}.wav", hz=300, seconds=0.2)
    write(root / "All_human_transcriptions" / "session1" / f"{ANGRY}.txt", "How can I not?\n")
    return root


@pytest.mark.parametrize("table", ["Evalution.txt", "Evaluation.txt"])
def test_labels_votes_attributes_and_words_are_read(tmp_path: Path, table: str) -> None:
    notes: list[str] = []
    angry, happy = read_msp_improv(make(tmp_path, table), note=notes.append)
    assert (angry.utterance_id, angry.speaker, angry.sex, angry.session) == (ANGRY, "F01", "F", "session1")
    assert (angry.emotion, angry.transcript, angry.attributes) == ("angry", "How can I not?", (1.5, 4.5, 4.0))
    assert angry.votes == pytest.approx([2 / 3, 0, 0, 1 / 3])
    assert (happy.speaker, happy.session, happy.emotion) == ("M06", "session6", "happy")
    assert (happy.transcript, happy.votes, happy.attributes) == (None, None, (None, None, None))
    assert notes == ["1 utterances without agreement are left out"]


def test_its_audio_is_found(tmp_path: Path) -> None:
    utterances = read_msp_improv(make(tmp_path), note=[].append)
    manifest = build_manifest("msp_improv", str(tmp_path), utterances, CLASSES)
    assert len(inspect_audio(manifest, max_duration_s=10.0, on_error="fail").utterances) == 2


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("UTD-IMPROV-S01A-F01-P-FM01.avi; A\n", "line 1: .* is no line of a label"),
        ("UTD-IMPROV-S01A-F01-P-FM01.avi; Q; A:1; V:1; D:1 ; N:1;\n", "line 1: unknown label 'Q'"),
        ("UTD-IMPROV-S01A-F01-P-FM01.avi; A; A:x; V:1; D:1 ; N:1;\n", "line 1: 'x' is no number"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, found: str) -> None:
    write(make(tmp_path) / "Evalution.txt", line)
    with pytest.raises(CorpusError, match=found):
        read_msp_improv(tmp_path, note=[].append)


def test_without_labels_or_audio_it_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"contains no Evalution\.txt.*--corpus\.root"):
        read_msp_improv(tmp_path, note=[].append)
    write(tmp_path / "Evalution.txt", LABELS)
    with pytest.raises(CorpusError, match=r"contains no audio.*MSP-IMPROV-S01A-F01-P-FM01\.wav"):
        read_msp_improv(tmp_path, note=[].append)
