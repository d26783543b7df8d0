from pathlib import Path

import pytest

from raysys.corpora.cremad import CLASSES, read_cremad
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import build_manifest
from raysys.errors import CorpusError
from tests.corpora.published import tone, touch, write

VOTES = """"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"
"100001",6,1,0,0,3,0,"1001_DFA_ANG_XX",10,0.6,"A"
"100002",0,0,0,4,4,0,"1002_IEO_HAP_HI",8,0.5,"H:N"
"100003",0,0,0,0,9,1,"1040_ITH_SAD_XX",10,0.9,"N"
"200001",0,9,0,0,1,0,"1001_DFA_ANG_XX",10,0.9,"D"
"300001",0,0,9,0,1,0,"1001_DFA_ANG_XX",10,0.9,"F"
"""


def make(root: Path) -> Path:
    """Four clips, with the file that is named differently in the tables, and the one without sound."""
    clips = ("1001_DFA_ANG_XX", "1002_IEO_HAP_HI", "1040_ITH_SAD_X", "1076_MTI_SAD_XX")
    touch(root, *(f"AudioWAV/{name}.wav" for name in clips), "AudioWAV/._1001_DFA_ANG_XX.wav", "AudioMP3/x.mp3")
    write(root / "processedResults" / "tabulatedVotes.csv", VOTES)
    write(root / "VideoDemographics.csv", "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,x,y\n1002,21,Female,x,y\n")
    return root


def test_names_votes_of_the_sound_and_sexes_are_read(tmp_path: Path) -> None:
    notes: list[str] = []
    angry, happy, sad = read_cremad(make(tmp_path), labels="acted", note=notes.append)
    assert (angry.utterance_id, angry.speaker, angry.sex, angry.emotion) == ("1001_DFA_ANG_XX", "1001", "M", "angry")
    assert angry.transcript == "Don't forget a jacket."
    assert angry.votes == (0.6, 0.1, 0, 0, 0.3, 0)
    assert (happy.sex, happy.emotion, happy.votes) == ("F", "happy", (0, 0, 0, 0.5, 0.5, 0))
    assert (sad.sex, sad.emotion, sad.votes) == (None, "sad", (0, 0, 0, 0, 0.9, 0.1))
    assert notes == ["1076_MTI_SAD_XX is left out: it has no sound, as published"]


def test_voted_labels_leave_out_ties(tmp_path: Path) -> None:
    notes: list[str] = []
    utterances = read_cremad(make(tmp_path), labels="voted", note=notes.append)
    assert [(u.utterance_id, u.emotion) for u in utterances] == [
        ("1001_DFA_ANG_XX", "angry"),
        ("1040_ITH_SAD_X", "neutral"),
    ]
    assert "2 utterances whose raters are tied, or are none, are left out" in notes


def test_the_audio_folder_alone_is_read_without_votes(tmp_path: Path) -> None:
    notes: list[str] = []
    utterances = read_cremad(make(tmp_path) / "AudioWAV", labels="acted", note=notes.append)
    assert [u.votes for u in utterances] == [None] * 3
    assert len(notes) == 3
    with pytest.raises(CorpusError, match=r"tabulatedVotes\.csv: is missing.*--corpus\.labels voted"):
        read_cremad(tmp_path / "AudioWAV", labels="voted")


def test_its_audio_is_found(tmp_path: Path) -> None:
    for name in ("1001_DFA_ANG_XX", "1002_DFA_SAD_XX"):
        tone(tmp_path / "AudioWAV" / f"{name}.wav")
    utterances = read_cremad(tmp_path, labels="acted", note=[].append)
    manifest = build_manifest("cremad", str(tmp_path), utterances, CLASSES)
    inspected = inspect_audio(manifest, max_duration_s=10.0, on_error="fail")
    assert [u.duration_s for u in inspected.utterances] == [0.5, 0.5]


@pytest.mark.parametrize("name", ["1001_DFA_ANG.wav", "1001_XYZ_ANG_XX.wav", "1001_DFA_JOY_XX.wav", "take 2.wav"])
def test_a_name_that_does_not_parse_is_an_error(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"AudioWAV/{name}")
    with pytest.raises(CorpusError, match=r"does not parse.*1001_DFA_ANG_XX") as error:
        read_cremad(tmp_path, labels="acted", note=[].append)
    assert str(tmp_path / "AudioWAV" / name) in str(error.value)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('"100001",6,1,0,0,x,0,"1001_DFA_ANG_XX",10,0.6,"A"', "line 2: columns A, D, F, H, N, S hold"),
        ('"100001",6,1,0', "line 2: 4 cells under 11 columns"),
    ],
)
def test_damaged_votes_name_their_line(tmp_path: Path, line: str, found: str) -> None:
    root = make(tmp_path)
    write(root / "processedResults" / "tabulatedVotes.csv", VOTES.split("\n")[0] + "\n" + line + "\n")
    with pytest.raises(CorpusError, match=found):
        read_cremad(root, labels="acted", note=[].append)


def test_a_clone_without_its_files_says_how_to_fetch_them(tmp_path: Path) -> None:
    write(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(CorpusError, match=r"pointer of Git LFS.*git lfs pull"):
        read_cremad(tmp_path, labels="acted", note=[].append)


@pytest.mark.parametrize(("root", "found"), [("nowhere", "no such folder"), (".", "contains no audio")])
def test_a_wrong_root_says_what_was_expected(tmp_path: Path, root: str, found: str) -> None:
    with pytest.raises(CorpusError, match=rf"{found}.*AudioWAV.*--corpus\.root"):
        read_cremad(tmp_path / root, labels="acted")
