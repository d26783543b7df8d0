"""The demo corpus: reproducible bytes, IEMOCAP's layout, atomic creation, eSpeak kept separate."""

import re
import subprocess
import sys
import wave
from collections import Counter
from pathlib import Path

import pytest

from raysys.corpora import demo
from raysys.corpora.demo_script import EMOTIONS, demo_script

_LABEL = re.compile(
    r"^\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(\S+)\t(\w{3})\t\[\d\.\d{4}, \d\.\d{4}, \d\.\d{4}\]$", re.MULTILINE
)
_TRANSCRIPT = re.compile(r"^(\S+) \[(\d{3}\.\d{4})-(\d{3}\.\d{4})\]: (.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("espeakng_loader", reason="the demo corpus needs eSpeak NG: uv sync --group demo")
    return demo.ensure_demo(tmp_path_factory.mktemp("demo"))


def test_script_is_balanced_and_half_of_its_words_reveal_the_emotion() -> None:
    lines = demo_script()
    assert Counter(line.emotion for line in lines) == dict.fromkeys(EMOTIONS, 150)
    assert Counter(line.emotion for line in lines if line.telling) == dict.fromkeys(EMOTIONS, 75)
    assert Counter(line.session for line in lines) == dict.fromkeys(range(1, 6), 120)
    assert len({line.voice for line in lines}) == 10
    assert len({line.utterance for line in lines}) == 600
    assert {line.label for line in lines if line.emotion == "hap"} == {"hap", "exc"}
    assert all(line.label == line.emotion for line in lines if line.emotion != "hap")


def test_speakers_have_one_voice_and_one_session() -> None:
    """A voice in two sessions would leak the test speaker into training."""
    speakers = {(line.session, line.utterance.split("_")[-1][0], line.voice) for line in demo_script()}
    assert len(speakers) == 10
    assert {(session, sex) for session, sex, _ in speakers} == {(s, x) for s in range(1, 6) for x in "FM"}


def test_some_scripted_words_recur_across_sessions_and_most_improvised_ones_do_not() -> None:
    """The script-disjoint score needs both kinds."""
    lines = demo_script()
    sessions: dict[str, set[int]] = {}
    for line in lines:
        sessions.setdefault(line.transcript, set()).add(line.session)
    back = {
        kind: [len(sessions[line.transcript]) > 1 for line in lines if kind in line.dialog]
        for kind in ("script", "impro")
    }
    assert sum(back["script"]) / len(back["script"]) > 0.5
    assert sum(back["impro"]) / len(back["impro"]) < 0.5


def test_the_bytes_are_the_pinned_ones(corpus: Path) -> None:
    """A change without a new generator version would let the documented scores drift."""
    assert demo.checksum(corpus) == demo.CHECKSUM


def test_labels_transcripts_and_waveforms_agree(corpus: Path) -> None:
    expected = {line.utterance: line for line in demo_script()}
    labels, transcripts = {}, {}
    for path in corpus.glob("Session*/dialog/EmoEvaluation/*.txt"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n")
        labels.update(
            {m[3]: (path.parts[-4], path.stem, float(m[2]) - float(m[1]), m[4]) for m in _LABEL.finditer(text)}
        )
    for path in corpus.glob("Session*/dialog/transcriptions/*.txt"):
        transcripts.update({m[1]: m[4] for m in _TRANSCRIPT.finditer(path.read_text(encoding="utf-8"))})
    assert labels.keys() == transcripts.keys() == expected.keys()
    for utterance, (session, dialog, duration_s, label) in labels.items():
        assert label == expected[utterance].label
        assert transcripts[utterance] == expected[utterance].transcript
        with wave.open(str(corpus / session / "sentences" / "wav" / dialog / f"{utterance}.wav")) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
            assert file.getnframes() / 16_000 == pytest.approx(duration_s, abs=2e-4)
            assert 0.5 < duration_s < 6


def test_a_complete_corpus_is_not_regenerated(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.subprocess, "run", lambda *_, **__: pytest.fail("spoke again"))
    assert demo.ensure_demo(corpus.parent) == corpus


def _fake_synthesis(monkeypatch: pytest.MonkeyPatch, during: object = None) -> None:
    def write(draft: Path) -> None:
        (draft / "Session1").mkdir()
        (draft / "Session1" / "a.txt").write_text("mine")
        if callable(during):
            during()

    monkeypatch.setattr(demo, "_synthesise", write)
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda _: object())


def test_the_slower_of_two_processes_uses_the_faster_ones_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_process_finishes() -> None:
        _fake_synthesis(monkeypatch)
        (demo.ensure_demo(tmp_path) / "Session1" / "a.txt").write_text("theirs")

    _fake_synthesis(monkeypatch, during=other_process_finishes)
    with pytest.warns(UserWarning, match="differs from the reference"):
        folder = demo.ensure_demo(tmp_path)
    assert (folder / "Session1" / "a.txt").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_partly_deleted_corpus_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_synthesis(monkeypatch)
    remains = tmp_path / f"demo-v{demo.GENERATOR_VERSION}" / "Session3"
    remains.mkdir(parents=True)
    with pytest.warns(UserWarning, match="differs from the reference"):
        folder = demo.ensure_demo(tmp_path)
    assert {path.name for path in folder.iterdir()} == {"COMPLETE", "Session1"}


def test_nothing_is_left_when_the_child_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(demo.sys, "executable", "/bin/false")
    with pytest.raises(demo.DemoCorpusError, match="exit status 1"):
        demo.ensure_demo(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_espeak_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(demo.DemoCorpusError, match="uv sync --group demo"):
        demo.ensure_demo(tmp_path)


def test_importing_the_module_does_not_load_espeak() -> None:
    """eSpeak is GPL-3: only the child process loads it."""
    program = "import sys, raysys.corpora.demo; sys.exit('espeakng_loader' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
