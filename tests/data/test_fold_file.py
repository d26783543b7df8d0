"""Folds in a file: read back as they were, in a size that does not grow with utterances times folds."""

from __future__ import annotations

import dataclasses
import json

import pytest

from raysys.config import CorpusConfig
from raysys.data.fold_file import count_of, packed, unpacked
from raysys.data.folds import Fold, make_folds
from raysys.data.manifest import Manifest, Utterance, build_manifest


def corpus(n_speakers: int, each: int) -> Manifest:
    return build_manifest(
        "table",
        "x",
        [
            Utterance(
                utterance_id=f"u{i:05d}-s{i % n_speakers}",
                audio_path="a.wav",
                speaker=f"s{i % n_speakers}",
                emotion="ab"[i // n_speakers % 2],
            )
            for i in range(n_speakers * each)
        ],
    )


@pytest.fixture
def manifest() -> Manifest:
    return corpus(5, 4)


@pytest.fixture
def folds(manifest: Manifest) -> tuple[Fold, ...]:
    """Each speaker once, then all data, then a partition that leaves out some utterances and tests others again."""
    rotated = make_folds(manifest, CorpusConfig(name="table", root="x", folds="speaker"))
    names = tuple(u.utterance_id for u in manifest.utterances)
    whole = Fold(index=5, name="all", train=names, validation=(), test=())
    given = Fold(index=6, name="given", train=names[3:9], validation=names[9:12], test=names[:2])
    return (*rotated, whole, given)


def test_folds_are_read_back_as_they_were(manifest: Manifest, folds: tuple[Fold, ...]) -> None:
    values = json.loads(json.dumps(packed(manifest, folds)))
    assert count_of(values) == len(folds)
    assert [unpacked(values, manifest, number) for number in range(len(folds))] == [*folds]


def test_folds_of_early_versions_are_read(manifest: Manifest, folds: tuple[Fold, ...]) -> None:
    values = json.loads(json.dumps([dataclasses.asdict(fold) for fold in folds]))
    assert count_of(values) == len(folds)
    assert [unpacked(values, manifest, number) for number in range(len(folds))] == [*folds]


def test_the_file_holds_each_utterance_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave-one-speaker-out of MSP-Podcast's 1,470 speakers took 9 GB."""

    def size(n_speakers: int, each: int) -> int:
        manifest = corpus(n_speakers, each)
        folds = make_folds(manifest, CorpusConfig(name="table", root="x", folds="speaker"))
        return len(json.dumps(packed(manifest, folds)))

    few, many = size(10, 48), size(60, 8)
    assert many < few + 50 * 100, "a line for each further fold"
    assert size(60, 32) < 4.1 * many
