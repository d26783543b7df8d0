"""Known vulnerabilities of everything installed with raysys, here and on a cluster's nodes, from pip-audit.

Exits with 1 if there are any. Some machines can reach a package registry but not the vulnerability database. That is
reported, and is not a failure: tests/test_dependencies.py covers the worst ones and needs no network.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

CLUSTER = Path(__file__).resolve().parents[1] / "cluster" / "requirements.txt"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "requirements.txt"
        pinned = ["uv", "export", "--quiet", "--no-hashes", "--no-emit-project", "--output-file", str(pins)]
        subprocess.run(pinned, check=True, stdout=subprocess.DEVNULL)
        flaws = audit("here", pins) + audit("cluster/requirements.txt", CLUSTER)
    return 1 if flaws else 0


def audit(where: str, pins: Path) -> int:
    """Print the vulnerabilities of pinned packages; return their number, 0 if the database cannot be reached."""
    asked = ["uvx", "pip-audit", "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    answer = subprocess.run([*asked, "--requirement", str(pins)], capture_output=True, text=True)
    try:
        packages = json.loads(answer.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"audit: {where}: pip-audit could not ask: {answer.stderr.strip().splitlines()[-1:]}")
        return 0
    asked_about = [package for package in packages if "vulns" in package]
    flaws = [(package, flaw) for package in asked_about for flaw in package["vulns"]]
    for package, flaw in flaws:
        fixed_in = ", ".join(flaw["fix_versions"]) or "no version yet"
        print(f"audit: {where}: {package['name']} {package['version']}: {flaw['id']}, fixed in {fixed_in}")
    print(
        f"audit: {where}: {len(flaws)} known flaws in {len(asked_about)} of {len(packages)} packages; "
        f"the others are not in it"
    )
    return len(flaws)


if __name__ == "__main__":
    sys.exit(main())
