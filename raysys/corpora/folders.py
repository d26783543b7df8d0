"""Helpers shared by the readers of corpus folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from raysys.errors import CorpusError

SOUND = (".wav", ".flac")
_POINTER = b"version https://git-lfs"


def refuse_other_than_folders(paths: Iterable[Path]) -> None:
    """Refuse a session or actor that is not a folder; one behind a broken link would be silently skipped.

    Raises:
        CorpusError: naming the first path that is not a folder.
    """
    for path in paths:
        if not path.is_dir():
            raise CorpusError(
                f"{path}: expected a folder, found {_kind(path)}. Restore the folder, or remove this entry from the "
                "corpus to leave it out."
            )


def corpus_folder(root: Path, expected: str) -> Path:
    """The corpus's folder, absolute.

    Args:
        expected: what it holds as published, for the message.

    Raises:
        CorpusError: there is no such folder.
    """
    root = root.expanduser().absolute()
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder. {expected} Set --corpus.root.")
    return root


def sound_files(folder: Path, endings: tuple[str, ...] = SOUND) -> list[Path]:
    """Audio files at any depth below a folder, the least deep first; without macOS's '._' files.

    Raises:
        CorpusError: they are pointers of Git LFS, which a clone leaves where the files were not fetched.
    """
    found = [p for p in folder.rglob("*") if p.suffix.lower() in endings and not p.name.startswith("._")]
    files = sorted(found, key=lambda path: (len(path.parts), path))
    if files and files[0].is_file():
        with files[0].open("rb") as file:
            refuse_pointer(files[0], file.read(len(_POINTER)))
    return files


def audio_below(root: Path, expected: str, folder: str = "") -> list[Path]:
    """`sound_files` of a corpus, of which there are some.

    Args:
        root: the corpus's folder.
        expected: its layout, for the message.
        folder: where in it they are as published; if it is not there, the root is that folder itself.

    Raises:
        CorpusError: there are none.
    """
    files = sound_files(root / folder if (root / folder).is_dir() else root)
    if not files:
        raise CorpusError(f"{root}: contains no audio. {expected} Set --corpus.root to the folder that holds it.")
    return files


def refuse_pointer(path: Path, data: bytes) -> None:
    """Raises: CorpusError: the bytes, a file's first ones, are those of a pointer of Git LFS."""
    if data.startswith(_POINTER):
        raise CorpusError(
            f"{path}: is a pointer of Git LFS, not the file itself. Fetch the files: git lfs pull, in the corpus's "
            f"folder."
        )


def _kind(path: Path) -> str:
    return "a broken link" if path.is_symlink() else "a file"
