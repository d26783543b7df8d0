"""How a section of the configuration refuses a value."""

from __future__ import annotations

from raysys.errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Raises:
    ConfigError: the condition does not hold.
    """
    if not condition:
        raise ConfigError(message)
