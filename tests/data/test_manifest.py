import dataclasses
from typing import Any

import pyarrow as pa
import pytest

from raysys.data.manifest import Manifest, Skipped, Utterance, build_manifest
from raysys.errors import ManifestError


def utterance(name: str, emotion: str = "joy", speaker: str = "S1") -> Utterance:
    return Utterance(utterance_id=name, audio_path=f"/data/{name}.wav", speaker=speaker, emotion=emotion)


@pytest.fixture
def manifest() -> Manifest:
    first = dataclasses.replace(utterance("a"), transcript="Zoë.", start_s=0.5, duration_s=1.0, digest="00ff", sex="F")
    return build_manifest("table", "x.csv", [utterance("b", "fear", "S2"), first])


def test_utterances_are_in_the_order_of_their_ids_and_classes_in_the_alphabets(manifest: Manifest) -> None:
    assert [u.utterance_id for u in manifest.utterances] == ["a", "b"]
    assert manifest.classes == ("fear", "joy")
    assert manifest.labels() == {"a": 1, "b": 0}
    assert manifest.speakers == ("S1", "S2")


def test_given_classes_keep_their_order_though_one_is_absent() -> None:
    utterances = [utterance("a", "joy"), utterance("b", "fear")]
    manifest = build_manifest("table", "x.csv", utterances, ("joy", "rage", "fear"))
    assert manifest.labels() == {"a": 0, "b": 2}


def test_a_table_round_trip_keeps_everything(manifest: Manifest) -> None:
    skipped = Skipped(utterance_id="c", audio_path="/data/c.wav", reason="does not exist")
    manifest = dataclasses.replace(manifest, skipped=(skipped,))
    assert Manifest.from_table(manifest.to_table()) == manifest


def test_votes_are_kept_and_tables_of_early_versions_have_none(manifest: Manifest) -> None:
    voted = dataclasses.replace(manifest.utterances[0], votes=(1 / 3, 2 / 3))
    again = dataclasses.replace(manifest, utterances=(voted, *manifest.utterances[1:]))
    assert Manifest.from_table(again.to_table()) == again
    assert again.fingerprint() != manifest.fingerprint()
    assert Manifest.from_table(manifest.to_table().drop_columns("votes")) == manifest


def test_a_table_survives_arrow_ipc(manifest: Manifest) -> None:
    sink = pa.BufferOutputStream()
    table = manifest.to_table()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert Manifest.from_table(pa.ipc.open_stream(sink.getvalue()).read_all()) == manifest


def test_the_fingerprint_follows_content_and_not_place(manifest: Manifest) -> None:
    def changed(**values: Any) -> str:
        first = dataclasses.replace(manifest.utterances[0], **values)
        utterances = (first, *manifest.utterances[1:])
        return dataclasses.replace(manifest, utterances=utterances).fingerprint()

    assert changed(audio_path="/elsewhere/a.wav") == manifest.fingerprint()
    for values in ({"digest": "ff00"}, {"transcript": None}, {"speaker": "S3"}, {"end_s": 1.0}):
        assert changed(**values) != manifest.fingerprint()


NFC, NFD = "Zo\u00eb", "Zoe\u0308"


def test_a_name_in_two_unicode_forms_is_one_name() -> None:
    """As two speakers she would be both trained on and tested; transcripts stay as written."""
    first, second = (
        dataclasses.replace(utterance(spelt, spelt, spelt), session=spelt, fold=spelt, transcript=spelt)
        for spelt in (NFC, NFD)
    )
    manifest = build_manifest("table", "x.csv", [first, second, utterance("c", "joy")], (NFD, "joy"))
    assert manifest.speakers == ("S1", NFC) and manifest.classes == (NFC, "joy")
    assert {(u.session, u.fold) for u in manifest.utterances} == {(NFC, NFC), (None, None)}
    assert {u.transcript for u in manifest.utterances} == {NFC, NFD, None}
    assert manifest.labels() == {NFC: 0, NFD: 0, "c": 1}


@pytest.mark.parametrize("column", ["utterance_id", "speaker", "emotion", "session", "fold"])
@pytest.mark.parametrize("character", ["\x1b", "\n", "\t", "\0", "\x7f", "\x9b"])
def test_a_control_character_in_a_name_is_refused_by_name(column: str, character: str) -> None:
    odd = dataclasses.replace(utterance("b", "fear"), **{column: f"S{character}1"})
    with pytest.raises(ManifestError, match=rf"^x\.csv: {column} 'S.*1' of utterance .* control character") as error:
        build_manifest("table", "x.csv", [utterance("a"), odd])
    assert character not in str(error.value) and "Remove it" in str(error.value)


