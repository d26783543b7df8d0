"""Whether a server answers, through a proxy where the environment names one."""

from __future__ import annotations

import base64
import http.client
import socket
import urllib.request
from urllib.parse import SplitResult, unquote, urlsplit

_PORTS = {"http": 80, "https": 443}


def why_unreachable(server: SplitResult, timeout_s: float) -> str | None:
    """Why a connection to a server cannot be opened; None if it can.

    The proxy is the one that requests would choose: of the server's scheme, otherwise of all, and none for hosts in
    no_proxy. A proxy of HTTP is asked for the server if that speaks HTTPS; of others only the proxy is tried.
    """
    proxy = _proxy_of(server)
    try:
        if proxy is None:
            socket.create_connection(_address(server), timeout=timeout_s).close()
        elif (proxy.scheme, server.scheme) == ("http", "https"):
            _tunnel(proxy, server, timeout_s)
        else:
            socket.create_connection(_address(proxy), timeout=timeout_s).close()
    # Invalid host names and ports raise ValueError.
    except (OSError, ValueError, http.client.HTTPException) as error:
        through = "" if proxy is None else f" through the proxy {proxy.hostname}"
        return f"{_without_login(server)} does not answer{through} ({error})"
    return None


def _proxy_of(server: SplitResult) -> SplitResult | None:
    found = urllib.request.getproxies()
    address = found.get(server.scheme) or found.get("all")
    if not address or urllib.request.proxy_bypass(server.netloc.rpartition("@")[2]):
        return None
    return urlsplit(address if "://" in address else f"http://{address}")


def _tunnel(proxy: SplitResult, server: SplitResult, timeout_s: float) -> None:
    """Raises: OSError: the proxy does not open a tunnel to the server."""
    host, port = _address(proxy)
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    login = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}"
    header = {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if proxy.username else {}
    connection.set_tunnel(*_address(server), headers=header)
    try:
        connection.connect()
    finally:
        connection.close()


def _address(url: SplitResult) -> tuple[str, int]:
    return url.hostname or "", url.port or _PORTS.get(url.scheme, 1080)


def _without_login(url: SplitResult) -> str:
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
