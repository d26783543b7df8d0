"""Run a command where there is no network but the loopback, and write down where it listened and what it asked for.

    unshare --user --map-root-user --net --mount python loopback.py OUT.json COMMAND ...

A network namespace of its own counts, from zero, the packets that found no way out. Names are asked of a server here,
which knows none. The address where a cloud tells a machine about itself is here too, and silent: Ray asks it.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

_GET_FLAGS, _SET_FLAGS, _SET_ADDRESS, _UP = 0x8913, 0x8914, 0x8916, 0x1
_METADATA = "169.254.169.254"
_LISTENS = "0A"
_NO_SUCH_NAME = 0x8183


def bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, _GET_FLAGS, asked), 16)
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", b"lo", flags | _UP))
        address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(_METADATA))
        fcntl.ioctl(any_socket, _SET_ADDRESS, struct.pack("16s16s8x", b"lo:1", address))


def answer_names(asked: set[str]) -> None:
    """A name server that knows none and keeps what it is asked."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    resolver = tempfile.NamedTemporaryFile("w", suffix=".conf")  # noqa: SIM115
    resolver.write("nameserver 127.0.0.1\n")
    resolver.flush()
    subprocess.run(["mount", "--bind", resolver.name, "/etc/resolv.conf"], check=True)

    def serve() -> None:
        while True:
            question, client = server.recvfrom(1024)
            asked.add(_name(question))
            server.sendto(question[:2] + struct.pack(">H", _NO_SUCH_NAME) + question[4:], client)

    threading.Thread(target=serve, daemon=True).start()


def _name(question: bytes) -> str:
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode())
        at += 1 + question[at]
    return ".".join(labels)


def listening() -> set[str]:
    """Addresses, as the kernel writes them."""
    lines = [line.split() for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()]
    return {line[1].split(":")[0] for line in lines if line[3] == _LISTENS}


def without_a_way() -> int:
    """Packets so far."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:"))
    six = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(six["Ip6OutNoRoutes"])


def main(out: str, *command: str) -> int:
    bring_loopback_up()
    names: set[str] = set()
    answer_names(names)
    process = subprocess.Popen(command)
    found: set[str] = set()
    while process.poll() is None:
        found |= listening()
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    Path(out).write_text(
        json.dumps({"listening": sorted(found), "names": sorted(names), "without a way": without_a_way()})
    )
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
