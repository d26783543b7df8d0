"""The demo corpus: IEMOCAP's layout, made on this machine on first use.

600 utterances that eSpeak NG speaks, by 10 speakers in 5 sessions with 4 emotions; `demo_script`
says how they are told apart. Read it with the IEMOCAP reader. It shows that the system works from
end to end; it says nothing about real emotion.

eSpeak NG is GPL-3 and keeps a state between utterances, so it runs in a child process of its own
(`demo_synthesis`): importing this module does not load it.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import uuid
import warnings
from pathlib import Path

GENERATOR_VERSION = 1
"""Raise it with every change of script or synthesis: it names the folder."""

CHECKSUM = "a41a91d494ce82e1b407a1ab6e91ca632fbbdf1c9367209f876ac2f779593651"
"""`checksum` of the corpus as espeakng-loader 0.2.4 (eSpeak NG 1.52) makes it on x86-64 Linux."""

_COMPLETE = "COMPLETE"
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


class DemoCorpusError(RuntimeError):
    """The demo corpus cannot be made on this machine; the message says why and how to fix it."""


def ensure_demo(root: Path) -> Path:
    """Return the demo corpus's folder below `root`; make it (seconds, 40 MB) on first use.

    The corpus appears whole or not at all: it is written into a sibling folder of its own and then
    renamed. Of two processes at once both write, one renames first, and the other throws its copy
    away and takes the first one's.

    Warns: the bytes differ from those that the project's tests and numbers were made with.

    Raises: DemoCorpusError: eSpeak NG is not installed, or its process failed.
    """
    folder = Path(root) / f"demo-v{GENERATOR_VERSION}"
    if _is_complete(folder):
        return folder
    if importlib.util.find_spec("espeakng_loader") is None:
        raise DemoCorpusError(
            f"{folder}: the demo corpus is not there yet, and making it needs the package "
            f"espeakng-loader (eSpeak NG, which speaks its utterances). It is GPL-3, so it is an "
            f"optional group and not a dependency. Install it: uv sync --group demo"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    draft.mkdir()
    try:
        _synthesise(draft)
        _mark_complete(draft)
        _publish(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def checksum(folder: Path) -> str:
    """SHA-256 over relative path, length and bytes of every file but the mark, in order of path."""
    digest = hashlib.sha256()
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(files):
        if name == _COMPLETE:
            continue
        content = files[name].read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _is_complete(folder: Path) -> bool:
    try:
        mark = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(mark, dict) and mark.get("generator_version") == GENERATOR_VERSION


def _synthesise(draft: Path) -> None:
    """Speak the corpus into `draft` in a fresh process, which finds this package from anywhere."""
    search_path = os.pathsep.join(filter(None, (str(_PACKAGE_PARENT), os.environ.get("PYTHONPATH"))))
    finished = subprocess.run(
        [sys.executable, "-m", "raysys.corpora.demo_synthesis", str(draft.resolve())],
        env={**os.environ, "PYTHONPATH": search_path},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise DemoCorpusError(
            f"{draft.parent}: making the demo corpus failed (exit status {finished.returncode} of "
            f"{' '.join(finished.args)}). The end of its output:\n"
            f"{finished.stderr[-2000:].strip() or '(none)'}"
        )


def _mark_complete(draft: Path) -> None:
    found = checksum(draft)
    if found != CHECKSUM:
        warnings.warn(
            f"The demo corpus made on this machine differs from the reference: checksum {found}, "
            f"expected {CHECKSUM} (generator version {GENERATOR_VERSION}). It is usable, but "
            f"scores may differ a little from the documented ones. The likely cause is another "
            f"build of eSpeak NG: espeakng-loader 0.2.4 on x86-64 Linux made the reference.",
            stacklevel=3,
        )
    mark = {"generator_version": GENERATOR_VERSION, "checksum": found}
    (draft / _COMPLETE).write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")


def _publish(draft: Path, folder: Path) -> None:
    """Rename `draft` to `folder`, unless another process was faster.

    A folder without its mark is the remains of a deletion, and is replaced.
    """
    try:
        draft.rename(folder)
    except OSError:
        if _is_complete(folder):
            return
        remains = draft.with_name(f"{draft.name}-remains")
        folder.rename(remains)
        shutil.rmtree(remains)
        draft.rename(folder)
