"""How glibc should treat the memory of a process that trains on a CPU."""

from __future__ import annotations

ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
"""Read when a process starts.

glibc gives large blocks back to the kernel and asks for them again, zeroed page by page, at every step. Kept, three
batches of a small wav2vec 2.0 took 3.7 s instead of 6.7 s, on two cores of a virtual machine. A Tune trial runs in a
thread with an arena of its own, hence one arena for all.
"""
