"""Bidirectional GRU recurrence for CPUs, without an autograd node for every operation of every time step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from raysys.data.pinned import sent


def bidirectional_gru(gru: nn.GRU, sequence_BUD: Tensor, lengths_B: Tensor) -> Tensor:
    """Output of a one-layer bidirectional `gru` for a packed sequence, up to rounding: BUx2H, zero at padding.

    PyTorch runs the two directions one after the other, and its backward pass accumulates the weight gradients step by
    step. Here each step is one batched product for both directions, and the weight gradients are one product.

    Args:
        gru: batch first, H = hidden size.
        sequence_BUD: the valid positions of each row come first.
        lengths_B: number of valid positions, at least 1.
    """
    longest = sequence_BUD.shape[1]
    position_U = torch.arange(longest, device=sequence_BUD.device)
    valid_BU = position_U < lengths_B[:, None]
    # Reversed in time: the last valid position comes first, padding stays at the end.
    mirror_BU = torch.where(valid_BU, lengths_B[:, None] - 1 - position_U, position_U)
    (ahead_GD, ahead_GH, ahead_G, ahead_hidden_G), (back_GD, back_GH, back_G, back_hidden_G) = gru.all_weights
    forward_BUG = nn.functional.linear(sequence_BUD, ahead_GD, ahead_G)
    backward_BUG = nn.functional.linear(sequence_BUD, back_GD, back_G)
    index_BUG = mirror_BU[..., None].expand(-1, -1, backward_BUG.shape[-1])
    inputs_U2BG = torch.stack([forward_BUG, backward_BUG.gather(1, index_BUG)]).permute(2, 0, 1, 3)
    weights_2GH = torch.stack([ahead_GH, back_GH])
    biases_2G = torch.stack([ahead_hidden_G, back_hidden_G])
    states_U2BH: Tensor = _Recurrence.apply(inputs_U2BG, weights_2GH, biases_2G)  # type: ignore[no-untyped-call]
    ahead_BUH, back_BUH = states_U2BH.permute(1, 2, 0, 3)
    back_BUH = back_BUH.gather(1, mirror_BU[..., None].expand(-1, -1, back_BUH.shape[-1]))
    return torch.cat([ahead_BUH, back_BUH], dim=-1) * valid_BU[..., None]


def packed_gru(gru: nn.GRU, sequence_BUD: Tensor, lengths_B: Tensor) -> Tensor:
    """The same by PyTorch's own, for GPUs. Rows are ordered here: PyTorch would wait until their order has arrived.

    Args:
        gru: batch first.
        sequence_BUD: the valid positions of each row come first.
        lengths_B: number of valid positions, at least 1, on the CPU.
    """
    sorted_B, order_B = lengths_B.sort(descending=True)
    there_B, back_B = (sent(index_B, sequence_BUD.device) for index_B in (order_B, order_B.argsort()))
    packed = pack_padded_sequence(sequence_BUD.index_select(0, there_B), sorted_B, batch_first=True)
    output_BUD, _ = pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=sequence_BUD.shape[1])
    return output_BUD.index_select(0, back_B)


class _Recurrence(torch.autograd.Function):
    """h_t = (1 - z) n + z h_(t-1) for both directions (Cho et al. 2014, in PyTorch's form):

    r, z = sigmoid(x_rz + W_rz h + b_rz), n = tanh(x_n + r (W_n h + b_n)).
    """

    @staticmethod
    def forward(ctx: Any, inputs_U2BG: Tensor, weights_2GH: Tensor, biases_2G: Tensor) -> Tensor:
        _, directions, n_rows, gates = inputs_U2BG.shape
        width = gates // 3
        transposed_2HG = weights_2GH.transpose(1, 2).contiguous()
        biases_21G = biases_2G[:, None]
        # Saved for backward at each step: r and z, n, and W_n h + b_n.
        rz_U2BG = inputs_U2BG[..., : 2 * width].contiguous()
        n_U2BH = inputs_U2BG[..., 2 * width :].contiguous()
        candidate_U2BH = torch.empty_like(n_U2BH)
        states_U2BH = torch.empty_like(n_U2BH)
        state_2BH = inputs_U2BG.new_zeros(directions, n_rows, width)
        hidden_2BG = inputs_U2BG.new_empty(directions, n_rows, gates)
        for rz, n, candidate, next_state in zip(rz_U2BG, n_U2BH, candidate_U2BH, states_U2BH, strict=True):
            torch.baddbmm(biases_21G, state_2BH, transposed_2HG, out=hidden_2BG)
            rz.add_(hidden_2BG[..., : 2 * width]).sigmoid_()
            candidate.copy_(hidden_2BG[..., 2 * width :])
            n.addcmul_(rz[..., :width], candidate).tanh_()
            torch.lerp(n, state_2BH, rz[..., width:], out=next_state)
            state_2BH = next_state
        ctx.save_for_backward(rz_U2BG, n_U2BH, candidate_U2BH, states_U2BH, weights_2GH)
        return states_U2BH

    @staticmethod
    def backward(ctx: Any, grad_U2BH: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        rz_U2BG, n_U2BH, candidate_U2BH, states_U2BH, weights_2GH = ctx.saved_tensors
        steps, directions, n_rows, width = n_U2BH.shape
        before_U2BH = torch.cat([states_U2BH.new_zeros(1, directions, n_rows, width), states_U2BH[:-1]])
        r, z = rz_U2BG[..., :width], rz_U2BG[..., width:]
        # Independent of the next step's gradient, so for all steps at once: d h_t / d (gate before its nonlinearity).
        through_n = (1 - z) * (1 - n_U2BH.square())
        factors_U2BG = torch.cat(
            [through_n * candidate_U2BH * r * (1 - r), (before_U2BH - n_U2BH) * z * (1 - z), through_n * r], dim=-1
        )
        z = z.contiguous()
        flow_2BH = grad_U2BH.new_zeros(directions, n_rows, width)
        hidden_U2BG = torch.empty_like(factors_U2BG)
        arriving_U2BH = torch.empty_like(n_U2BH)
        for t in range(steps - 1, -1, -1):
            arriving = torch.add(grad_U2BH[t], flow_2BH, out=arriving_U2BH[t])
            hidden = hidden_U2BG[t]
            torch.mul(
                factors_U2BG[t].view(directions, n_rows, 3, width),
                arriving[:, :, None],
                out=hidden.view(directions, n_rows, 3, width),
            )
            torch.mul(arriving, z[t], out=flow_2BH)
            flow_2BH.baddbmm_(hidden, weights_2GH)
        inputs_U2BG = hidden_U2BG.clone()
        torch.mul(arriving_U2BH, through_n, out=inputs_U2BG[..., 2 * width :])
        flat_2KG = hidden_U2BG.transpose(0, 1).reshape(directions, steps * n_rows, 3 * width)
        states_2KH = before_U2BH.transpose(0, 1).reshape(directions, steps * n_rows, width)
        return inputs_U2BG, torch.bmm(flat_2KG.transpose(1, 2), states_2KH), flat_2KG.sum(dim=1)
