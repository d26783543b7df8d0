"""The token that clients of a service must send; only its digest is kept, so that the cluster never stores it."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from raysys.errors import ConfigError
from raysys.serving.refusals import Refused

VARIABLE = "RAYSYS_SERVE_TOKEN"
_SHORTEST = 16


def token_digest(file: str | None) -> str | None:
    """SHA-256 of the token in a file, or in the environment, as hexadecimal digits; None: there is none.

    Raises:
        ConfigError: the file cannot be read, or the token is too short or cannot be sent in a header.
    """
    if file is None:
        token, where = os.environ.get(VARIABLE, ""), VARIABLE
        if not token:
            return None
    else:
        where = f"--token-file {file}"
        try:
            token = Path(file).read_text().strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{where}: cannot be read ({error}). Expected a file with the token alone.") from error
    if len(token) < _SHORTEST or not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(
            f"{where}: has {len(token)} characters, expected at least {_SHORTEST} printable ones of ASCII without "
            f"blanks. Make one: openssl rand -hex 32."
        )
    return digest(token)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def refuse_other_token(authorization: str | None, expected: str | None) -> None:
    """Compare what a request sends as `Authorization` with the token's digest, in constant time.

    Raises:
        Refused: it is missing or another (401).
    """
    if expected is None:
        return
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(digest(token.strip()), expected):
        raise Refused(
            401,
            "unauthorized",
            "The token is missing." if not authorization else "The token is not the service's.",
            "Send the header Authorization: Bearer TOKEN with the token that the service was started with.",
        )
