"""Run a command where there is no network but the loopback, and write down where it listened and what it tried.

    unshare --user --map-root-user --net python loopback.py OUT.json COMMAND ...

A network namespace of its own counts, from zero, the packets that found no way out: one for each connection or name
that something inside asks of the outside.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
from pathlib import Path

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1
_LISTENS = "0A"


def bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, _GET_FLAGS, asked), 16)
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", b"lo", flags | _UP))


def listening() -> set[str]:
    """Addresses, as the kernel writes them."""
    lines = [line.split() for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()]
    return {line[1].split(":")[0] for line in lines if line[3] == _LISTENS}


def tried() -> int:
    """Packets without a way so far."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:"))
    six = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(six["Ip6OutNoRoutes"])


def main(out: str, *command: str) -> int:
    bring_loopback_up()
    process = subprocess.Popen(command)
    found: set[str] = set()
    while process.poll() is None:
        found |= listening()
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    Path(out).write_text(json.dumps({"listening": sorted(found), "tried": tried()}))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
