"""Fixtures for all tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real speech beside the repository; its licence keeps it out, so elsewhere tests skip."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not (folder / "ravdess").is_dir():
        pytest.skip(f"no real speech in {folder} (RAVDESS, which is not part of the repository)")
    return folder
