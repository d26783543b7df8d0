"""What the driver and a trial of light encoders import: every heavy library more delays the first step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "transformers.modeling_utils", "torch._dynamo", "torch.distributed.tensor", "sympy", "wandb", "sklearn",
    "matplotlib", "scipy.optimize",
)  # fmt: skip
CODE = """
import sys
import raysys.orchestrate.crossval
from raysys.model.network import Network
from raysys.presets import demo
config = demo()
Network(config.model, n_classes=4, vocab_size=100, loss=config.loss)
print([name for name in {heavy!r} if name in sys.modules])
"""


def test_a_driver_and_a_light_network_need_no_heavy_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(heavy=HEAVY)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
