"""A GPU without memory: whose need it was decides whether a trial is tried again."""

from __future__ import annotations

import pytest
import torch

from raysys.errors import MachineError, TrainingError
from raysys.training.memory import fits_alone, out_of_memory, requested

GIB = 2**30
SAID = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB.\nSee the manual."


def test_the_request_is_read_from_pytorchs_message() -> None:
    assert requested(SAID) == 2 * GIB
    assert requested("Tried to allocate 512.00 MiB.") == GIB // 2
    assert requested("CUDA out of memory.") == 0


def test_a_request_fits_if_it_would_with_nobody_beside_the_process() -> None:
    """20 GiB held and 2 wanted of 80 fit, beside CUDA's own; 78 and 2 do not."""
    assert fits_alone(2 * GIB, 20 * GIB, 80 * GIB)
    assert not fits_alone(2 * GIB, 78 * GIB, 80 * GIB)


@pytest.mark.parametrize(
    ("free", "own", "kind", "said"),
    [
        # A neighbour holds 59 GiB; alone on the GPU; nearly alone, with CUDA's context.
        (
            1,
            20,
            MachineError,
            r"epoch 3: CUDA .* Other processes hold about 59\.0 of the GPU's 80\.0 GiB, this trial 20\.0",
        ),
        (1, 79, TrainingError, r"epoch 3: CUDA .* A smaller --train\.batch-size"),
        (1, 78.5, TrainingError, "needs less memory"),
        # A neighbour, but the training needs more than there is: it would fail alone too.
        (1, 77.5, TrainingError, "needs less memory"),
    ],
)
def test_a_neighbours_memory_is_no_failure_of_the_training(
    free: float, own: float, kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (int(free * GIB), 80 * GIB))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: int(own * GIB))
    error = out_of_memory(torch.OutOfMemoryError(SAID), torch.device("cuda"), "epoch 3")
    with pytest.raises(kind, match=said):
        raise error
