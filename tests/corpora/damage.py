"""Ways in which a file on disk gets damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

PLACE = st.floats(0, 1, exclude_max=True)
DAMAGE = st.one_of(
    st.tuples(st.just("cut"), PLACE),
    st.tuples(st.just("cut in the header"), st.integers(0, 100)),
    st.tuples(st.just("flipped"), PLACE, st.integers(0, 7)),
    st.tuples(st.just("flipped in the header"), st.integers(0, 60), st.integers(0, 7)),
    st.tuples(st.just("bytes"), st.binary(max_size=300)),
    st.tuples(st.just("bytes after its beginning"), st.integers(4, 60), st.binary(max_size=300)),
    st.tuples(st.just("text"), st.text(max_size=100)),
    st.tuples(st.just("more"), st.binary(min_size=1, max_size=100)),
    st.sampled_from([("empty",), ("missing",), ("folder",), ("dangling",), ("loop",), ("unreadable",)]),
)
"""What `spoil` does to a file, drawn by hypothesis."""


def flipped(data: bytes, place: float, bit: int) -> bytes:
    """With one bit flipped."""
    at = min(int(place * len(data)), len(data) - 1)
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def spoil(path: Path, kind: str, *how: Any) -> None:
    data = path.read_bytes()
    match kind:
        case "cut":
            path.write_bytes(data[: int(how[0] * len(data))])
        case "cut in the header":
            path.write_bytes(data[: how[0]])
        case "flipped":
            path.write_bytes(flipped(data, *how))
        case "flipped in the header":
            path.write_bytes(flipped(data, how[0] / len(data), how[1]))
        case "bytes":
            path.write_bytes(how[0])
        case "bytes after its beginning":
            path.write_bytes(data[: how[0]] + how[1])
        case "text":
            path.write_text(how[0])
        case "more":
            path.write_bytes(data + how[0])
        case "empty":
            path.write_bytes(b"")
        case "unreadable":
            path.chmod(0)
            assume(not os.access(path, os.R_OK))
        case _:
            path.unlink()
            if kind == "folder":
                path.mkdir()
            elif kind != "missing":
                path.symlink_to(path if kind == "loop" else path.with_name("nowhere"))
