"""A folder in IEMOCAP's real file formats, with its pitfalls, for tests of everything that reads it.

from tests.corpora.iemocap_folder import write_iemocap
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile

CLASSES = ("ang", "hap", "neu", "sad")
RATES_HZ = (16_000, 8_000, 22_050, 44_100, 48_000)
UNTRANSCRIBED = "Ses01F_impro01_F000"
"""The only utterance without a transcript (with `traps`)."""
LEFT_OUT = ("fru", "sur", "fea", "dis", "oth", "xxx")

_WORDS = ("I", "you", "we", "never", "want", "to", "go", "now", "please", "leave", "stay", "it")


def write_iemocap(
    root: Path,
    *,
    sessions: int = 2,
    per_class: int = 2,
    traps: bool = True,
    rates_hz: tuple[int, ...] = RATES_HZ,
    duration_s: tuple[float, float] = (0.3, 0.6),
    seed: int = 0,
) -> Path:
    """Write Session1 ... Session<sessions>: 2 speakers x 4 classes x per_class utterances each.

    The audio is noise, with a class-specific loudness, at all of rates_hz. With traps: labels that
    are left out, excited as well as happy, annotators' files of the same names in subfolders, `._`
    files, turns without words (XX0), Latin-1 and Windows line ends, an utterance without a
    transcript, one FLAC per session.

    Returns: root.
    """
    rng = np.random.default_rng(seed)
    for number in range(1, sessions + 1):
        session = root / f"Session{number}"
        for dialog, turns in _dialogs(number, per_class, traps).items():
            _write_labels(session, dialog, turns, traps)
            _write_transcripts(session, dialog, turns, traps, rng)
            for i, (utterance_id, label) in enumerate(turns):
                samples_S = _noise(rng, label, rates_hz[i % len(rates_hz)], duration_s)
                suffix = "flac" if traps and i == 1 and "script" in dialog else "wav"
                path = session / "sentences" / "wav" / dialog / f"{utterance_id}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples_S, rates_hz[i % len(rates_hz)], subtype="PCM_16")
        if traps:
            _write_traps(session, number)
    return root


def _dialogs(number: int, per_class: int, traps: bool) -> dict[str, list[tuple[str, str]]]:
    """(utterance id, label) by dialog; both speakers occur in each, whoever wore the markers."""
    session = f"Ses{number:02d}"
    names = (f"{session}F_impro01", f"{session}M_impro05a", f"{session}F_script01_1b")
    dialogs: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    turn: dict[tuple[str, str], int] = defaultdict(int)
    for sex in "FM":
        labels = [name for name in CLASSES for _ in range(per_class)]
        if traps:
            labels = ["exc" if name == "hap" and i % 2 else name for i, name in enumerate(labels)]
            labels += LEFT_OUT
        for i, label in enumerate(labels):
            dialog = names[i % len(names)]
            dialogs[dialog].append((f"{dialog}_{sex}{turn[dialog, sex]:03d}", label))
            turn[dialog, sex] += 1
    return {name: turns for name, turns in dialogs.items() if turns}


def _write_labels(session: Path, dialog: str, turns: list[tuple[str, str]], traps: bool) -> None:
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for i, (utterance_id, label) in enumerate(turns):
        lines += [
            f"[{6 + i}.2901 - {6 + i}.9357]\t{utterance_id}\t{label}\t[2.5000, 2.5000, 2.5000]",
            "C-E2:\tNeutral;\t()",
            "C-E3:\tNeutral; Sadness;\t(a little)",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            "",
        ]
    newline = "\r\n" if traps and "impro05a" in dialog else "\n"
    path = session / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(newline.join(lines).encode())


def _write_transcripts(
    session: Path, dialog: str, turns: list[tuple[str, str]], traps: bool, rng: np.random.Generator
) -> None:
    lines = []
    for i, (utterance_id, _) in enumerate(turns):
        words = " ".join(rng.choice(_WORDS, size=4))
        if traps and utterance_id == UNTRANSCRIBED:
            continue
        end = "caf\xe9." if traps and "script" in dialog else "there."
        lines.append(f"{utterance_id} [{6 + i:03d}.2901-{6 + i:03d}.9357]: {words} {end}")
    if traps:
        lines += [
            f"{dialog}_FXX0 [000.0000-001.0000]: [LAUGHTER]",
            f"{dialog}_MXX0 [001.0000-002.0000]: [BREATHING]",
            "M: [GARBAGE]",
            "",
        ]
    path = session / "dialog" / "transcriptions" / f"{dialog}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join(lines).encode("iso-8859-1"))


def _write_traps(session: Path, number: int) -> None:
    dialog = f"Ses{number:02d}F_impro01"
    evaluations = session / "dialog" / "EmoEvaluation"
    # An annotator's file of the same name, in a subfolder, with another label.
    for folder in ("Categorical", "Attribute", "Self-evaluation"):
        (evaluations / folder).mkdir(exist_ok=True)
        line = f"[6.2901 - 6.9357]\t{dialog}_F000\tsad\t[1.0000, 1.0000, 1.0000]\n"
        (evaluations / folder / f"{dialog}.txt").write_text(line)
    macos = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \xa3"
    (evaluations / f"._{dialog}.txt").write_bytes(macos)
    (session / "dialog" / "transcriptions" / f"._{dialog}.txt").write_bytes(macos)
    (session / "sentences" / "wav" / dialog / f"._{dialog}_F000.wav").write_bytes(macos)


def _noise(rng: np.random.Generator, label: str, rate_hz: int, duration_s: tuple[float, float]) -> np.ndarray:
    loudness = {"ang": 0.2, "hap": 0.15, "exc": 0.15, "neu": 0.1, "sad": 0.05}.get(label, 0.1)
    n_samples = int(rng.uniform(*duration_s) * rate_hz)
    return np.clip(rng.normal(0, loudness, n_samples), -1, 1)
