"""What is known of audio files: files that are as they were are not read again, and no change goes unnoticed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.data import inspected
from raysys.data.inspected import File, inspect_file, inspect_files

Read = list[str]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three files, which count as settled though the test has just made them."""
    monkeypatch.setattr(inspected, "_SETTLED_NS", -(10**12))
    for number in range(3):
        write(tmp_path / f"{number}.wav", number)
    return [str(tmp_path / f"{number}.wav") for number in range(3)]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Names of the files that were opened."""
    names: Read = []

    def opened(path: str) -> File | str:
        names.append(Path(path).name)
        return inspect_file(path)

    monkeypatch.setattr(inspected, "inspect_file", opened)
    return names


def write(path: Path, seed: int) -> None:
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.1, 0.1, 800), 16_000)


def test_a_second_start_reads_no_file(files: list[str], read: Read, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    first = inspect_files(files, cache)
    assert sorted(read) == ["0.wav", "1.wav", "2.wav"]
    read.clear()
    assert inspect_files(files, cache) == first == [inspect_file(path) for path in files]
    assert inspect_files(files[::-1], cache) == first[::-1]
    assert not read


def _rewrite(path: Path) -> None:
    """Other samples; size, name and the time of modification are as before."""
    before = path.stat()
    write(path, 9)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def _replace(path: Path) -> None:
    before = path.stat()
    write(path.with_suffix(".new.wav"), 9)
    path.with_suffix(".new.wav").replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _lengthen(path: Path) -> None:
    soundfile.write(path, np.zeros(900), 16_000)


@pytest.mark.parametrize("change", [_rewrite, _replace, _lengthen])
def test_a_file_that_changed_is_read_again_and_it_alone(
    files: list[str], read: Read, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    cache = str(tmp_path / "cache")
    before = inspect_files(files, cache)
    read.clear()
    change(Path(files[1]))
    after = inspect_files(files, cache)
    assert read == ["1.wav"]
    assert after == [inspect_file(path) for path in files]
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True]


def test_a_file_that_is_gone_or_broken_is_told_each_time(files: list[str], read: Read, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    inspect_files(files, cache)
    Path(files[0]).unlink()
    Path(files[1]).write_text("no audio")
    for _ in range(2):
        gone, broken, whole = inspect_files(files, cache)
        assert gone == "does not exist" and isinstance(broken, str) and isinstance(whole, File)


def test_a_file_that_has_just_changed_is_not_believed(
    files: list[str], read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change within the same tick of the file system's clock would leave its times as they are."""
    monkeypatch.setattr(inspected, "_SETTLED_NS", 60 * 10**9)
    for _ in range(2):
        read.clear()
        inspect_files(files, str(tmp_path / "cache"))
        assert len(read) == 3


def test_other_code_reads_everything(
    files: list[str], read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(tmp_path / "cache")
    inspect_files(files, cache)
    read.clear()
    monkeypatch.setattr(inspected, "digest_of", lambda root: "another")
    inspect_files(files, cache)
    assert len(read) == 3


def test_a_damaged_list_is_written_again(files: list[str], read: Read, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    expected = inspect_files(files, str(cache))
    (kept,) = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-20])
    assert inspect_files(files, str(cache)) == expected
    read.clear()
    assert inspect_files(files, str(cache)) == expected
    assert not read


def test_the_list_holds_other_corpora_up_to_a_limit(
    files: list[str], read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two corpora in turns do not forget each other; names that are no text are names too."""
    cache = str(tmp_path / "cache")
    odd = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff.wav")
    os.link(files[2], odd)
    inspect_files(files[:2], cache)
    inspect_files([odd], cache)
    read.clear()
    inspect_files(files[:2], cache)
    inspect_files([odd], cache)
    assert not read
    monkeypatch.setattr(inspected, "_MOST_KEPT", 2)
    inspect_files(files[2:], cache)
    read.clear()
    inspect_files(files[2:], cache)
    assert not read
    inspect_files([*files[:2], odd], cache)
    assert len(read) == 2, "one of three was kept"
