"""Names of Ray that are not public, each with what breaks without it: the first thing to read where Ray is raised.

Ray's version has an upper bound in pyproject.toml for these. The effects themselves are tested on real clusters.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from ray._private import node, ray_constants, services

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("where", "name", "without"),
    [
        (services, "ConsolePopen", "`timeout` and Ctrl-C kill a run's own cluster before its trials save their state"),
        (services, "canonicalize_bootstrap_address", "--cluster.address auto waits ten minutes for a dead cluster"),
        (ray_constants, "ENABLE_RAY_CLUSTER", "a private cluster listens on the network"),
        (ray_constants, "ENABLE_RAY_CLUSTERS_ENV_VAR", "a private cluster listens on the network"),
        (node.Node, "start_monitor", "the first step comes 1.5 CPU seconds later"),
        (node.Node, "start_log_monitor", "the first step comes 1 CPU second later"),
        (node.Node, "start_api_server", "the first step comes 1.5 CPU seconds later"),
    ],
)
def test_it_is_still_there(where: Any, name: str, without: str) -> None:
    assert hasattr(where, name), without


def test_ray_has_an_upper_bound() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (ray,) = (requirement for requirement in map(Requirement, listed) if requirement.name == "ray")
    assert "2.60.9" in ray.specifier and "2.61.0" not in ray.specifier
