"""Fixtures for all tests."""

import os
import secrets
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Ray reads its token once per process, so set it before anything imports Ray.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
# With `uv run pytest`, Ray would otherwise start every worker through `uv run` too.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"

CLUSTERS = "tests/ray/"


class _ClustersApart(LoadScopeScheduling):
    """Run the tests that start clusters in one process, one at a time; the other process runs the other files."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return CLUSTERS if file.startswith(CLUSTERS) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ClustersApart(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest tests first."""
    items.sort(key=lambda item: not item.nodeid.startswith(CLUSTERS))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real speech next to the repository; its licence does not allow including it, so tests skip if it is missing."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not (folder / "ravdess").is_dir():
        pytest.skip(f"no real speech in {folder} (RAVDESS, which is not part of the repository)")
    return folder
