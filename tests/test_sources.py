"""Which stored results a code change invalidates: those computed by the changed code, and no others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from raysys.sources import digest_of

PACKAGE = Path(__file__).resolve().parents[1] / "raysys"
ROOTS = {
    "decoded": ("raysys.data.precompute:_decoded", "raysys.data.tasks:make_part"),
    "views": ("raysys.data.views:augmented", "raysys.data.tasks:make_part"),
    "texts": ("raysys.data.texts:new_texts",),
    "audio features": ("raysys.runs.features:encode_audio",),
    "text features": ("raysys.runs.features:encode_texts",),
    "trials": ("raysys.runs.trial:run_trial", "raysys.data.folds:make_folds"),
}
CHANGES = [
    ("augment/lsa.py", "_SMOOTHING = ", "_SMOOTHING = 0.5 * ", {"views", "trials"}),
    ("augment/signal.py", "def add_white_noise(", "def other(): ...\n\n\ndef add_white_noise(", set()),
    ("augment/cbca.py", "_CLIP_NORM = 1.0", "_CLIP_NORM = 2.0", {"texts"}),
    (
        "data/resample.py",
        "_ZEROS, _ROLLOFF, _BETA = 64",
        "_ZEROS, _ROLLOFF, _BETA = 65",
        {"decoded", "views", "trials"},
    ),
    ("data/folds.py", "def make_folds(", "def make_folds(new, ", {"trials"}),
    ("losses/contrastive.py", "def info_nce_pairs(", "def info_nce_pairs(new, ", {"trials"}),
    ("model/light.py", "N_MELS = 80", "N_MELS = 81", {"audio features", "trials"}),
    ("training/evaluation.py", "def predict(", "def predict(new, ", {"trials"}),
    ("adamw.py", "_EPS = 1e-8", "_EPS = 1e-6", {"texts", "trials"}),
    ("report/style.py", "from __future__", "NEW = 1\nfrom __future__", set()),
    ("tracking.py", "_CALL_S = ", "_CALL_S = 2 * ", set()),
    ("runs/cluster.py", "_PROBE_S = ", "_PROBE_S = 2 * ", set()),
    ("cli.py", "from __future__", "NEW = 1\nfrom __future__", set()),
]


def digests(package: Path) -> dict[str, str]:
    return {name: digest_of(*roots, package=package) for name, roots in ROOTS.items()}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PACKAGE, tmp_path / "raysys", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.mark.parametrize(("file", "before", "after", "expected"), CHANGES, ids=[change[0] for change in CHANGES])
def test_a_change_invalidates_what_depends_on_it(
    file: str, before: str, after: str, expected: set[str], package: Path
) -> None:
    path = package / file
    assert path.read_text().count(before) == 1
    path.write_text(path.read_text().replace(before, after))
    found, unchanged = digests(package), digests(PACKAGE)
    assert {name for name in ROOTS if found[name] != unchanged[name]} == expected


@pytest.mark.parametrize("file", ["report/style.py", "augment/lsa.py", "losses/contrastive.py", "training/loop.py"])
def test_a_comment_or_docstring_invalidates_nothing(file: str, package: Path) -> None:
    path = package / file
    opening, rest = path.read_text().split('"""', 1)
    path.write_text(f'# A comment.\n{opening}"""Put otherwise: {rest}\n\n# Another.\n')
    assert digests(package) == digests(PACKAGE)


def test_a_missing_root_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"raysys\.data\.audio defines no decoed"):
        digest_of("raysys.data.audio:decoed")
    with pytest.raises(LookupError, match=r"there is no module raysys\.data\.audo"):
        digest_of("raysys.data.audo:decode")
