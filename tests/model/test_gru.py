"""The CPU recurrence, and rows ordered on the host, have the same outputs and gradients as torch.nn.GRU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from raysys.model.gru import bidirectional_gru, packed_gru

torch.set_num_threads(1)


def make(*, width: int = 6, lengths: tuple[int, ...] = (7, 1, 4, 7)) -> tuple[torch.nn.GRU, Tensor, Tensor]:
    torch.manual_seed(0)
    gru = torch.nn.GRU(width, width // 2, batch_first=True, bidirectional=True, dtype=torch.float64)
    sequence_BUD = torch.randn(len(lengths), max(lengths), width, dtype=torch.float64, requires_grad=True)
    return gru, sequence_BUD, torch.tensor(lengths)


def packed(gru: torch.nn.GRU, sequence_BUD: Tensor, lengths_B: Tensor) -> Tensor:
    rows = pack_padded_sequence(sequence_BUD, lengths_B, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(gru(rows)[0], batch_first=True, total_length=sequence_BUD.shape[1])[0]


@pytest.mark.parametrize("lengths", [(7, 1, 4, 7), (1,), (1, 1, 1), (40, 13)])
def test_outputs_and_all_gradients_are_torchs(lengths: tuple[int, ...]) -> None:
    gru, sequence_BUD, lengths_B = make(lengths=lengths)
    wanted = torch.randn(len(lengths), max(lengths), 6, dtype=torch.float64)
    found: list[list[Tensor]] = []
    for run in (packed, bidirectional_gru, packed_gru):
        output_BUD = run(gru, sequence_BUD, lengths_B)
        gradients = torch.autograd.grad((output_BUD * wanted).sum(), [sequence_BUD, *gru.parameters()])
        found.append([output_BUD.detach(), *gradients])
    for expected, on_a_cpu, on_a_gpu in zip(*found, strict=True):
        torch.testing.assert_close(on_a_cpu, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(on_a_gpu, expected, rtol=1e-12, atol=1e-12)


def test_gradients_agree_with_finite_differences() -> None:
    gru, sequence_BUD, lengths_B = make(width=4, lengths=(3, 2))
    torch.autograd.gradcheck(lambda x: bidirectional_gru(gru, x, lengths_B), (sequence_BUD,))


def test_an_evaluation_keeps_no_graph() -> None:
    gru, sequence_BUD, lengths_B = make()
    with torch.inference_mode():
        inferred_BUD = bidirectional_gru(gru, sequence_BUD, lengths_B)
    torch.testing.assert_close(inferred_BUD, bidirectional_gru(gru, sequence_BUD, lengths_B), rtol=0, atol=0)
