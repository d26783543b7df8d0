"""How much the augmented views change the audio: measured on some utterances, told at a run's start."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysys.config import AugmentConfig
from raysys.data.plan import derive_seed
from raysys.data.views import Source, training_views

MEASURED = 50
"""Utterances that are compared at most."""
LITTLE_DB = 30.0
"""A difference with less than a thousandth of the power: where the views differ less, the run notes it."""
_LARGEST_DB = 120.0
"""About the resolution of float32: equal views have this ratio too, so that a mean stays finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the second view changes.

    Attributes:
        ratio_db: signal-to-difference ratio, the mean over utterances.
        utterances: how many were compared.
    """

    ratio_db: float
    utterances: int


def difference_ratio_db(clean_S: np.ndarray, view_S: np.ndarray) -> float:
    """Signal-to-difference ratio 10 log10(sum clean^2 / sum (view - clean)^2) in decibels, at most 120.

    0 dB: the difference is as strong as the signal; 30 dB: it has a thousandth of its power.

    Args:
        clean_S: a waveform with sound in it, S samples.
        view_S: another of S samples.

    Raises: ValueError: the lengths differ, or `clean_S` is silent.
    """
    if clean_S.shape != view_S.shape:
        raise ValueError(f"{len(clean_S)} and {len(view_S)} samples; only waveforms of one length are compared.")
    power = float(np.square(clean_S, dtype=np.float64).sum())
    if not power:
        raise ValueError("the clean waveform is silent: nothing is small or large beside it.")
    difference = float(np.square(np.subtract(view_S, clean_S, dtype=np.float64)).sum())
    return min(_LARGEST_DB, 10 * math.log10(power / difference)) if difference else _LARGEST_DB


def mean_change(source: Source, names: Sequence[str]) -> Change | None:
    """Compare the two views of some utterances in their first variant.

    Only those of equal length: a sample of one has no counterpart in another that is played faster. Speed alone, which
    leaves a fifth of the utterances as they are, is therefore not measured.

    Args:
        source: as trials read it; of frozen encoders the waveforms behind their features are compared.
        names: utterances, of which 50 at most are drawn by the run's seed and their ids.

    Returns: None if there is nothing to compare: no second audio view, speed alone, or silence.
    """
    if source.augment is None or not dataclasses.replace(source.augment, speed=False).changes_audio:
        return None
    source = dataclasses.replace(source, features=None)
    found = []
    for name in sorted(names, key=lambda name: derive_seed(source.seed, "change", name))[:MEASURED]:
        clean_S, view_S = training_views(source, name, 0)
        if view_S is not None and view_S.shape == clean_S.shape and clean_S.any():
            found.append(difference_ratio_db(clean_S, view_S))
    return Change(ratio_db=float(np.mean(found)), utterances=len(found)) if found else None


def change_line(change: Change | None, augment: AugmentConfig) -> str | None:
    """What the second view changes, for people; None if nothing was measured and nothing explains it."""
    if change is None:
        return "second view: differs from the first in speed, which is not measured" if augment.speed else None
    counted = f"{change.utterances} utterance{'s' * (change.utterances > 1)}"
    at_speed = " played at the same speed" if augment.speed else ""
    return (
        f"second view: differs from the first by {change.ratio_db:.0f} dB "
        f"(signal to difference, mean of {counted}{at_speed})"
    )


def change_notes(change: Change | None, augment: AugmentConfig, *, contrasts: bool) -> list[str]:
    """A note where the second view is nearly the first, and on what changes more.

    Args:
        contrasts: whether a contrastive term is on; otherwise cross-entropy alone reads both views.
    """
    if change is None or augment.speed or change.ratio_db <= LITTLE_DB:
        return []
    readers = "the contrastive terms compare" if contrasts else "cross-entropy reads"
    return [
        f"the second view hardly changes the audio: its difference from the first is {change.ratio_db:.0f} dB below it "
        f"(over {LITTLE_DB:.0f}), so that {readers} nearly the same audio twice. {_stronger(augment)} change more"
    ]


def _stronger(augment: AugmentConfig) -> str:
    """What is off, or could be set to change more; speed is always among it."""
    noise = "a lower --augment.noise-snr-db" if augment.noise else "--augment.noise"
    off = {"--augment.spec-augment": augment.spec_augment, "--augment.noise-folder": augment.noise_folder}
    off["--augment.room-folder"] = augment.room_folder
    return f"{', '.join(['--augment.speed', *(flag for flag, value in off.items() if not value)])} and {noise}"
