import dataclasses
import re
from pathlib import Path

from raysys.config import CORPORA
from raysys.data.manifest import Manifest, Utterance
from raysys.report.attributes import attribute_rows
from raysys.report.page import write_report
from tests.report.run_folder import write_run


def utterance(name: str, emotion: str, *attributes: float | None) -> Utterance:
    valence, arousal, dominance = attributes or (None, None, None)
    return Utterance(
        utterance_id=name,
        audio_path="/a.wav",
        speaker="s",
        emotion=emotion,
        valence=valence,
        arousal=arousal,
        dominance=dominance,
    )


def test_means_are_of_what_is_there() -> None:
    utterances = (
        utterance("1", "calm", 1.0, 2.0, None),
        utterance("2", "calm", -2.0, None, None),
        utterance("3", "calm"),
        utterance("4", "tense"),
    )
    manifest = Manifest(corpus="table", classes=("calm", "tense", "sad"), utterances=utterances)
    assert attribute_rows(manifest) == [
        ("calm", 2, -0.5, 2.0, None),
        ("tense", 0, None, None, None),
        ("sad", 0, None, None, None),
    ]


def test_a_corpus_without_any_has_no_table() -> None:
    assert attribute_rows(Manifest(corpus="table", classes=("calm",), utterances=(utterance("1", "calm"),))) == []


def test_the_report_shows_them_and_the_terms_of_a_published_corpus(tmp_path: Path) -> None:
    run = write_run(tmp_path, corpus="iemocap")
    manifest = Manifest.from_table(run.read_table("manifest.parquet"))
    rated = tuple(dataclasses.replace(u, arousal=2.5) if u.emotion == "ang" else u for u in manifest.utterances)
    run.write_table("manifest.parquet", dataclasses.replace(manifest, utterances=rated).to_table())
    write_report(run)
    page = run.read_bytes("report.html").decode()
    assert CORPORA["iemocap"].terms in page
    table = page.split('aria-label="Attributes by class"', 1)[1].split("</table>")[0]
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", table)
    n = sum(u.emotion == "ang" for u in rated)
    start = cells.index("ang")
    assert cells[start + 1] == str(n)
    assert "2.50" in cells[start : cells.index("hap")]
    assert cells.count("2.50") == 1
