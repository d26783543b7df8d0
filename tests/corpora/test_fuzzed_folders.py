"""IEMOCAP and RAVDESS folders with one defect: every utterance is read, or the error names the place."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hypothesis import assume
from hypothesis import strategies as st

from raysys.config import CorpusConfig
from raysys.data.manifest import Manifest
from tests.corpora.damage import DAMAGE, PLACE, flipped, spoil
from tests.corpora.fuzzing import Outcome, Sound, accounted, cases, read
from tests.corpora.iemocap_folder import write_iemocap

DIALOG = "Ses02M_impro05a"


@pytest.fixture(scope="module")
def iemocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("iemocap")
    return write_iemocap(root, sessions=3, traps=False, rates_hz=(16_000,), duration_s=(0.02, 0.03))


@pytest.fixture(scope="module")
def whole(iemocap: Path) -> Manifest:
    outcome = read_iemocap(iemocap)
    assert outcome.manifest is not None and len(outcome.waveforms) == 48
    return outcome.manifest


def read_iemocap(root: Path, on_error: Any = "fail") -> Outcome:
    return read(CorpusConfig(name="iemocap", root=str(root), on_error=on_error), root)


LINE_OF_WORDS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40)
TEXT_DAMAGE = st.one_of(
    st.tuples(st.just("cut"), PLACE),
    st.tuples(st.just("flipped"), PLACE, st.integers(0, 7)),
    st.tuples(st.just("line ends"), st.sampled_from(["\r\n", "\n\n", " \r\n", "\r"])),
    st.tuples(st.just("mark"), st.just("\ufeff")),
    st.tuples(st.just("encoding"), st.sampled_from(["utf-16", "utf-16-le", "utf-32"])),
    st.sampled_from([("folder",), ("dangling",), ("loop",), ("empty",), ("twice",), ("missing",)]),
)


def spoil_text(path: Path, kind: str, *how: Any) -> None:
    match kind:
        case "line ends":
            path.write_bytes(path.read_bytes().replace(b"\n", how[0].encode()))
        case "mark":
            path.write_bytes(how[0].encode() + path.read_bytes())
        case "encoding":
            path.write_bytes(path.read_text("iso-8859-1").encode(how[0]))
        case "twice":
            path.write_bytes(path.read_bytes() + b"\n" + path.read_bytes())
        case _:
            spoil(path, kind, *how)


@cases(
    "IEMOCAP",
    what=st.one_of(
        st.tuples(st.just("labels"), TEXT_DAMAGE),
        st.tuples(st.just("transcripts"), TEXT_DAMAGE),
        st.tuples(st.just("words"), LINE_OF_WORDS),
        st.tuples(st.just("audio"), DAMAGE),
        st.tuples(st.just("session"), st.sampled_from(["dangling", "loop", "file"])),
    ),
    on_error=st.sampled_from(["fail", "skip"]),
)
def test_iemocap_with_one_defect(iemocap: Path, whole: Manifest, what: tuple[Any, Any], on_error: str) -> None:
    part, damage = what
    own = [u for u in whole.utterances if u.utterance_id.startswith(DIALOG)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "IEMOCAP"
        shutil.copytree(iemocap, root)
        dialog = root / "Session2" / "dialog"
        labels, words = dialog / f"EmoEvaluation/{DIALOG}.txt", dialog / f"transcriptions/{DIALOG}.txt"
        match part:
            case "labels":
                spoil_text(labels, *damage)
            case "transcripts":
                spoil_text(words, *damage)
            case "words":
                lines = words.read_text("iso-8859-1").split("\n")
                lines[0] = lines[0].partition(":")[0] + ":" + damage
                words.write_bytes("\n".join(lines).encode())
            case "audio":
                spoil(root / f"Session2/sentences/wav/{DIALOG}/{own[0].utterance_id}.wav", *damage)
            case "session":
                shutil.rmtree(root / "Session2")
                if damage == "file":
                    (root / "Session2").touch()
                else:
                    (root / "Session2").symlink_to(root / ("Session2" if damage == "loop" else "nowhere"))
        outcome = read_iemocap(root, on_error)
        if outcome.manifest is None:
            assert str(root / "Session2") in outcome.said or DIALOG in outcome.said, outcome.said
            assert part not in ("words", "audio") or on_error == "fail", outcome.said
            return
        assert part != "session", "a session was left out"
        assert part not in ("labels", "transcripts") or damage[0] != "encoding", "a file's text was dropped"
        expected = {u.utterance_id for u in whole.utterances}
        if part == "labels" and damage[0] == "cut":
            left = labels.read_text("iso-8859-1")
            expected -= {u.utterance_id for u in own if f"\t{u.utterance_id}\t" not in left}
    accounted(outcome, expected)
    before = {u.utterance_id: u for u in whole.utterances}
    for utterance in outcome.manifest.utterances:
        known = before[utterance.utterance_id]
        assert (utterance.emotion, utterance.speaker) == (known.emotion, known.speaker)
        changed = part in ("transcripts", "words") and utterance in own_of(outcome.manifest)
        assert changed or utterance.transcript == known.transcript
    if part == "words":
        first = next(u for u in outcome.manifest.utterances if u.utterance_id == lines[0].split()[0])
        assert first.transcript == (damage.strip() or None)
    if part == "transcripts" and damage[0] in ("line ends", "mark", "twice"):
        assert [u.transcript for u in own_of(outcome.manifest)] == [u.transcript for u in own]


def own_of(manifest: Manifest) -> list[Any]:
    return [u for u in manifest.utterances if u.utterance_id.startswith(DIALOG)]


ACTORS = (1, 4, 8, 3)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ravdess") / "a.wav"
    sound = Sound(0.02, 300.0, 1_500.0)
    soundfile.write(path, sound.sampled(48_000), 48_000, subtype="PCM_16")
    return path


FILE_NAMES = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=30)


@cases(
    "RAVDESS",
    what=st.one_of(
        st.tuples(st.just("audio"), DAMAGE),
        st.tuples(st.just("name"), FILE_NAMES),
        st.tuples(st.just("name flipped"), st.tuples(PLACE, st.integers(0, 6))),
        st.tuples(st.just("two formats"), st.none()),
        st.tuples(
            st.just("actor"), st.sampled_from(["dangling", "loop", "file", "empty", "nested", "converted", "renamed"])
        ),
    ),
    on_error=st.sampled_from(["fail", "skip"]),
)
def test_ravdess_with_one_defect(spoken: Path, what: tuple[str, Any], on_error: Any) -> None:
    part, damage = what
    stems = {
        f"03-01-{emotion:02d}-01-{statement:02d}-{repetition:02d}-{actor:02d}"
        for actor in ACTORS
        for emotion in (1, 3)
        for statement in (1, 2)
        for repetition in (1, 2)
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for stem in stems:
            (root / f"Actor_{stem[-2:]}").mkdir(exist_ok=True)
            os.link(spoken, root / f"Actor_{stem[-2:]}" / f"{stem}.wav")
        actor = root / "Actor_04"
        path = actor / "03-01-03-01-02-01-04.wav"
        shutil.copy(path, root / "copy")
        path.unlink()
        shutil.move(root / "copy", path)
        match part:
            case "audio":
                spoil(path, *damage)
            case "name" | "name flipped":
                name = damage if part == "name" else flipped(path.stem.encode(), *damage).decode()
                assume("/" not in name and "\0" not in name and not name.startswith("._"))
                path.rename(actor / f"{name}.wav")
                stems -= {path.stem}
                # Video and songs are left out, as documented.
                if not re.fullmatch(r"0[12](-\d\d){6}|03-02(-\d\d){5}", name):
                    stems |= {name}
            case "two formats":
                shutil.copy(path, path.with_suffix(".flac"))
            case "actor" if damage == "nested":
                (actor / actor.name).mkdir()
                for file in actor.glob("*.wav"):
                    file.rename(actor / actor.name / file.name)
            case "actor" if damage == "converted":
                for file in actor.glob("*.wav"):
                    file.rename(file.with_suffix(".mp3"))
            case "actor" if damage == "renamed":
                actor.rename(root / "actor_4")
            case "actor":
                shutil.rmtree(actor)
                if damage == "empty":
                    actor.mkdir()
                elif damage == "file":
                    actor.touch()
                else:
                    actor.symlink_to(actor if damage == "loop" else root / "nowhere")
        config = CorpusConfig(
            name="ravdess", root=str(root), on_error=on_error, classes=("neutral", "happy"), modalities="both"
        )
        outcome = read(config, root)
        if outcome.manifest is None:
            named = (
                str(actor) in outcome.said
                or str(root / "actor_4") in outcome.said
                or path.stem in outcome.said
                or "-04'" in outcome.said
            )
            assert named or "column 'emotion'" in outcome.said, outcome.said
            assert part != "audio" or on_error == "fail", outcome.said
            return
        assert part not in ("actor", "two formats")
        accounted(outcome, stems)
        words = {"Kids are talking by the door", "Dogs are sitting by the door"}
        assert {u.transcript for u in outcome.manifest.utterances} == words
