"""The decoded corpus, and a run's augmented views if it has variants: cache entries read by every trial."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.audio import decode_utterance, trim
from raysys.data.cache import INDEX, WaveformStore, cache_name
from raysys.data.duplicates import waveform_digest
from raysys.data.manifest import Manifest, Utterance
from raysys.data.remarks import Remarked, remarks_on
from raysys.data.tasks import Entry, Member, fill
from raysys.data.views import Source, augmented, views_name
from raysys.errors import AudioError, StorageError, UnreadableError
from raysys.storage import Folder


@dataclass(frozen=True, slots=True)
class DecodedCorpus:
    """A decoded corpus in the cache.

    Attributes:
        errors: by id, for utterances that do not decode.
        remarks: by id, for those that do, see `remarks_on`.
        digests: hashes of the waveforms of which there are several, by id; made when they were decoded.
    """

    location: str
    errors: dict[str, str]
    remarks: dict[str, str]
    digests: dict[str, str]


def decode_corpus(manifest: Manifest, cache: str, *, trim_db: float | None, cpus: int) -> DecodedCorpus:
    """Decode and resample a corpus, unless it is already in the cache.

    Args:
        manifest: its digests name the cache entry.
        cache: location of the cache.
        trim_db: silence to trim from both ends, see `trim`; None: no trimming.
        cpus: number of tasks that run at the same time.

    Raises:
        StorageError: a node cannot read a file; this is not cached, and the next run tries again.
    """
    folder = Folder.at(cache) / cache_name(manifest, trim_db=trim_db)
    members = [
        {
            "id": u.utterance_id,
            "seconds": u.duration_s,
            "path": u.audio_path,
            "start_s": u.start_s,
            "end_s": u.end_s,
        }
        for u in manifest.utterances
    ]
    entry = Entry(location=folder.location, members=members, make=partial(_decoded, trim_db=trim_db))
    what = f"{{n}} utterances are decoded, once for all runs, into at most {_gb(members):.3g} GB"
    fill([entry], at_once=cpus, title="audio", what=what)
    index = folder.read_table(INDEX, ("utterance_id", "error", "remarks", "digest"))
    several = pc.value_counts(index["digest"].drop_null())
    several = several.filter(pc.greater(several.field("counts"), 1)).field("values")
    return DecodedCorpus(
        location=folder.location,
        errors=_by_id(index, "error", pc.is_valid(index["error"])),
        remarks=_by_id(index, "remarks", pc.not_equal(index["remarks"], "")),
        digests=_by_id(index, "digest", pc.is_in(index["digest"], value_set=several)),
    )


def _by_id(index: pa.Table, column: str, chosen: pa.ChunkedArray) -> dict[str, str]:
    """A column of the chosen rows; they are few."""
    rows = index.filter(chosen)
    return dict(zip(rows["utterance_id"].to_pylist(), rows[column].to_pylist(), strict=True))


def make_views(manifest: Manifest, source: Source, cache: str, *, cpus: int) -> tuple[str, ...]:
    """Compute the augmented views of all utterances, one cache entry per variant.

    Args:
        manifest: utterances that decode.
        source: the decoded corpus, the effects, the crop, the seed and the number of variants.
        cache: location of the cache.
        cpus: number of tasks that run at the same time.

    Returns: the location of each variant's views, by variant.
    """
    members = [{"id": u.utterance_id, "seconds": u.duration_s} for u in manifest.utterances]
    decoded = source.store.rsplit("/", 1)[-1]
    entries = [
        Entry(
            location=(Folder.at(cache) / views_name(decoded, source, variant)).location,
            members=members,
            make=partial(_views, source=source, variant=variant),
        )
        for variant in range(source.variants)
    ]
    what = f"{{n}} augmented views are made, once for all trials, about {_gb(members):.3g} GB a variant"
    fill(entries, at_once=cpus, title="views", what=what)
    return tuple(entry.location for entry in entries)


def _gb(members: Sequence[Member]) -> float:
    """As float32."""
    return sum(member["seconds"] or 0.0 for member in members) * 4 * SAMPLE_RATE_HZ / 1e9


def _decoded(members: Sequence[Member], trim_db: float | None) -> Iterator[Remarked | AudioError]:
    for member in members:
        utterance = Utterance(
            utterance_id=member["id"],
            audio_path=member["path"],
            speaker="",
            emotion="",
            start_s=member["start_s"],
            end_s=member["end_s"],
        )
        try:
            decoded = decode_utterance(utterance)
            waveform_S = decoded.waveform_S if trim_db is None else trim(decoded.waveform_S, trim_db)
            yield Remarked(waveform_S, remarks_on(decoded), waveform_digest(waveform_S))
        except UnreadableError as error:
            # Recorded as a fault of the file, the error would be cached, and every later run would believe it.
            raise StorageError(
                f"{member['path']} ({member['id']}): {error} on node {socket.gethostname()}, although the driver could "
                f"read it. Check that the node sees the corpus at this path and is not out of memory or open files. "
                f"The same command resumes."
            ) from error
        except AudioError as error:
            yield error


def _views(members: Sequence[Member], source: Source, variant: int) -> Iterator[np.ndarray]:
    for member in members:
        yield augmented(WaveformStore.opened(source.store).get(member["id"]), source, variant, member["id"])
