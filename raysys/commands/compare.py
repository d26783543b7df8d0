"""Compare two finished runs over the same corpus: does b beat a by more than chance variation between speakers?"""

from dataclasses import dataclass
from typing import Annotated

import tyro

from raysys.cli import exit_codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    a: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="A")]
    """Folder or address of a finished run; of one with several seeds, the first is compared."""
    b: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="B")]
    """Another finished run over the same corpus. Differences are b minus a."""
    json: str | None = None
    """File (path or address) to write the comparison to."""


def main() -> None:
    with exit_codes():
        command = tyro.cli(Compare, description=__doc__)
        from raysys.report.compare import compare, comparison_table
        from raysys.storage import Folder, absolute

        comparison = compare(Folder.at(command.a), Folder.at(command.b))
        print(comparison_table(comparison))
        if command.json is not None:
            folder, _, name = absolute(command.json).rpartition("/")
            Folder.at(folder or "/").write_json(name, comparison)
