"""Corpus statistics: size, speakers, durations and duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raysys.data.duplicates import Duplicate, equal_bytes, equal_waveforms
from raysys.data.folds import Fold
from raysys.data.manifest import UNKNOWN, Manifest, Skipped

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusStatistics:
    """Corpus statistics.

    Attributes:
        classes, speakers, sessions: utterances of each; classes in index order, the others sorted.
            Utterances without a session, or of an unknown speaker, are in none.
        unknown: number of utterances of unknown speakers.
        durations_s: of every utterance, sorted.
        with_transcript: number of utterances with a transcript.
        same_bytes: the same stretch of byte-identical files.
        same_waveform: sample-identical after decoding and not already in `same_bytes`; None if waveforms were not
            compared.
    """

    corpus: str
    fingerprint: str
    classes: dict[str, int]
    speakers: dict[str, int]
    sessions: dict[str, int]
    durations_s: tuple[float, ...]
    with_transcript: int
    same_bytes: tuple[Duplicate, ...]
    same_waveform: tuple[Duplicate, ...] | None
    skipped: tuple[Skipped, ...]
    unknown: int = 0


def corpus_statistics(manifest: Manifest, digests: Mapping[str, str] | None = None) -> CorpusStatistics:
    """Compute a manifest's statistics.

    Args:
        manifest: with durations and digests, as `read_corpus` returns it.
        digests: of the decoded waveforms that have a duplicate, by utterance id, see `DecodedCorpus`; None: compare
            only the files' bytes.
    """
    utterances = manifest.utterances
    emotions = Counter(u.emotion for u in utterances)
    same_bytes = equal_bytes(utterances)
    same_waveform = None
    if digests is not None:
        same_waveform = tuple(d for d in equal_waveforms(utterances, digests) if d not in {*same_bytes})
    return CorpusStatistics(
        corpus=manifest.corpus,
        fingerprint=manifest.fingerprint(),
        classes={name: emotions[name] for name in manifest.classes},
        speakers=_counted(u.speaker for u in utterances if u.speaker != UNKNOWN),
        unknown=manifest.n_unknown,
        sessions=_counted(u.session for u in utterances if u.session is not None),
        durations_s=tuple(sorted(u.duration_s or 0.0 for u in utterances)),
        with_transcript=sum(u.transcript is not None for u in utterances),
        same_bytes=same_bytes,
        same_waveform=same_waveform,
        skipped=manifest.skipped,
    )


def statistics_lines(statistics: CorpusStatistics, folds: Sequence[Fold]) -> str:
    """Text for a terminal. Duplicates and skipped utterances are listed, at most the first twenty of each."""
    durations_s = np.array(statistics.durations_s)
    total = len(durations_s)
    lines = [
        f"corpus      {statistics.corpus}, fingerprint {statistics.fingerprint}",
        f"utterances  {total}, {durations_s.sum() / 3600:.2f} h, "
        f"{statistics.with_transcript} with a transcript ({statistics.with_transcript / total:.1%})",
        "classes     " + ", ".join(f"{name} {n} ({n / total:.1%})" for name, n in statistics.classes.items()),
        f"speakers    {_of_speakers(statistics)}",
        f"durations   min {durations_s.min():.2f} s, median {np.median(durations_s):.2f} s, "
        f"mean {durations_s.mean():.2f} s, 95th percentile {np.percentile(durations_s, 95):.2f} s, "
        f"max {durations_s.max():.2f} s",
    ]
    if statistics.sessions:
        lines.append("sessions    " + ", ".join(f"{name} {n}" for name, n in statistics.sessions.items()))
    lines.append(f"folds       {len(folds)}: utterances to train, validate, test")
    lines += [f"  {fold.name}: {len(fold.train)}, {len(fold.validation)}, {len(fold.test)}" for fold in folds]
    lines += _duplicate_lines("equal to the byte", statistics.same_bytes)
    if statistics.same_waveform is not None:
        lines += _duplicate_lines("equal to the sample once decoded, in addition", statistics.same_waveform)
    if statistics.skipped:
        lines.append(f"skipped     {len(statistics.skipped)} utterance(s) that cannot be used")
        lines += _first([f"{s.utterance_id}: {s.audio_path} {s.reason}" for s in statistics.skipped])
    return "\n".join(lines)


def _of_speakers(statistics: CorpusStatistics) -> str:
    unknown = f"{statistics.unknown} utterances of unknown ones" if statistics.unknown else ""
    if not (counts := list(statistics.speakers.values())):
        return unknown
    known = f"{len(counts)}; utterances of each: min {min(counts)}, median {np.median(counts):g}, max {max(counts)}"
    return f"{known}; {unknown}" if unknown else known


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _duplicate_lines(what: str, duplicates: Sequence[Duplicate]) -> list[str]:
    if not duplicates:
        return [f"duplicates  none {what}"]
    return [f"duplicates  {len(duplicates)} group(s) {what}", *_first([_described(d) for d in duplicates])]


def _described(duplicate: Duplicate) -> str:
    line = f"{', '.join(duplicate.utterance_ids)} ({', '.join(duplicate.speakers)}; {', '.join(duplicate.emotions)})"
    if len(duplicate.speakers) > 1:
        line += ": DIFFERENT SPEAKERS, so one may be trained on while another is tested"
    if len(duplicate.emotions) > 1:
        line += ": DIFFERENT CLASSES"
    return line


def _first(lines: Sequence[str]) -> list[str]:
    shown = [f"  {line}" for line in lines[:_SHOWN]]
    return shown if len(lines) <= _SHOWN else [*shown, f"  ... and {len(lines) - _SHOWN} more"]
