"""Folders on a disk or in an object store: the same interface, and files are complete or absent."""

from __future__ import annotations

import os
import pickle
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from raysys import lock, storage
from raysys.errors import StorageError
from raysys.storage import Folder, absolute, is_address
from tests.store import Store


@pytest.fixture(params=["path", "file", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "path":
            return str(tmp_path / "runs")
        case "file":
            return f"file://{tmp_path}/runs"
        case _:
            return f"memory://bucket-{uuid.uuid4().hex}/runs"


def test_reading_returns_what_was_written(location: str) -> None:
    folder = Folder.at(location) / "folds" / "1"
    table = pa.table({"a": [1, 2]})
    folder.write_bytes("x.bin", b"\0abc")
    folder.write_json("x.json", {"name": "Zoë", "scores": [0.5, None]})
    folder.write_table("x.parquet", table)
    again = Folder.at(folder.location)
    assert again.read_bytes("x.bin") == b"\0abc"
    assert again.read_json("x.json") == {"name": "Zoë", "scores": [0.5, None]}
    assert again.read_table("x.parquet").equals(table)
    assert again.names() == ["x.bin", "x.json", "x.parquet"]


def test_a_folder_that_does_not_exist_is_empty(location: str) -> None:
    folder = Folder.at(location)
    assert folder.names() == []
    assert not folder.exists("x")
    folder.delete("x")


def test_a_second_write_replaces_the_first_and_delete_removes(location: str) -> None:
    folder = Folder.at(location)
    folder.write_bytes("x", b"a longer first one")
    folder.write_bytes("x", b"second")
    assert folder.read_bytes("x") == b"second"
    assert folder.exists("x")
    folder.delete("x")
    assert not folder.exists("x")
    assert folder.names() == []


def test_a_file_address_is_the_path(tmp_path: Path) -> None:
    Folder.at(f"file://{tmp_path}/runs/").write_bytes("x", b"1")
    assert (tmp_path / "runs" / "x").read_bytes() == b"1"
    assert Folder.at(f"file://{tmp_path}/runs").is_local
    assert not Folder.at("memory://bucket").is_local


def test_a_folder_can_be_pickled(tmp_path: Path) -> None:
    folder = pickle.loads(pickle.dumps(Folder.at(str(tmp_path)) / "a"))
    folder.write_bytes("x", b"1")
    assert (tmp_path / "a" / "x").read_bytes() == b"1"


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = Folder.at(str(tmp_path))
    folder.write_bytes("x", b"old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(StorageError, match=r"x: cannot be written .*No space left"):
        folder.write_bytes("x", b"new")
    assert folder.read_bytes("x") == b"old"
    assert folder.names() == ["x"]


def test_a_location_that_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file/runs/x: cannot be written"):
        Folder.at(str(tmp_path / "file" / "runs")).write_bytes("x", b"")


def test_an_address_that_nothing_opens_names_its_scheme_and_what_to_install() -> None:
    with pytest.raises(StorageError, match=r"nosuch://bucket/runs: .*Install its fsspec"):
        Folder.at("nosuch://bucket/runs")


@pytest.mark.parametrize(
    "key", ["hidden-hidden", "hidden/hid+den=", "hid@den/x", "hid?den", "hid#den", "hid:den", "hid den"]
)
def test_a_password_of_any_letters_is_refused_and_not_repeated(key: str) -> None:
    """With a slash, '?' or '#' in it, it is no longer the password part of a URL."""
    with pytest.raises(StorageError, match=r"^s3://AKIA:\.\.\.@bucket/runs: a password in an address") as error:
        Folder.at(f"s3://AKIA:{key}@bucket/runs")
    assert "hid" not in str(error.value) and "den" not in str(error.value)


@pytest.mark.parametrize("scheme", ["s3", "memory", "abfs"])
@pytest.mark.parametrize("rest", ["?region=hidden", "?sig=hidden&x=/y", "#hidden"])
def test_a_query_in_an_address_is_refused_and_not_repeated(scheme: str, rest: str) -> None:
    """It would precede every file name: a trial would write to another place than the driver reads."""
    with pytest.raises(StorageError, match=rf"^{scheme}://bucket/runs: what follows .*AWS_REGION") as error:
        Folder.at(f"{scheme}://bucket/runs{rest}")
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        *((address, "") for address in ("s3://[bucket", "s3://[bucket/runs", "gs://[bucket")),
        # Without its trailing slashes it would be a path on this disk.
        *((address, "has no path") for address in ("s3://", "memory://", "s3:///")),
    ],
)
def test_an_invalid_address_is_named(address: str, said: str) -> None:
    with pytest.raises(StorageError, match=f"^{re.escape(address)}: {said}"):
        Folder.at(address)


def test_a_store_that_refuses_to_open_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    with pytest.raises(StorageError, match=r"^memory://bucket: cannot be opened \(no credentials\)"):
        Folder.at("memory://bucket")


def test_paths_become_absolute_and_addresses_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert absolute("runs") == str(tmp_path / "runs")
    assert absolute("~/runs") == "/home/someone/runs"
    assert absolute("s3://bucket/runs") == "s3://bucket/runs"
    assert is_address("s3://bucket") and not is_address("/s3/bucket")


# An object store that fails


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    opened = Store({"bucket/runs/x": b"short", "bucket/runs/long": bytes(10_000)})
    values = {"AWS_ENDPOINT_URL": opened.address, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in (values | {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storage, "_PAUSES_S", (0.01,) * 4)
    yield opened
    opened.close()


@pytest.mark.parametrize("name", ["x", "long"])
def test_objects_of_any_length_are_read_though_one_request_in_five_fails(store: Store, name: str) -> None:
    """Arrow's client gives up where an error's answer is longer than the object."""
    folder = Folder.at("s3://bucket/runs")
    draw = random.Random(0)
    store.fails = lambda _: 500 if draw.random() < 0.2 else 0
    for _ in range(10):
        assert folder.read_bytes(name) == store.objects[f"bucket/runs/{name}"]
        assert folder.exists(name) and not folder.exists("none")
    with pytest.raises(FileNotFoundError):
        folder.read_bytes("none")


CALLS: dict[str, Callable[[Folder], object]] = {
    "read": lambda folder: folder.read_bytes("x"),
    "exists": lambda folder: folder.exists("x"),
    "names": lambda folder: folder.names(),
    "delete": lambda folder: folder.delete("x"),
    "move": lambda folder: folder.move("x", "y"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_store_that_forbids_is_a_message(store: Store, call: str) -> None:
    folder = Folder.at("s3://bucket/runs")
    store.fails = lambda _: 403
    with pytest.raises(
        StorageError, match=r"^s3://bucket/runs/x?: cannot be read \(.*ACCESS_DENIED.*AWS_ACCESS_KEY_ID"
    ):
        CALLS[call](folder)


def test_a_store_that_is_down_is_a_message_within_a_minute(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(storage, "_PATIENCE_S", 0.0)
    folder = Folder.at("s3://bucket/runs")
    store.close()
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"^s3://bucket/runs/x: cannot be read .*Does the store answer"):
        folder.read_bytes("x")
    assert time.monotonic() - started < 60


def test_a_file_on_a_disk_that_cannot_be_read_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(StorageError, match=rf"^{tmp_path}/x: cannot be read .*Is its disk mounted"):
        Folder.at(str(tmp_path)).read_bytes("x")


def test_a_store_that_goes_down_at_the_end_of_a_run_ends_it_without_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def down(folder: Folder, name: str, what: str, *_: object) -> None:
        raise StorageError(f"{folder.location}/{name}: cannot be {what}")

    monkeypatch.setattr(lock, "_SETTLED_S", 0.0)
    with lock.locked(Folder.at(f"memory://bucket-{uuid.uuid4().hex}/run")):
        monkeypatch.setattr(Folder, "ask", down)


def test_a_folder_is_deleted_with_everything_in_it_and_nothing_else(location: str) -> None:
    folder = Folder.at(location)
    (folder / "a" / "b").write_bytes("x", b"1")
    (folder / "a").write_bytes("y", b"2")
    folder.write_bytes("z", b"3")
    (folder / "a").delete_all()
    assert not (folder / "a" / "b").exists("x") and folder.names() == ["z"]
    (folder / "a").delete_all()
