"""Six utterances of two dialogs and their predictions, few enough to check scores by hand."""

from __future__ import annotations

import pyarrow as pa

from raysys.data.manifest import Manifest, Utterance

CLASSES = ("ang", "hap")
# Transcript, label, probability of ang, fold, speaker.
ROWS: dict[str, tuple[str | None, str, float, int, str]] = {
    "Ses01_impro01_F000": ("I am here.", "ang", 0.9, 1, "A"),
    "Ses01_script01_F000": ("Where is it?", "ang", 0.2, 1, "A"),
    "Ses01_script01_F001": ("Alone.", "hap", 0.4, 1, "B"),
    "Ses02_impro01_F000": ("i AM, here", "hap", 0.95, 2, "C"),
    "Ses02_script01_F000": ("where is it", "hap", 0.1, 2, "C"),
    "Ses02_script01_F001": (None, "ang", 0.8, 2, "D"),
}


def six_utterances() -> Manifest:
    return Manifest(
        corpus="demo",
        classes=CLASSES,
        utterances=tuple(
            Utterance(utterance_id=name, audio_path="x.wav", speaker=who, emotion=label, transcript=text)
            for name, (text, label, _, _, who) in ROWS.items()
        ),
    )


def six_predictions() -> pa.Table:
    angry = [row[2] for row in ROWS.values()]
    return pa.table(
        {
            "utterance_id": list(ROWS),
            "speaker": [row[4] for row in ROWS.values()],
            "fold": [row[3] for row in ROWS.values()],
            "label": [row[1] for row in ROWS.values()],
            "prediction": ["ang" if p > 0.5 else "hap" for p in angry],
            "p_ang": angry,
            "p_hap": [1 - p for p in angry],
        }
    )
