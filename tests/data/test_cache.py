"""The decoded corpus on disk: reads return what was written, and the name depends on the bytes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysys.data.cache import INDEX, INDEX_SCHEMA, WaveformStore, cache_name, is_whole, write_index, write_part
from raysys.data.manifest import Manifest, Utterance, build_manifest
from raysys.errors import StorageError
from raysys.storage import Folder

WAVEFORMS = {
    name: np.random.default_rng(i).normal(0, 0.1, n).astype(np.float32)
    for i, (name, n) in enumerate({"a": 1_000, "b": 1, "c": 40_000}.items())
}


def write_store(location: str) -> None:
    folder = Folder.at(location)
    places = write_part(folder, "part-00000.arrow", [WAVEFORMS["a"], WAVEFORMS["b"]])
    places += write_part(folder, "part-00001.arrow", [WAVEFORMS["c"]])
    rows: list[dict[str, Any]] = [{"utterance_id": name, **place} for name, place in zip("abc", places, strict=True)]
    rows.append({"utterance_id": "broken", "error": "does not decode"})
    write_index(folder, pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))


@pytest.mark.parametrize("where", ["disk", "memory://waveforms/store"])
def test_waveforms_are_read_back_bit_for_bit_in_any_order(tmp_path: Path, where: str) -> None:
    location = str(tmp_path) if where == "disk" else where
    write_store(location)
    store = WaveformStore(location)
    for name in ("c", "a", "b", "a"):
        np.testing.assert_array_equal(store.get(name), WAVEFORMS[name])
        assert store.get(name).dtype == np.float32


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_half_precision_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    """Features of all layers of a frozen encoder are stored so."""
    folder = Folder.at(str(tmp_path))
    features = [np.random.default_rng(n).normal(size=n).astype(np.float16) for n in (7, 1, 300)]
    rows = [{"utterance_id": f"u{i}", **place} for i, place in enumerate(write_part(folder, "part.arrow", features))]
    write_index(folder, pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    store = WaveformStore(folder.location)
    for i, expected in enumerate(features):
        found = store.get(f"u{i}")
        assert found.dtype == np.float16 and np.array_equal(found, expected)
    assert (tmp_path / "part.arrow").stat().st_size < 2 * 308 + 3_000
    assert [len(batch) for batch in pa.ipc.open_file(str(tmp_path / "part.arrow")).read_all()["waveform"].chunks]


def written(location: str, waveforms: dict[str, np.ndarray]) -> WaveformStore:
    folder = Folder.at(location)
    places = write_part(folder, "part-00000.arrow", list(waveforms.values()))
    rows = [{"utterance_id": name, **place} for name, place in zip(waveforms, places, strict=True)]
    write_index(folder, pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    return WaveformStore(location)


def test_samples_of_16_bits_take_16_and_are_read_back_bit_for_bit(tmp_path: Path) -> None:
    every = np.arange(-32768, 32768, dtype=np.float32) / np.float32(32768)
    odd = {
        "halves": np.array([1.5], np.float32) / np.float32(32768),
        "one": np.array([0.5, 1.0], np.float32),
        "negative zero": np.array([0.0, -0.0], np.float32),
        "late": np.append(every, np.float32(1e-9)),
        "huge": np.array([0.5, 1e30], np.float32),
    }
    store = written(str(tmp_path), {"every": every, **odd, "again": every[::-1]})
    for name, expected in {"every": every, **odd, "again": every[::-1]}.items():
        found = store.get(name)
        assert found.dtype == np.float32 and not found.flags.writeable
        assert found.tobytes() == expected.tobytes(), name
        assert store.samples(name) == len(expected) == store.lengths([name])[0]
    assert store.lengths(["late", "every"]).tolist() == [65537, 65536] and not len(store.lengths([]))
    for absent in ("no such id", "neither"):
        with pytest.raises(KeyError, match=absent):
            store.lengths(["every", absent])
    assert store.n_bytes == 2 * 2 * len(every) + 4 * sum(map(len, odd.values()))
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["part-00000-int16.arrow"] < 2 * 2 * len(every) + 2_000
    assert sizes["part-00000.arrow"] < 4 * len(every) + 4_000


def test_the_parts_of_an_entry_are_looked_for_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MSP-Podcast has 2,000: one by one, an object store takes minutes."""
    asked: list[str] = []
    ask = Folder.ask
    monkeypatch.setattr(Folder, "ask", lambda self, name, *rest: (asked.append(name), ask(self, name, *rest))[1])

    def requests(n_parts: int) -> int:
        folder = Folder.at(str(tmp_path)) / f"{n_parts}"
        rows = []
        for i in range(n_parts):
            places = write_part(folder, f"part-{i}.arrow", [np.full(1, 0.1, np.float32)])
            rows += [{"utterance_id": f"{i}", **place} for place in places]
        write_index(folder, pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
        asked.clear()
        assert is_whole(folder)
        return len(asked)

    assert requests(3) == requests(30)


def test_an_entry_of_other_code_is_rebuilt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name need not tell: that of texts is a hash of the encoder and the texts alone."""
    write_store(str(tmp_path))
    folder = Folder.at(str(tmp_path))
    folder.write_table(INDEX, folder.read_table(INDEX).drop_columns("key"))
    assert not is_whole(folder)
    assert "is rebuilt" in capsys.readouterr().out


def test_an_incomplete_entry_loses_its_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Folder.at(str(tmp_path))
    assert not is_whole(folder)
    write_store(str(tmp_path))
    assert is_whole(folder)
    assert capsys.readouterr().out == ""
    for name, said in (("part-00001.arrow", "part-00001.arrow has"), (INDEX, "cannot be read")):
        write_store(str(tmp_path))
        _cut(tmp_path / name)
        assert not is_whole(folder)
        assert not folder.exists(INDEX)
        assert said in capsys.readouterr().out
    write_store(str(tmp_path))
    (tmp_path / "part-00000.arrow").unlink()
    assert not is_whole(folder)


def test_a_flipped_bit_in_a_waveform_is_detected_and_the_entry_rebuilt(tmp_path: Path) -> None:
    write_store(str(tmp_path))
    part = tmp_path / "part-00000.arrow"
    _flip(part, part.read_bytes().index(WAVEFORMS["a"].tobytes()) + 100)
    assert is_whole(Folder.at(str(tmp_path))), "its length is right"
    store = WaveformStore(str(tmp_path))
    store.get("b")
    with pytest.raises(StorageError, match=r"part-00000\.arrow: utterance a does not match its checksum"):
        store.get("a")
    assert not is_whole(Folder.at(str(tmp_path)))
    # The next reader in the same run gets the error too.
    with pytest.raises(StorageError, match=r"index\.parquet: this cache entry cannot be read"):
        WaveformStore(str(tmp_path))


def test_with_any_flipped_bit_in_a_part_an_utterance_is_correct_or_refused(tmp_path: Path) -> None:
    """Parsed as Arrow, some flips around the waveforms crashed the process that mapped them."""
    write_store(str(tmp_path))
    part = tmp_path / "part-00000.arrow"
    whole = part.read_bytes()
    waveform_at = whole.index(WAVEFORMS["a"].tobytes())
    around = [at for at in range(len(whole)) if not waveform_at <= at < waveform_at + 3_900]
    for at in around:
        _flip(part, at)
        store = WaveformStore(str(tmp_path))
        for name in ("a", "b"):
            try:
                np.testing.assert_array_equal(store.get(name), WAVEFORMS[name])
            except StorageError:
                assert not (tmp_path / INDEX).exists()
                write_store(str(tmp_path))
        part.write_bytes(whole)


def test_arrow_reads_the_files_of_the_cache(tmp_path: Path) -> None:
    write_store(str(tmp_path))
    with pa.memory_map(str(tmp_path / "part-00000.arrow")) as file:
        batches = pa.ipc.open_file(file).read_all()["waveform"].to_pylist()
    np.testing.assert_array_equal(np.array(batches[0], np.float32), WAVEFORMS["a"])


def test_waveforms_are_read_only(tmp_path: Path) -> None:
    """It maps the file itself: augmenting in place would change it for every reader."""
    write_store(str(tmp_path))
    waveform_S = WaveformStore(str(tmp_path)).get("a")
    with pytest.raises(ValueError, match="read-only"):
        waveform_S[0] = 0


def test_an_utterance_that_did_not_decode_is_not_in_the_store(tmp_path: Path) -> None:
    write_store(str(tmp_path))
    with pytest.raises(KeyError):
        WaveformStore(str(tmp_path)).get("broken")


@pytest.fixture
def manifest() -> Manifest:
    utterances = [
        Utterance(utterance_id=name, audio_path=f"/data/{name}.wav", speaker=f"S{i}", emotion=emotion, digest=f"{i}")
        for i, (name, emotion) in enumerate({"a": "joy", "b": "fear"}.items())
    ]
    return build_manifest("table", "x.csv", utterances)


def changed(manifest: Manifest, **values: Any) -> Manifest:
    first = dataclasses.replace(manifest.utterances[0], **values)
    return dataclasses.replace(manifest, utterances=(first, *manifest.utterances[1:]))


@pytest.mark.parametrize("values", [{"digest": "x"}, {"start_s": 0.5}, {"end_s": 0.5}, {"utterance_id": "A"}])
def test_other_bytes_or_another_part_of_a_file_give_another_entry(manifest: Manifest, values: dict[str, Any]) -> None:
    assert cache_name(changed(manifest, **values)) != cache_name(manifest)


@pytest.mark.parametrize("values", [{"audio_path": "/x/a.wav"}, {"emotion": "rage"}, {"transcript": "x"}])
def test_location_label_and_transcript_do_not_change_the_entry(manifest: Manifest, values: dict[str, Any]) -> None:
    assert cache_name(changed(manifest, **values)) == cache_name(manifest)


def test_trimming_gives_another_entry(manifest: Manifest) -> None:
    assert len({cache_name(manifest, trim_db=db) for db in (None, 30.0, 40.0)}) == 3
