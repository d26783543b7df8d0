"""Write a trained model as ONNX, in float32 and int8, with its tokenizer and an example: it predicts without PyTorch.

Example: export runs/mine --onnx
"""

from dataclasses import dataclass
from typing import Annotated

import tyro

from raysys.cli import exit_codes
from raysys.errors import ExportError


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Folder or address of a model, or of a run with a final model."""
    onnx: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The format, so far the only one. Needs the extra of the same name: pip install 'raysys[onnx]'."""
    out: str | None = None
    """Folder to write to; by default 'onnx' in MODEL."""


def main() -> None:
    with exit_codes():
        command = tyro.cli(Export, description=__doc__)
        if not command.onnx:
            raise ExportError(f"export {command.model}: no format given; add --onnx.")
        from raysys.export.runtime import refuse_missing_onnx

        refuse_missing_onnx()
        from raysys.export import export_onnx
        from raysys.inference import load_model
        from raysys.storage import Folder

        out = Folder.at(command.out or f"{command.model}/onnx")
        done = export_onnx(load_model(command.model), out)
        graphs = (("model.onnx", done.size, done.difference), ("model.int8.onnx", done.size_int8, done.difference_int8))
        for name, size, difference in graphs:
            print(
                f"{name:<16} {size / 1e6:7.1f} MB  made utterances: within {difference:.1e} of PyTorch's probabilities"
            )
        print(f"{out.location}/README.md")
