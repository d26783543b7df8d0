from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysys.corpora import table
from raysys.corpora.table import Note
from raysys.data.manifest import Utterance, build_manifest
from raysys.errors import CorpusError

HEADER = "utterance_id,audio_path,speaker,emotion"


def read_table(path: Path, note: Note = print) -> list[Utterance]:
    return table.read_table(path, note).utterances


def write_csv(folder: Path, text: str) -> Path:
    path = folder / "corpus.csv"
    path.write_bytes(text.encode())
    return path


def columns(**changes: object) -> dict[str, object]:
    return {
        "utterance_id": ["a", "b"],
        "audio_path": ["a.wav", "b.wav"],
        "speaker": ["001", "002"],
        "emotion": ["joy", "fear"],
    } | changes


def write_parquet(folder: Path, **changes: object) -> Path:
    path = folder / "corpus.parquet"
    pq.write_table(pa.table(columns(**changes)), path)
    return path


def test_the_smallest_csv(tmp_path: Path) -> None:
    (utterance,) = read_table(write_csv(tmp_path, f"{HEADER}\na,audio/a.wav,S1,joy\n"))
    assert utterance.utterance_id == "a" and utterance.speaker == "S1"
    assert utterance.audio_path == str(tmp_path / "audio" / "a.wav")
    assert utterance.transcript is utterance.session is utterance.sex is utterance.fold is None
    assert utterance.start_s is utterance.end_s is None


def test_absolute_audio_paths_stay(tmp_path: Path) -> None:
    (utterance,) = read_table(write_csv(tmp_path, f"{HEADER}\na,/data/a.wav,S1,joy\n"))
    assert utterance.audio_path == "/data/a.wav"


def test_strings_stay_strings(tmp_path: Path) -> None:
    header = f"{HEADER},transcript,session,fold"
    path = write_csv(tmp_path, f"{header}\n0010,a.wav,007,NA,null,1e3,01\n")
    (utterance,) = read_table(path)
    assert utterance.utterance_id == "0010" and utterance.speaker == "007"
    assert utterance.emotion == "NA" and utterance.transcript == "null"
    assert utterance.session == "1e3" and utterance.fold == "01"


def test_quotes_line_breaks_byte_order_marks_and_spaces_of_a_spreadsheet(tmp_path: Path) -> None:
    text = (
        f'\ufeff{HEADER},transcript,sex\r\na, a.wav ,S1 ,joy,"Well, ""no"",\nsaid Zoë.",F\r\n\r\nb,b.wav,S1,joy,,\r\n'
    )
    first, second = read_table(write_csv(tmp_path, text))
    assert first.transcript == 'Well, "no",\nsaid Zoë.' and first.sex == "F"
    assert first.speaker == second.speaker == "S1"
    assert first.audio_path == str(tmp_path / "a.wav")
    assert second.transcript is None and second.sex is None


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path,
        emotion=pa.array(["joy", "fear"]).dictionary_encode(),
        transcript=["Hello.", ""],
        start_s=[None, 2],
        end_s=[1.5, None],
        sex=pa.nulls(2),
        channel=[1, 2],  # not a column we read
    )
    csv_path = write_csv(
        tmp_path,
        f"{HEADER},transcript,start_s,end_s,sex,channel\na,a.wav,001,joy,Hello.,,1.5,,1\nb,b.wav,002,fear,,2,,,2\n",
    )
    assert read_table(path) == read_table(csv_path)
    assert [u.end_s for u in read_table(path)] == [1.5, None]


