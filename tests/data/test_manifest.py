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
        ([utterance("a"), utterance("b", "rage")], "contains 'rage'", "--corpus.emotion-map"),
        ([utterance("a"), utterance("b")], "only the class 'joy' occurs", "at least two"),
    ],
)
def test_a_broken_manifest_names_source_fault_and_remedy(utterances: list[Utterance], found: str, remedy: str) -> None:
    with pytest.raises(ManifestError) as error:
        build_manifest("table", "x.csv", utterances, ("joy", "fear"))
    message = str(error.value)
    assert message.startswith("x.csv: ") and found in message and remedy in message
