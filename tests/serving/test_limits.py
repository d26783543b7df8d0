"""Limits of a request without HTTP: bytes and time of a body, requests at once and per minute, the token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from starlette.types import Message

from raysys.errors import ConfigError
from raysys.serving.limits import LimitedBody, Open, Rate
from raysys.serving.refusals import Refused
from raysys.serving.settings import ServiceSettings
from raysys.serving.token import VARIABLE, digest, refuse_other_token, token_digest

LONG = "0123456789abcdef"


async def read(blocks: Sequence[bytes], *, limit_bytes: int = 10, limit_s: float = 5.0, wait_s: float = 0.0) -> int:
    """Length of a body that arrives in blocks, each after a while."""
    coming = iter(blocks)

    async def receive() -> Message:
        await asyncio.sleep(wait_s)
        return {"type": "http.request", "body": next(coming)}

    body = LimitedBody(receive, limit_bytes, limit_s)
    return sum([len((await body())["body"]) for _ in blocks])


def test_a_body_is_counted_over_all_its_parts() -> None:
    assert asyncio.run(read([b"12345", b"67890"])) == 10
    with pytest.raises(Refused) as refused:
        asyncio.run(read([b"12345", b"67890", b"1"]))
    assert refused.value.status == 413


def test_a_slow_body_is_refused_however_often_something_of_it_arrives() -> None:
    with pytest.raises(Refused) as refused:
        asyncio.run(read([b"1"] * 10, limit_s=0.2, wait_s=0.05))
    assert refused.value.status == 408


def test_a_place_is_free_again_after_a_request_even_if_it_failed() -> None:
    places = Open(1)
    with places.one(), pytest.raises(Refused), places.one():
        pass
    with pytest.raises(ZeroDivisionError), places.one():
        raise ZeroDivisionError
    with places.one():
        pass


def admitted(rate: Rate, client: str, now_s: float) -> int | None:
    """None, or seconds until the next attempt."""
    try:
        rate.admit(client, now_s)
    except Refused as refused:
        return refused.retry_after_s
    return None


def test_a_rate_admits_a_minutes_worth_and_then_one_each_time_its_share_has_passed() -> None:
    rate = Rate(6)
    assert [admitted(rate, "a", 0.0) for _ in range(6)] == [None] * 6
    assert admitted(rate, "a", 0.0) == 10
    assert admitted(rate, "b", 0.0) is None, "another client"
    assert admitted(rate, "a", 4.0) == 6
    assert admitted(rate, "a", 10.0) is None
    assert admitted(rate, "a", 10.0) == 10
    assert [admitted(Rate(0), "a", 0.0) for _ in range(999)] == [None] * 999


def test_a_rate_remembers_a_limited_number_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysys.serving.limits._CLIENTS", 3)
    rate = Rate(1)
    for client in "abcd":
        rate.admit(client, 0.0)
    assert admitted(rate, "a", 0.0) is None and admitted(rate, "d", 0.0) == 60


def test_the_token_comes_from_the_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert token_digest(None) is None
    monkeypatch.setenv(VARIABLE, LONG)
    assert token_digest(None) == digest(LONG)
    (tmp_path / "token").write_text(f"{LONG}x\n")
    assert token_digest(str(tmp_path / "token")) == digest(f"{LONG}x")
    refuse_other_token(f"bearer {LONG}", digest(LONG))
    refuse_other_token(None, None)


@pytest.mark.parametrize("token", ["short", "", "with blanks in it, many", "ümlauts-are-no-ascii-letters"])
def test_a_token_that_cannot_be_used_is_refused_before_the_start(tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token)
    with pytest.raises(ConfigError, match="expected at least 16 printable ones"):
        token_digest(str(tmp_path / "token"))
    with pytest.raises(ConfigError, match="cannot be read"):
        token_digest(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": (2, 1)}, "--replicas 2 1"),
        ({"replicas": (0, 1)}, "--replicas 0 1"),
        ({"max_batch": 0}, "--max-batch is 0"),
        ({"max_seconds": 0}, "--max-seconds is 0"),
        ({"max_megabytes": -1}, "--max-megabytes is -1"),
        ({"rate": -1}, "--rate is -1"),
        ({"gpus_per_replica": -0.5}, "--gpus-per-replica is -0.5"),
        ({"batch_wait_ms": -1}, "--batch-wait-ms is -1"),
    ],
)
def test_values_out_of_range_are_named_by_their_flags(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ServiceSettings.model_validate({"model": "m", **values})