@pytest.mark.parametrize(
    ("rows", "where", "found"),
    [
        ("a,a.wav,S1,joy,,,\nb,,S1,joy,,,", "line 3", "column 'audio_path' is empty. Fill the cell"),
        ("a,a.wav,S1, ,,,", "line 2", "column 'emotion' is empty. Fill the cell"),
        ("\n\na,a.wav,S1,joy,0:05,,", "line 4", "column 'start_s' holds '0:05', expected seconds"),
        ("a,a.wav,S1,joy,-1,,", "line 2", "column 'start_s' holds '-1', expected seconds"),
        ("a,a.wav,S1,joy,,nan,", "line 2", "column 'end_s' holds 'nan', expected seconds"),
        ("a,a.wav,S1,joy,2,1.5,", "line 2", "column 'end_s' holds 1.5, which is not after start_s 2.0."),
        ("a,a.wav,S1,joy,,,x", "line 2", "column 'sex' holds 'x', expected F, M"),
        ("a,a.wav,S1,joy", "line 2", "4 cells under 7 columns. Enclose cells that contain a comma"),
        ('"a\nb",a.wav,S1,joy,,,\nc,c.wav,,joy,,,', "line 4", "column 'speaker' is empty. Fill"),
        ('a,a.wav,S1,joy,,,\nb,"b.wav,S1,joy,,,\n', "line 3", "not readable as CSV"),
    ],
)
def test_a_bad_row_names_file_line_column_and_remedy(tmp_path: Path, rows: str, where: str, found: str) -> None:
    path = write_csv(tmp_path, f"{HEADER},start_s,end_s,sex\n{rows}\n")
    with pytest.raises(CorpusError) as error:
        read_table(path)
    assert f"{path}, {where}: " in str(error.value) and found in str(error.value)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("utterance_id,audio_path,emotion", "column 'speaker' is missing, found 'utterance_id'"),
        ("utterance_id;audio_path;speaker;emotion", "Cells are separated by commas"),
        (f"{HEADER},speaker", "column 'speaker' occurs twice. Remove one"),
        (f"{HEADER},Speaker", "column 'speaker' occurs twice, as 'speaker', 'Speaker'. Remove one"),
        ("path,file,speaker,emotion", "column 'audio_path' occurs twice, as 'path', 'file'. Remove one"),
        (f"{HEADER},Transcripts", "unknown column 'Transcripts', expected 'transcript'. Rename"),
        (
            f"{HEADER},start,end_s",
            "unknown column 'start', expected 'start_s' (seconds from the start of the file). Ren",
        ),
        (
            f"{HEADER},start_s,End",
            "unknown column 'End', expected 'end_s' (seconds from the start of the file). Rename",
        ),
        (
            f"{HEADER},start_s,duration",
            "unknown column 'duration', expected 'end_s' (seconds from the start of the file)",
        ),
        (f"{HEADER},begin", "'start_s' (seconds"),
        (f"{HEADER},Start Time", "'start_s' (seconds"),
        (f"{HEADER},offset", "'start_s' (seconds"),
        (f"{HEADER},endTime", "'end_s' (seconds"),
        (f"{HEADER},text", "unknown column 'text', expected 'transcript'. Rename"),
        (f"{HEADER},sentence", "expected 'transcript'"),
        (f"{HEADER},utterance_text", "expected 'transcript'"),
    ],
)
def test_a_bad_header_names_file_column_and_remedy(tmp_path: Path, header: str, found: str) -> None:
    path = write_csv(tmp_path, f"{header}\n")
    with pytest.raises(CorpusError) as error:
        read_table(path)
    assert f"{path}, line 1: " in str(error.value) and found in str(error.value)


def test_ignored_columns_are_noted_once(tmp_path: Path) -> None:
    notes: list[str] = []
    header = f"{HEADER},start_s,start,duration,end_s"
    path = write_csv(tmp_path, f"{header}\na,a.wav,S1,joy,0.5,8000,x,1\nb,b.wav,S1,joy,,,,\n")
    assert [(u.start_s, u.end_s) for u in read_table(path, notes.append)] == [(0.5, 1.0), (None, None)]
    assert notes == [f"{path}, line 1: ignored columns: 'start', 'duration'"]
    read_table(write_csv(tmp_path, f"{HEADER}\na,a.wav,S1,joy\n"), notes.append)
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"speaker": [1, 2]}, "row 1: column 'speaker' holds int64 such as 1, expected strings. Con"),
        ({"start_s": ["1", "2"]}, "row 1: column 'start_s' holds string such as '1', expected numb"),
        ({"speaker": ["S1", None]}, "row 2: column 'speaker' is empty. Fill the cell"),
        ({"end_s": [1.0, float("inf")]}, "row 2: column 'end_s' holds inf, expected seconds"),
    ],
)
def test_a_bad_parquet_table_names_file_row_column_and_remedy(
    tmp_path: Path, changes: dict[str, object], found: str
) -> None:
    path = write_parquet(tmp_path, **changes)
    with pytest.raises(CorpusError) as error:
        read_table(path)
    assert f"{path}, {found}" in str(error.value)


def test_a_parquet_table_without_a_column(tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"utterance_id": ["a"]}), path)
    with pytest.raises(CorpusError, match=r"'audio_path', 'speaker', 'emotion' is missing.*Rename"):
        read_table(path)


def test_a_table_that_is_not_utf_8_says_where(tmp_path: Path) -> None:
    path = tmp_path / "corpus.csv"
    path.write_bytes(f"{HEADER}\na,a.wav,Zoë,joy\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"corpus\.csv, line 2: not UTF-8 \(byte 0xeb\)\. Save"):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("empty.csv", r"empty\. Its first line must name the columns 'audio_path'"),
        ("text.parquet", r"not readable as Parquet .* Write the table again"),
        ("corpus.xlsx", r"\.csv or \.parquet table, found \.xlsx\. Save it"),
        ("folder.csv", r"no such file\. Set --corpus\.root to a \.csv or \.parquet file"),
        ("nowhere.csv", r"no such file\. Set --corpus\.root to a \.csv or \.parquet file"),
    ],
)
def test_a_file_that_is_not_a_table_is_an_error(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "text.parquet").write_text("utterance_id")
    (tmp_path / "corpus.xlsx").touch()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(CorpusError, match=rf"{name}: .*{found}"):
        read_table(tmp_path / name)


