"""How glibc and oneDNN should treat the memory of a process that trains on a CPU."""

from __future__ import annotations

ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "67108864",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
}
"""Read when a process starts.

glibc gives large blocks back to the kernel and asks for them again, zeroed page by page, at every step. Kept, three
batches of a small wav2vec 2.0 took 3.7 s instead of 6.7 s, on two cores of a virtual machine. A Tune trial runs in a
thread with an arena of its own, hence one arena for all.

Small blocks that are set aside, not given back, hold the heap apart where large ones of a step lay, and the next step's
go elsewhere: over 200 steps of preset `light` a process grew from 1.1 to 1.6 GB. Without caches of small blocks it was
1.1 to 1.25 GB, in the same time.

oneDNN keeps 1024 kernels, one for every shape of a batch, each with memory of its own: 200 steps on utterances of all
lengths ended at 5.1 GB. With 16 of them it was 2.8 GB, in less time.
"""