def test_transcripts_may_span_several_lines() -> None:
    spoken = dataclasses.replace(utterance("a"), transcript="Well,\n\tno.")
    assert build_manifest("table", "x.csv", [spoken, utterance("b", "fear")]).utterances[0] == spoken


@pytest.mark.parametrize(
    ("utterances", "found", "remedy"),
    [
        ([], "no utterances found", "--corpus.root"),
        ([utterance("a"), utterance("a")], "1 utterance ids occur more than once, 'a'", "unique"),
        ([utterance("a"), utterance("b", "rage")], "only the class 'joy' occurs", "--corpus.classes leaves out rage"),
        ([utterance("a", "calm"), utterance("b", "rage")], "no utterance of 'joy', 'fear'", "leaves out calm, rage"),
        ([utterance("a"), utterance("b")], "only the class 'joy' occurs", "at least two"),
    ],
)
def test_a_broken_manifest_names_source_fault_and_remedy(utterances: list[Utterance], found: str, remedy: str) -> None:
    with pytest.raises(ManifestError) as error:
        build_manifest("table", "x.csv", utterances, ("joy", "fear"))
    message = str(error.value)
    assert message.startswith("x.csv: ") and found in message and remedy in message


def test_only_the_classes_asked_for_are_used_and_what_is_left_out_is_counted() -> None:
    emotions = ("joy", "rage", "fear", "calm", "rage")
    utterances = [utterance(str(i), emotion) for i, emotion in enumerate(emotions)]
    manifest = build_manifest("table", "x.csv", utterances, ("joy", "fear"))
    assert [u.emotion for u in manifest.utterances] == ["joy", "fear"]
    (note,) = manifest.notes
    assert note == "3 utterances of classes that --corpus.classes does not name are left out: calm 1, rage 2"


def at_line(line: int, **names: str) -> Utterance:
    values = {"speaker": f"S{line}", "emotion": ("joy", "fear")[line % 2]} | names
    return Utterance(utterance_id=str(line), audio_path="/a.wav", where=f"line {line}", **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "first", "second", "harm"),
    [
        ("speaker", "spk0", "SPK0", "one person would be both trained on and tested"),
        ("emotion", "NEUTRAL", "neutral", "one class would be two"),
        ("session", "Day 1", "day\u00a01", "one session would be two"),
        ("fold", "1", "1.0", "one fold would be two"),
    ],
)
def test_a_name_in_two_spellings_is_refused_with_both_and_their_lines(
    column: str, first: str, second: str, harm: str
) -> None:
    rows = [at_line(2, **{column: first}), at_line(3, **{column: first}), at_line(4, **{column: second}), at_line(5)]
    with pytest.raises(ManifestError) as error:
        build_manifest("table", "x.csv", rows)
    said = str(error.value)
    assert f"column {column!r} holds {first!r} (line 2 and 1 more) and {second!r} (line 4): {harm}" in said
    assert said.startswith("x.csv: ") and "add --corpus.same-names keep" in said
    assert ("--corpus.emotion-map neutral=NEUTRAL" in said) == (column == "emotion")


def test_a_name_that_differs_in_what_is_not_seen_is_shown_with_its_codes() -> None:
    rows = [at_line(2, speaker="Zo\u00eb"), at_line(3, speaker="Zo\u00eb\u200b")]
    with pytest.raises(ManifestError) as error:
        build_manifest("table", "x.csv", rows)
    assert r"'Zo\xeb' (line 2) and 'Zo\xeb\u200b' (line 3)" in str(error.value)


def test_names_kept_apart_on_request_are_noted() -> None:
    rows = [at_line(2, speaker="a"), at_line(3, speaker="A")]
    manifest = build_manifest("table", "x.csv", rows, same_names="keep")
    assert manifest.speakers == ("A", "a")
    assert manifest.notes == (
        "kept apart (--corpus.same-names keep): column 'speaker' holds 'a' (line 2) and 'A' (line 3)",
    )


def test_equal_ids_are_shown_with_their_lines() -> None:
    rows = [dataclasses.replace(at_line(line), utterance_id="u") for line in (2, 3)]
    with pytest.raises(ManifestError, match=r"'u' \(line 2 and line 3 hold 'u'\)\. Make every id unique"):
        build_manifest("table", "x.csv", rows)


def test_a_corpus_is_called_by_its_title_or_its_readers_name() -> None:
    rows = [at_line(2), at_line(3)]
    assert build_manifest("table", "x.csv", rows).title == "table"
    titled = build_manifest("table", "x.csv", rows, title="EMO-DB")
    assert titled.title == "EMO-DB" and Manifest.from_table(titled.to_table()).title == "EMO-DB"