def test_parquet_strings_that_are_not_utf_8_are_an_error_with_the_file(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, emotion=pa.array([b"\xff", b"joy"]).view(pa.string()))
    with pytest.raises(CorpusError, match=r"corpus\.parquet: not readable as Parquet .*UTF8"):
        read_table(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_other_names_of_columns_in_any_case_are_read_with_a_note(tmp_path: Path, suffix: str) -> None:
    names = ("Path", "Speaker_ID", "LABEL", "Gender", "Transcript")
    row = ("a.wav", "S1", "joy", "female", "Hello.")
    path = tmp_path / f"corpus{suffix}"
    if suffix == ".csv":
        path.write_text(f"{','.join(names)}\n{','.join(row)}\n")
    else:
        pq.write_table(pa.table({name: [cell] for name, cell in zip(names, row, strict=True)}), path)
    notes: list[str] = []
    (utterance,) = read_table(path, notes.append)
    assert utterance.audio_path == str(tmp_path / "a.wav") and utterance.speaker == "S1"
    assert (utterance.emotion, utterance.sex, utterance.transcript) == ("joy", "F", "Hello.")
    (note,) = notes
    assert note.startswith(str(path)) and note.endswith(
        "columns read under another name: 'Path' as 'audio_path', 'Speaker_ID' as 'speaker', 'LABEL' as 'emotion', "
        "'Gender' as 'sex', 'Transcript' as 'transcript'"
    )


def test_a_cell_under_another_name_is_refused_under_that_name(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "file,speaker,label\na.wav,S1,\n")
    with pytest.raises(CorpusError, match=r"line 2: column 'label' is empty"):
        read_table(path)


def test_another_name_beside_the_column_itself_is_ignored(tmp_path: Path) -> None:
    notes: list[str] = []
    (utterance,) = read_table(write_csv(tmp_path, f"{HEADER},file,label\na,a.wav,S1,joy,b.wav,3\n"), notes.append)
    assert utterance.audio_path.endswith("a.wav") and utterance.emotion == "joy"
    assert "ignored columns: 'file', 'label'" in notes[0]


def test_sex_in_any_usual_spelling(tmp_path: Path) -> None:
    rows = "".join(f"{i},a.wav,S{i},joy,{sex}\n" for i, sex in enumerate(["F", "f", "Female", "M", "m", "male", ""]))
    utterances = read_table(write_csv(tmp_path, f"{HEADER},sex\n{rows}"))
    assert [u.sex for u in utterances] == ["F", "F", "F", "M", "M", "M", None]


def test_ids_are_made_from_paths_and_stay_when_the_corpus_moves(tmp_path: Path) -> None:
    """Made of the file alone, turns of one file would have one id; made of the name alone, files of two folders."""
    rows = "{0}x/a.wav,S1,joy,,\n{0}y/a.wav,S2,joy,,\n{0}y/b.wav,S2,joy,0,1.5\n{0}y/b.wav,S2,fear,1.5,\n"
    expected = ["x/a.wav", "y/a.wav", "y/b.wav#0.0-1.5", "y/b.wav#1.5-"]
    for folder in ("", "./", "/data/", "/elsewhere/deep/"):
        path = write_csv(tmp_path, "audio_path,speaker,emotion,start_s,end_s\n" + rows.format(folder))
        assert [u.utterance_id for u in read_table(path)] == expected


def test_a_row_that_stands_twice_is_known_by_the_id_made_from_its_path(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "path,speaker,emotion\na.wav,S1,joy\nb.wav,S2,fear\na.wav,S1,joy\n")
    with pytest.raises(CorpusError, match=r"line 2 and line 4 hold 'a\.wav'"):
        build_manifest("table", str(path), read_table(path))


def test_attributes_are_numbers_of_any_sign(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("audio_path,speaker,emotion,Valence,arousal\na.wav,s,x,-0.5,\nb.wav,s,y, 3 ,1e0\n")
    first, second = read_table(path, [].append)
    assert first.attributes == (-0.5, None, None)
    assert second.attributes == (3.0, 1.0, None)


@pytest.mark.parametrize("cell", ["high", "nan", "inf", "1,5"])
def test_an_attribute_that_is_no_number_names_its_line(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f'audio_path,speaker,emotion,valence\na.wav,s,x,1\nb.wav,s,y,"{cell}"\n')
    with pytest.raises(CorpusError, match=f"line 3: column 'valence' holds '{cell}', expected a number"):
        read_table(path, [].append)
