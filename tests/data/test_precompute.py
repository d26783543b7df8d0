"""The decoded corpus: what is noted of each utterance when it is decoded, and read by every later start."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.data import precompute
from raysys.data.cache import WaveformStore, cache_name, write_index
from raysys.data.manifest import Utterance, build_manifest
from raysys.data.precompute import decode_corpus
from raysys.data.tasks import Part, make_part
from raysys.storage import Folder


def test_equal_waveforms_are_known_without_reading_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each start read all of every waveform that had a twin in length, on one thread: 92 GB of MSP-Podcast."""
    sound = np.random.default_rng(0).integers(-3000, 3000, 20_000, np.int16)
    early, late = sound.copy(), sound.copy()
    early[500] += 1
    late[-1] += 1
    files = {"a": sound, "early": early, "late": late, "c": sound, "alone": sound[:100], "silent": sound[:100] * 0}
    for name, samples in files.items():
        soundfile.write(tmp_path / f"{name}.{'flac' if name == 'c' else 'wav'}", samples, 16_000, subtype="PCM_16")
    (tmp_path / "bad.wav").write_text("no audio")
    utterances = [
        Utterance(
            utterance_id=name,
            audio_path=str(tmp_path / f"{name}.{'flac' if name == 'c' else 'wav'}"),
            speaker=name,
            emotion="ab"[i % 2],
        )
        for i, name in enumerate([*files, "bad"])
    ]
    manifest = build_manifest("table", "x", utterances)
    folder = Folder.at(str(tmp_path)) / cache_name(manifest)
    members = [
        {"id": u.utterance_id, "seconds": None, "path": u.audio_path, "start_s": None, "end_s": None}
        for u in manifest.utterances
    ]
    make = partial(precompute._decoded, trim_db=None)
    write_index(folder, make_part(Part(location=folder.location, number=0, members=members, make=make)))
    monkeypatch.setattr(WaveformStore, "get", lambda *_: pytest.fail("a waveform was read"))
    found = decode_corpus(manifest, str(tmp_path), trim_db=None, cpus=1)
    assert set(found.digests) == {"a", "c"} and found.digests["a"] == found.digests["c"]
    assert set(found.errors) == {"bad"} and found.remarks == {"silent": "silent"}
