"""Recordings of the user's own that augmented views contain: noise, and impulse responses of rooms.

A folder's files are opened and hashed once. The list of them, with the hash, is kept in the cache, and later starts
only compare names, sizes and times. Views read what they need from the files themselves: a corpus of noise has a
hundred hours, of which an epoch hears few.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysys.config import SAMPLE_RATE_HZ, AugmentConfig
from raysys.data.audio import decode
from raysys.data.inspected import File, inspect_file
from raysys.data.manifest import Utterance
from raysys.data.plan import derive_seed
from raysys.errors import AudioError, ConfigError, StorageError
from raysys.storage import Folder, is_address

SUFFIXES = (
    ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".sph", ".w64", ".wav",
    ".webm",
)  # fmt: skip
"""Files that must be audio; others, such as annotations, are left alone."""
LONGEST_ROOM_S = 30.0
"""The longest reverberation of any building lasts about this long; what is longer is another kind of recording."""
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recordings:
    """The audio files in a folder and below it; small, sent to every task.

    Attributes:
        folder: path, the same on every node.
        listed: location of the list of its files, in the cache.
        digest: hash of the files' names and contents.
    """

    folder: str
    listed: str
    digest: str

    def first(self) -> str:
        """Path of one of the files, for checks."""
        return f"{self.folder}/{_files(self.listed)[0][0]}"

    def draw(self, *key: object) -> tuple[str, float]:
        """Path and duration in seconds of a file that the key alone chooses, each as likely as another."""
        files = _files(self.listed)
        name, duration_s = files[derive_seed(*key) % len(files)]
        return f"{self.folder}/{name}", duration_s


def look_for_recordings(augment: AugmentConfig) -> None:
    """Refuse folders without audio, by the names in them: what it tells takes no time.

    Raises:
        ConfigError: a folder is at an address, is not there, cannot be read, or has no audio file in it.
    """
    for flag, folder in augment.folders.items():
        find_audio(folder, flag)


def read_recordings(augment: AugmentConfig, cache: str) -> dict[str, Recordings]:
    """Open every file in the configuration's folders, unless that was done before.

    Args:
        augment: with absolute paths.
        cache: location of the cache.

    Returns: what is in each folder, by its flag.

    Raises:
        ConfigError: see `look_for_recordings`; or a file that cannot be read, is not audio, or, in
            --augment.room-folder, is longer than any room's response.
    """
    return {
        flag: _read(folder, flag, cache, LONGEST_ROOM_S if flag == "--augment.room-folder" else None)
        for flag, folder in augment.folders.items()
    }


def noise_stretch(recordings: Recordings, key: Sequence[object], n_samples: int) -> np.ndarray:
    """A random stretch of a random recording; one that is too short is repeated.

    Args:
        key: what alone decides which.
        n_samples: at 16 kHz.

    Returns: float32, `n_samples` of them.

    Raises:
        StorageError: this process cannot read the file.
    """
    path, duration_s = recordings.draw("noise", *key)
    wanted_s = max(n_samples / SAMPLE_RATE_HZ, _SHORTEST_S)
    start_s = max(0.0, duration_s - wanted_s) * derive_seed("stretch", *key) / 2**63
    stretch_S = _decode(path, start_s, min(duration_s, start_s + wanted_s))
    # Rounding to the file's rate may leave it a sample short.
    return np.resize(stretch_S, n_samples)


def room_response(recordings: Recordings, key: Sequence[object]) -> np.ndarray:
    """A random recording as a whole, at 16 kHz; arguments and errors as of `noise_stretch`."""
    path, duration_s = recordings.draw("room", *key)
    return _decode(path, 0.0, duration_s)


def find_audio(folder: str, flag: str) -> list[str]:
    """Names of the audio files in a folder and below it, relative to it, sorted. Hidden ones, such as those that macOS
    adds, are left out, and links to folders are not followed.

    Raises:
        ConfigError: see `look_for_recordings`.
    """
    if is_address(folder):
        raise ConfigError(
            f"{flag} {folder}: recordings must be on a file system, not at an address. Copy or mount them where every "
            f"node sees them, and give that path."
        )
    root = Path(folder).expanduser()
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "no such folder"
        raise ConfigError(f"{flag} {folder}: {found}. Give a folder with audio files that every node sees.")
    try:
        names = sorted(_below(root))
    except OSError as error:
        raise ConfigError(
            f"{flag} {folder}: {error.filename} cannot be read ({error.strerror}). Fix its permissions, or remove it."
        ) from error
    audio = [name for name in names if name.lower().endswith(SUFFIXES)]
    if not audio:
        counted = f"{len(names)} file{'s' * (len(names) != 1)}"
        raise ConfigError(
            f"{flag} {folder}: there is no audio file among the {counted} in it and below it "
            f"(by their endings: {' '.join(SUFFIXES)}). Give a folder that has some."
        )
    return audio


def _below(root: Path) -> list[str]:
    names: list[str] = []

    def refuse(error: OSError) -> None:
        raise error

    for folder, below, files in os.walk(root, onerror=refuse):
        below[:] = [name for name in below if not name.startswith(".")]
        names += [str((Path(folder) / name).relative_to(root)) for name in files if not name.startswith(".")]
    return names


def _read(folder: str, flag: str, cache: str, longest_s: float | None) -> Recordings:
    names = find_audio(folder, flag)
    kept, name = Folder.at(cache), f"recordings-{_hash([folder, [[n, *_state(f'{folder}/{n}')] for n in names]])}.json"
    found = _known(kept, name)
    if found is None:
        found = _inspected(folder, names, flag)
        # As ASCII: a file's name need not be text.
        kept.write_bytes(name, json.dumps(found).encode())
    too_long = [name for name, duration_s in found["files"] if longest_s is not None and duration_s > longest_s]
    if too_long:
        raise ConfigError(
            f"{flag} {folder}: {too_long[0]} lasts more than {longest_s:g} s, too long for a room's impulse response"
            f"{f' (and {len(too_long) - 1} more)' if len(too_long) > 1 else ''}. Is this a folder of noise, for "
            f"--augment.noise-folder? Otherwise remove the file."
        )
    return Recordings(folder=folder, listed=f"{kept.location}/{name}", digest=found["digest"])


def _inspected(folder: str, names: Sequence[str], flag: str) -> dict[str, Any]:
    """Open every file.

    Returns: a hash of all names and contents, and each file's name and duration in seconds.

    Raises:
        ConfigError: naming the files that cannot be used.
    """
    print(f"reading   recordings: {len(names)} in {folder}, once", flush=True)
    with ThreadPoolExecutor(max_workers=min(32, 4 * (os.cpu_count() or 1))) as pool:
        found = dict(zip(names, pool.map(inspect_file, [f"{folder}/{name}" for name in names]), strict=True))
    files = {name: file for name, file in found.items() if isinstance(file, File)}
    bad = [f"\n  {folder}/{name}: {reason}" for name, reason in found.items() if isinstance(reason, str)]
    if bad:
        more = f"\n  ... and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise ConfigError(
            f"{flag} {folder}: {len(bad)} of {len(names)} audio files cannot be used:{''.join(bad[:_SHOWN])}{more}\n"
            f"Fix these files, or remove them."
        )
    return {
        "digest": _hash([[name, file.digest] for name, file in files.items()]),
        "files": [[name, file.frames / file.rate_hz] for name, file in files.items()],
    }


def _known(kept: Folder, name: str) -> dict[str, Any] | None:
    """What an earlier start found; None if there was none, or its list is damaged."""
    try:
        found: dict[str, Any] = kept.read_json(name)
    except (FileNotFoundError, ValueError):
        return None
    return found


def _state(path: str) -> tuple[int, int]:
    """Size and time of a file; a broken link has neither, and is refused when it is opened."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=8)
def _files(listed: str) -> list[tuple[str, float]]:
    location, name = listed.rsplit("/", 1)
    return [(name, duration_s) for name, duration_s in Folder.at(location).read_json(name)["files"]]


def _decode(path: str, start_s: float, end_s: float) -> np.ndarray:
    part = Utterance(utterance_id="", audio_path=path, speaker="", emotion="", start_s=start_s, end_s=end_s)
    try:
        return decode(part)
    except AudioError as error:
        raise StorageError(
            f"{path}: {error}, although it could be read at the start. Is its folder the same on every node, and "
            f"unchanged? The same command resumes."
        ) from error


def _hash(values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


_SHORTEST_S = 0.01
"""Less than this might be no sample at a low rate."""
