from pathlib import Path

import av
import pytest

from raysys.corpora.meld import CLASSES, read_meld
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import build_manifest
from raysys.errors import CorpusError
from tests.corpora.published import tone, touch, write

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
FOLDERS = {
    "train": "train/train_splits",
    "dev": "dev/dev_splits_complete",
    "test": "test/output_repeated_splits_test",
}


def line(words: str, speaker: str, emotion: str, clip: tuple[int, int]) -> str:
    times = '"00:16:16,059","00:16:21,731"'
    return f'1,"{words}",{speaker},{emotion},x,{clip[0]},{clip[1]},8,21,{times}\n'


def make(root: Path, *, nested: bool = True, ending: str = ".mp4") -> Path:
    """Tables with the quotes that are around: as control characters in UTF-8, in Windows-1252, and in UTF-8."""
    folders = FOLDERS if nested else {part: Path(folder).name for part, folder in FOLDERS.items()}
    tables = {part: (root / part if nested else root) / f"{part}_sent_emo.csv" for part in FOLDERS}
    write(
        tables["train"],
        HEADER
        + line("I\x92m the point person.", "Chandler", "neutral", (0, 0))
        + line("Really? ", "The Interviewer", "surprise", (0, 1))
        + line("So let\x92s talk.", "Chandler", "joy", (125, 3)),
    )
    write(tables["dev"], HEADER + line("Oh my God, he’s lost it.", "chandler", "sadness", (0, 0)), "cp1252")
    write(tables["test"], HEADER + line("Why do all you’re", "Mark", "surprise", (0, 0)))
    for part, names in {"train": ("dia0_utt0", "dia0_utt1", "dia125_utt3"), "dev": ("dia0_utt0",)}.items():
        touch(root / folders[part], *(name + ending for name in names))
    touch(root / folders["test"], f"dia0_utt0{ending}", f"._dia0_utt0{ending}")
    return root


@pytest.mark.parametrize("nested", [True, False])
def test_three_parts_are_read_with_their_words(tmp_path: Path, nested: bool) -> None:
    notes: list[str] = []
    utterances = {u.utterance_id: u for u in read_meld(make(tmp_path, nested=nested), given=True, note=notes.append)}
    assert {name: (u.emotion, u.split) for name, u in utterances.items()} == {
        "train-dia0_utt0": ("neutral", "train"),
        "train-dia0_utt1": ("surprised", "train"),
        "dev-dia0_utt0": ("sad", "validation"),
        "test-dia0_utt0": ("surprised", "test"),
    }
    assert [u.transcript for u in utterances.values()] == [
        "I’m the point person.",
        "Really?",
        "Oh my God, he’s lost it.",
        "Why do all you’re",
    ]
    assert len(notes) == 1 and "dia125_utt3.mp4 is left out: it is damaged, as published" in notes[0]


def test_a_name_in_another_case_is_one_speaker(tmp_path: Path) -> None:
    utterances = read_meld(make(tmp_path), given=False, note=[].append)
    assert [u.speaker for u in utterances] == ["Chandler", "The Interviewer", "Chandler", "Mark"]
    assert {u.split for u in utterances} == {None}


def test_clips_and_converted_ones_are_opened(tmp_path: Path) -> None:
    make(tmp_path, ending=".wav")
    for path in tmp_path.rglob("dia*.wav"):
        tone(path, seconds=0.3)
    clip = tmp_path / FOLDERS["train"] / "dia0_utt0.mp4"
    _encode(tone(tmp_path / "t.wav", seconds=0.5), clip)
    utterances = read_meld(tmp_path, given=False, note=[].append)
    manifest = build_manifest("meld", str(tmp_path), utterances, CLASSES)
    inspected = inspect_audio(manifest, max_duration_s=10.0, on_error="fail").utterances
    assert inspected[2].audio_path == str(clip)
    assert [round(u.duration_s or 0, 1) for u in inspected] == [0.3, 0.3, 0.5, 0.3]


def _encode(source: Path, target: Path) -> None:
    with av.open(str(source)) as wav, av.open(str(target), "w") as mp4:
        stream = mp4.add_stream("aac", rate=16_000, layout="mono")
        for frame in wav.decode(audio=0):
            mp4.mux(stream.encode(frame))
        mp4.mux(stream.encode(None))


def test_a_missing_clip_is_left_to_the_inspection_of_all_audio(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / FOLDERS["train"] / "dia0_utt1.mp4").unlink()
    missing = read_meld(tmp_path, given=False, note=[].append)[1]
    assert missing.audio_path == str(tmp_path / FOLDERS["train"] / "dia0_utt1.mp4")


@pytest.mark.parametrize("what", ["dev_sent_emo.csv", "output_repeated_splits_test"])
def test_a_part_that_is_missing_is_named(tmp_path: Path, what: str) -> None:
    make(tmp_path, nested=False)
    (tmp_path / what).rename(tmp_path / "elsewhere")
    with pytest.raises(CorpusError, match=rf"contains no (folder )?{what}.*MELD\.Raw"):
        read_meld(tmp_path, given=False, note=[].append)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (line("a", "Ross", "angst", (0, 0)), "line 2: unknown label 'angst', expected one of anger"),
        (line("a", "", "joy", (0, 0)), "line 2: columns Speaker, Emotion"),
        ("1,2,3\n", "line 2: 3 cells under 11 columns"),
    ],
)
def test_a_damaged_row_names_its_line(tmp_path: Path, row: str, found: str) -> None:
    write(make(tmp_path) / "dev" / "dev_sent_emo.csv", HEADER + row)
    with pytest.raises(CorpusError, match=found) as error:
        read_meld(tmp_path, given=False, note=[].append)
    assert "dev_sent_emo.csv" in str(error.value)


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    write(make(tmp_path) / "dev" / "dev_sent_emo.csv", "Utterance,Speaker\n")
    with pytest.raises(CorpusError, match="line 1: column 'Emotion', 'Dialogue_ID', 'Utterance_ID' is missing"):
        read_meld(tmp_path, given=False, note=[].append)
