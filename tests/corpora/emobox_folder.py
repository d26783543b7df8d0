"""Folders like EmoBox's data/<corpus>, and the audio beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

MAP = {"angry": "Angry", "Neutral": "Neutral", "sad": "Sad"}
"""Where lines have another case, as EMO-DB's of 'neutral'."""
EMOTIONS = ("angry", "neutral")


def line(corpus: str, name: str, emotion: str, **more: Any) -> dict[str, Any]:
    row = {"key": f"{corpus}-{name}", "dataset": corpus, "wav": f"downloads/{corpus}/wav/{name}.wav", "emo": emotion}
    return row | {"length": 0.3, "channel": 1} | more


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_fold(root: Path, number: int, parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    for part, rows in parts.items():
        write_lines(root / f"fold_{number}" / f"{root.name}_{part}_fold_{number}.jsonl", rows)


def write_metadata(
    root: Path, rows: Sequence[Mapping[str, Any]], speakers: Mapping[str, str], labels: Mapping[str, str] = MAP
) -> None:
    """The files beside the folds. `speakers`: `spk` by key."""
    write_lines(root / f"{root.name}.jsonl", rows)
    (root / "label_map.json").write_text(json.dumps(labels))
    lines = [
        f"{key} 1 {speaker} 0 0.3 <id={key},lang=en,spk={speaker},emotion=x> x\n" for key, speaker in speakers.items()
    ]
    (root / "data.seg.wrd.stm").write_text("".join(lines), encoding="utf-8")


def write_audio(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Noise for every file. Returns: `folder`."""
    generator = np.random.default_rng(0)
    for row in rows:
        path = folder / row["wav"].split("/", 2)[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * generator.standard_normal(4800), 16_000)
    return folder


def write_corpus(folder: Path, speakers: Sequence[str], per_speaker: int = 4, corpus: str = "emodb") -> Path:
    """A corpus whose folds test every fourth utterance, and so share all speakers, as EMO-DB's do.

    Returns: its folder of metadata; the audio is in `folder`/audio.
    """
    root = folder / "data" / corpus
    rows = [
        line(corpus, f"{speaker}{i}", EMOTIONS[(i // 4 + i) % 2]) for speaker in speakers for i in range(per_speaker)
    ]
    write_metadata(root, rows, {row["key"]: row["key"].removeprefix(f"{corpus}-")[:-1] for row in rows})
    for k in range(1, 5):
        tested = [row for i, row in enumerate(rows) if i % 4 == k - 1]
        write_fold(root, k, {"train": [row for row in rows if row not in tested], "test": tested})
    write_audio(folder / "audio", rows)
    return root
