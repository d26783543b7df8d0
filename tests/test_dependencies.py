"""No version that is installed, allowed, or on a cluster's nodes has a known flaw in reading untrusted files."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]

FIXED = {
    "aiohttp": ("3.12.14", "CVE-2025-53643, requests smuggled past Ray's dashboard"),
    "certifi": ("2024.7.4", "CVE-2024-39689, a root that is no longer trusted"),
    "filelock": ("3.20.1", "CVE-2025-68146, a link in place of a lock"),
    "fonttools": ("4.60.2", "CVE-2025-66034, a font file that writes elsewhere"),
    "jinja2": ("3.1.6", "CVE-2025-27516, out of the sandbox"),
    "pillow": ("11.3.0", "CVE-2025-48379, a write beyond a buffer"),
    "protobuf": ("6.31.1", "CVE-2025-4565, recursion without an end"),
    "pyarrow": ("14.0.1", "CVE-2023-47248, code in a Parquet file runs"),
    "ray": ("2.52.0", "CVE-2025-62593, a web page that submits jobs; token authentication"),
    "requests": ("2.32.4", "CVE-2024-47081, credentials to another host"),
    "scikit-learn": ("1.5.0", "CVE-2024-5206, training text kept in a vectorizer"),
    "setuptools": ("78.1.1", "CVE-2025-47273, a download that writes elsewhere"),
    "torch": ("2.6.0", "CVE-2025-32434, code runs in spite of weights_only"),
    "transformers": ("5.13.0", "a path in tokenizer_config.json that leaves the folder"),
    "urllib3": ("2.5.0", "CVE-2025-50181, redirects that were forbidden"),
}
"""Package: the first version without a flaw that could be exploited in a run, and the flaw."""


def installed() -> dict[str, Version]:
    return {d.metadata["Name"].lower(): Version(d.version) for d in importlib.metadata.distributions()}


def on_the_nodes() -> dict[str, list[Version]]:
    """Packages in the cluster image: several pins for one package if they depend on Python's version."""
    found: dict[str, list[Version]] = {}
    for line in (ROOT / "cluster" / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            (version,) = (part.version for part in pin.specifier if part.operator == "==")
            found.setdefault(canonicalize_name(pin.name), []).append(Version(version))
    return found


@pytest.mark.parametrize("package", FIXED)
def test_cluster_nodes_have_no_known_flaw(package: str) -> None:
    version, flaw = FIXED[package]
    for found in on_the_nodes().get(package, []):
        assert found >= Version(version), f"{package} {found}: {flaw}"


def test_the_nodes_pins_are_checked() -> None:
    assert {"ray", "torch", "transformers", "pyarrow", "scikit-learn"} <= on_the_nodes().keys()


@pytest.mark.parametrize("package", FIXED)
def test_installed_versions_have_no_known_flaw(package: str) -> None:
    version, flaw = FIXED[package]
    found = installed().get(package)
    if found is not None:
        assert found >= Version(version), f"{package} {found}: {flaw}"


def test_the_oldest_allowed_versions_have_no_known_flaw() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(line) for line in project["dependencies"]]
    known = [requirement for requirement in asked if requirement.name in FIXED]
    assert {"ray", "torch", "transformers", "pyarrow", "scikit-learn"} <= {r.name for r in known}
    for requirement in known:
        (oldest,) = (Version(part.version) for part in requirement.specifier if part.operator == ">=")
        assert oldest >= Version(FIXED[requirement.name][0]), requirement
