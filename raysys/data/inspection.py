"""Inspect every audio file on the driver, before a GPU is requested.

Does it open, how long is it, and what is the hash of its contents? Files that an earlier start inspected, and that are
as they were, are not read again (see `inspected`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from raysys.data.audio import part_of
from raysys.data.inspected import File, inspect_files
from raysys.data.manifest import Manifest, Skipped, Utterance
from raysys.errors import AudioError, ManifestError

LARGEST_SKIPPED_SHARE = 0.1
"""on_error skip leaves out a few bad files among many; if there are more, something else is wrong."""

_SHOWN = 5


def inspect_audio(
    manifest: Manifest, *, max_duration_s: float, on_error: Literal["fail", "skip"], cache: str | None = None
) -> Manifest:
    """Open every file once, and fill in each utterance's duration_s and digest.

    Integer files are not decoded, but their stated length is compared with what is there; floating-point files are
    decoded, since only they can contain values that are not finite.

    Args:
        manifest: as returned by a reader and `build_manifest`.
        max_duration_s: longest utterance allowed.
        on_error: fail, or move unusable utterances to `manifest.skipped`.
        cache: location where what is found is kept for the next start; None: nowhere.

    Raises:
        ManifestError: with 'fail', one error for all unusable utterances; with 'skip', if they are more
            than a tenth of the corpus, or all utterances of a class.
    """
    paths = sorted({u.audio_path for u in manifest.utterances})
    files = dict(zip(paths, inspect_files(paths, cache), strict=True))
    usable: list[Utterance] = []
    skipped: list[Skipped] = []
    for utterance in manifest.utterances:
        try:
            usable.append(_inspect_part(utterance, files[utterance.audio_path], max_duration_s))
        except AudioError as problem:
            skipped.append(
                Skipped(
                    utterance_id=utterance.utterance_id,
                    audio_path=utterance.audio_path,
                    reason=str(problem),
                )
            )
    if skipped:
        _judge(manifest, usable, skipped, on_error)
    return dataclasses.replace(manifest, utterances=tuple(usable), skipped=(*manifest.skipped, *skipped))


def _inspect_part(utterance: Utterance, file: File | str, max_duration_s: float) -> Utterance:
    """The utterance with duration and digest."""
    if isinstance(file, str):
        raise AudioError(file)
    start, end = part_of(utterance, file.frames, file.rate_hz)
    if not 0 <= start < end <= file.frames:
        end_s = "its end" if utterance.end_s is None else f"{utterance.end_s} s"
        raise AudioError(
            f"lasts {file.frames / file.rate_hz:.3f} s and does not contain the part from "
            f"{utterance.start_s or 0.0} s to {end_s}"
        )
    duration_s = (end - start) / file.rate_hz
    if duration_s > max_duration_s:
        raise AudioError(f"utterance lasts {duration_s:.1f} s, but --corpus.max-duration-s is {max_duration_s:g}")
    return dataclasses.replace(utterance, duration_s=duration_s, digest=file.digest)


def _judge(manifest: Manifest, usable: Sequence[Utterance], skipped: Sequence[Skipped], on_error: str) -> None:
    """Raise unless the unusable utterances may be skipped, and are few enough."""
    counted = f"{len(skipped)} of {len(manifest.utterances)} utterances cannot be used"
    # Utterances from the same bad file all fail for the same reason: one line.
    first_of = {(s.audio_path, s.reason): s.utterance_id for s in reversed(skipped)}
    lines = [f"\n  {path} ({name}): {why}" for (path, why), name in sorted(first_of.items())]
    listed = "".join(lines[:_SHOWN])
    if len(lines) > _SHOWN:
        listed += f"\n  ... and {len(lines) - _SHOWN} more"
    if on_error == "fail":
        raise ManifestError(
            f"{manifest.title}: {counted}:{listed}\nFix these files, or skip them with --corpus.on-error skip."
        )
    lost = sorted({u.emotion for u in manifest.utterances} - {u.emotion for u in usable})
    if lost or len(skipped) > LARGEST_SKIPPED_SHARE * len(manifest.utterances):
        reason = (
            f"no utterance of {', '.join(lost)} would be left"
            if lost
            else f"--corpus.on-error skip allows at most {LARGEST_SKIPPED_SHARE:.0%}"
        )
        raise ManifestError(
            f"{manifest.title}: {counted}, and {reason}:{listed}\nFix these files, or check --corpus.root."
        )
