from pathlib import Path

import pytest

from raysys.corpora.msp_podcast import CLASSES, read_msp_podcast
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import build_manifest
from raysys.errors import CorpusError
from tests.corpora.published import tone, write

HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
ROWS = (
    "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1\n"
    "MSP-PODCAST_0001_0009.wav,H,5.0,6.5,5.25,Unknown,Unknown,Development\n"
    "MSP-PODCAST_0002_0001.wav,U,,,,7,Female,Train\n"
    "MSP-PODCAST_0002_0002.wav,X,4.0,4.0,4.0,7,Female,Train\n"
    "MSP-PODCAST_0002_0003.wav,O,4.0,4.0,4.0,7,Female,Train\n"
    "MSP-PODCAST_0002_0004.wav,,,,,8,Female,Test3\n"
)
DETAILED = (
    "FileName,Worker,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom,Gender,SpkrID,Split_Set\n"
    'MSP-PODCAST_0001_0008.wav,WORKER1,Neutral,"Neutral,Sad",2,4,3,Male,30,Test1\n'
    "MSP-PODCAST_0001_0008.wav,WORKER2,Neutral,Neutral,2,4,3,Male,30,Test1\n"
    "MSP-PODCAST_0001_0008.wav,WORKER3,Sad,Sad,2,4,3,Male,30,Test1\n"
    "MSP-PODCAST_0001_0008.wav,WORKER4,Other-bored,Sad,2,4,3,Male,30,Test1\n"
    "MSP-PODCAST_0002_0001.wav,WORKER1,Other,Sad,2,4,3,Male,30,Test1\n"
)


def make(root: Path, labels: str = "Labels") -> Path:
    write(root / labels / "labels_consensus.csv", HEADER + ROWS)
    write(root / labels / "labels_detailed.csv", DETAILED)
    write(root / "Transcripts" / "MSP-PODCAST_0001_0008.txt", "so that is\nwhat I did\n")
    for row in ROWS.split():
        tone(root / "Audios" / row.split(",")[0], seconds=0.2)
    return root


@pytest.mark.parametrize("labels", ["Labels", "."])
def test_labels_attributes_votes_and_words_are_read(tmp_path: Path, labels: str) -> None:
    neutral, happy, surprised = read_msp_podcast(make(tmp_path, labels), given=True, note=[].append)
    assert (neutral.utterance_id, neutral.speaker, neutral.sex) == ("MSP-PODCAST_0001_0008", "30", "M")
    assert (neutral.emotion, neutral.transcript, neutral.split) == ("neutral", "so that is what I did", "test1")
    assert neutral.attributes == (4.0, 2.2, 2.6)
    assert dict(zip(CLASSES, neutral.votes or (), strict=True))["neutral"] == pytest.approx(2 / 3)
    assert dict(zip(CLASSES, neutral.votes or (), strict=True))["sad"] == pytest.approx(1 / 3)
    assert (happy.speaker, happy.sex, happy.split, happy.votes) == ("unknown", None, "validation", None)
    assert (surprised.emotion, surprised.split, surprised.attributes) == ("surprised", "train", (None, None, None))
    assert surprised.votes is None


def test_what_has_no_class_is_left_out_with_a_note(tmp_path: Path) -> None:
    notes: list[str] = []
    utterances = read_msp_podcast(make(tmp_path), given=False, note=notes.append)
    assert [u.split for u in utterances] == [None] * 3
    assert notes == [
        "1 utterances without agreement are left out",
        "1 utterances of another emotion are left out",
        "1 utterances without a published label are left out",
    ]


def test_without_votes_and_transcripts_it_says_so(tmp_path: Path) -> None:
    root = make(tmp_path)
    (root / "Transcripts").rename(root / "elsewhere")
    write(root / "Labels" / "labels_detailed.csv", "FileName,EmoDetail\n")
    notes: list[str] = []
    utterances = read_msp_podcast(root, given=True, note=notes.append)
    assert {(u.transcript, u.votes) for u in utterances} == {(None, None)}
    assert "column 'EmoClass_Major' is missing" in notes[0]
    assert "utterances have no transcripts" in notes[1]


def test_its_audio_is_found(tmp_path: Path) -> None:
    utterances = read_msp_podcast(make(tmp_path), given=True, note=[].append)
    manifest = build_manifest("msp_podcast", str(tmp_path), utterances, CLASSES)
    inspected = inspect_audio(manifest, max_duration_s=10.0, on_error="fail")
    assert [u.duration_s for u in inspected.utterances] == [0.2] * 3


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("a.wav,Z,1,1,1,1,Male,Train\n", "line 2: unknown label 'Z', expected A, C"),
        ("a.wav,A,1,x,1,1,Male,Train\n", "line 2: column 'EmoVal' holds 'x', expected a number"),
        ("a.wav,A,nan,1,1,1,Male,Train\n", "line 2: column 'EmoAct' holds 'nan', expected a number"),
        ("a.wav,A,1,1,1,1,Male,Holdout\n", "line 2: unknown part 'Holdout'"),
        ("a.wav,A\n", "line 2: 2 cells under 8 columns"),
    ],
)
def test_a_damaged_row_names_its_line(tmp_path: Path, row: str, found: str) -> None:
    write(make(tmp_path) / "Labels" / "labels_consensus.csv", HEADER + row)
    with pytest.raises(CorpusError, match=found):
        read_msp_podcast(tmp_path, given=True, note=[].append)


@pytest.mark.parametrize("what", ["Labels", "Audios"])
def test_a_missing_folder_says_what_was_expected(tmp_path: Path, what: str) -> None:
    (make(tmp_path) / what).rename(tmp_path / "elsewhere")
    with pytest.raises(CorpusError, match=r"contains no (folder Audios|labels_consensus\.csv).*--corpus\.root"):
        read_msp_podcast(tmp_path, given=True, note=[].append)
