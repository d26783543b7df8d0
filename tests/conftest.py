"""Fixtures for all tests."""

import os
import secrets
from pathlib import Path

import pytest

# Ray reads its token once a process, so it is set before anything imports Ray.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
# `uv run pytest`: or Ray would start every worker through `uv run` too.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts clusters comes first, one test after another in one process; the other files run beside it, whole."""
    for item in items:
        cluster = item.get_closest_marker("cluster") is not None
        item.add_marker(pytest.mark.xdist_group("cluster" if cluster else item.path.stem))
    items.sort(key=lambda item: item.get_closest_marker("cluster") is None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real speech beside the repository; its licence keeps it out, so elsewhere tests skip."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not (folder / "ravdess").is_dir():
        pytest.skip(f"no real speech in {folder} (RAVDESS, which is not part of the repository)")
    return folder
