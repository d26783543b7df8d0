"""Fixtures for all tests."""

import os
import secrets
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Ray reads its token once a process, so it is set before anything imports Ray.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
# `uv run pytest`: or Ray would start every worker through `uv run` too.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"

CLUSTERS = "tests/ray/"


class _ClustersApart(LoadScopeScheduling):
    """Of two processes one runs what starts clusters, one test after another; the other runs the other files, whole."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return CLUSTERS if file.startswith(CLUSTERS) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ClustersApart(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first."""
    items.sort(key=lambda item: not item.nodeid.startswith(CLUSTERS))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real speech beside the repository; its licence keeps it out, so elsewhere tests skip."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not (folder / "ravdess").is_dir():
        pytest.skip(f"no real speech in {folder} (RAVDESS, which is not part of the repository)")
    return folder
