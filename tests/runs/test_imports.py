"""Imports before the first step: every heavy library delays it by seconds, in each process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
NEVER = ("matplotlib", "scipy", "sklearn", "sympy", "torch._dynamo", "transformers.modeling_utils", "wandb")
DRIVER = "import raysys.runs.crossval"
TRIAL = """
import raysys.runs.worker
from training.little_fold import little_config, little_fold, make_trainer
little, config = little_fold(), little_config()
make_trainer(config, little).fit(little.batches(config), lambda record: None)
"""
TEXTS = """
import torch
from raysys.data.texts import FoldTexts, new_texts
fold = FoldTexts(utterance_ids=("a", "b"), texts=("a glad day", "a sad night"), labels=(0, 1), n_classes=2,
                model="light", conditional=True, k=2, seed=0, threads=1)
new_texts(fold, torch.device("cpu"))
"""


@pytest.mark.parametrize(
    ("code", "without"), [(DRIVER, (*NEVER, "torch", "transformers")), (TRIAL, NEVER), (TEXTS, NEVER)]
)
def test_no_unused_heavy_library_is_imported(code: str, without: tuple[str, ...]) -> None:
    show = f"import sys; print([name for name in {without!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, cwd=TESTS, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
