"""Requests that are refused: each with its HTTP status, a code for programs, and how to fix it."""

from __future__ import annotations


class Refused(Exception):
    """A request that cannot be answered.

    Attributes:
        status: of the response.
        code: one word for programs.
        message: what was found, and what was expected.
        how: what the client can do.
        retry_after_s: when another attempt may succeed; None: not by waiting.
    """

    def __init__(self, status: int, code: str, message: str, how: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.how = status, code, message, how
        self.retry_after_s = retry_after_s

    def content(self) -> dict[str, dict[str, str]]:
        return {"error": {"code": self.code, "message": self.message, "how": self.how}}

    def headers(self) -> dict[str, str]:
        found = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def invalid(message: str, how: str) -> Refused:
    return Refused(422, "invalid_request", message, how)


def busy(message: str, retry_after_s: int = 1) -> Refused:
    return Refused(
        429, "busy", message, "Wait for the seconds in Retry-After and send it again.", retry_after_s=retry_after_s
    )


def unavailable(message: str) -> Refused:
    return Refused(503, "unavailable", message, "Send it again in a few seconds.", retry_after_s=5)
