"""How much a client may ask of the service: bytes and time of a body, requests at once, requests per minute."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import OrderedDict
from collections.abc import Iterator

from starlette.types import Message, Receive

from raysys.serving.refusals import Refused, busy

_CLIENTS = 10_000
"""Addresses that are remembered: more would be an attack on memory."""


def too_large(limit_bytes: int) -> Refused:
    return Refused(
        413,
        "too_large",
        f"The body is larger than {limit_bytes / 1e6:g} MB.",
        "Send a shorter recording, or a compressed one (FLAC, Ogg, MP3); --max-megabytes raises the limit.",
    )


class LimitedBody:
    """Receives a request's body, whatever its headers say about it: counts its bytes, and stops waiting for them.

    Args:
        limit_bytes: most bytes of the body.
        limit_s: most seconds from now to its end.
    """

    def __init__(self, receive: Receive, limit_bytes: int, limit_s: float) -> None:
        self._receive, self._limit_bytes, self._limit_s = receive, limit_bytes, limit_s
        self._end_s = asyncio.get_running_loop().time() + limit_s
        self._found = 0

    async def __call__(self) -> Message:
        """Raises: Refused: too many bytes (413), or too slow (408)."""
        try:
            async with asyncio.timeout_at(self._end_s):
                message = await self._receive()
        except TimeoutError:
            raise Refused(
                408,
                "too_slow",
                f"The body did not arrive within {self._limit_s:g} s.",
                "Send it over a faster connection, or compressed (FLAC, Ogg, MP3).",
            ) from None
        self._found += len(message.get("body", b""))
        if self._found > self._limit_bytes:
            raise too_large(self._limit_bytes)
        return message


def refuse_stated_length(content_length: str | None, limit_bytes: int) -> None:
    """Raises: Refused: a body says that it is too large, so that none of it is read."""
    if content_length is not None and content_length.isdecimal() and int(content_length) > limit_bytes:
        raise too_large(limit_bytes)


class Open:
    """Counts requests that are being read or answered, whose bodies take space, and refuses more than a number."""

    def __init__(self, most: int) -> None:
        self._most, self._now = most, 0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Raises: Refused: there are too many (429)."""
        if self._now >= self._most:
            raise busy(f"{self._now} requests are being answered, as many as there is room for.")
        self._now += 1
        try:
            yield
        finally:
            self._now -= 1


class Rate:
    """At most so many requests per minute from an address, of which a minute's worth may come at once.

    Args:
        per_minute: 0: any number.
    """

    def __init__(self, per_minute: float) -> None:
        self._per_minute = per_minute
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, client: str, now_s: float) -> None:
        """Count a request.

        Raises:
            Refused: too many (429), saying when the next one is admitted.
        """
        if not self._per_minute:
            return
        most = max(1.0, self._per_minute)
        spent, at_s = self._spent.pop(client, (0.0, now_s))
        spent = max(0.0, spent - (now_s - at_s) * self._per_minute / 60)
        # A refused request counts as none.
        admitted = spent + 1 <= most + 1e-9
        self._spent[client] = (spent + 1 if admitted else spent, now_s)
        if len(self._spent) > _CLIENTS:
            self._spent.popitem(last=False)
        if not admitted:
            wait_s = math.ceil((spent + 1 - most) * 60 / self._per_minute)
            raise busy(f"More than {self._per_minute:g} requests per minute came from this address.", max(1, wait_s))
