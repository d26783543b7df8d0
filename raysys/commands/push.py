"""Upload a trained model to the Hugging Face Hub, from where load_model("hf://user/name") loads it.

Example: HF_TOKEN=... push runs/mine me/calls
"""

from dataclasses import dataclass
from typing import Annotated

import tyro

from raysys.cli import exit_codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Folder or address of a model, or of a run with a final model."""
    repo: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="REPO")]
    """Repository, user/name or organisation/name; it is created if it does not exist."""
    private: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Create it as a private one; an existing one stays as it is."""


def main() -> None:
    with exit_codes():
        command = tyro.cli(Push, description=__doc__)
        from raysys.export.push import push_model

        print(push_model(command.model, command.repo, private=command.private))
