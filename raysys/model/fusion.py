"""The modal fusion module: two cross-modal coding blocks and a bidirectional GRU (METHOD: equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raysys.config import ModelConfig
from raysys.model.dropout import Dropout, attend, dropout
from raysys.model.gru import bidirectional_gru, packed_gru


class CrossModalLayer(nn.Module):
    """One post-norm Transformer layer whose queries come from one modality, keys and values from the other.

    Equation 1: softmax(Q K^T / sqrt(D / heads)) V, Q from the queries, K and V from the context; then residual,
    layer norm, feed-forward with GELU, residual, layer norm (Vaswani et al. 2017).
    """

    def __init__(self, *, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward), nn.GELU(), Dropout(dropout), nn.Linear(feed_forward, width)
        )
        self.output_norm = nn.LayerNorm(width)

    def forward(self, queries_BQD: Tensor, context_BKD: Tensor, context_valid_BK: Tensor) -> Tensor:
        """Args:
            queries_BQD: sequence to update.
            context_BKD: sequence it attends to.
            context_valid_BK: bool; padding never receives attention. Every row has at least one valid position.

        Returns: BQD.
        """
        attended_BQD = self.out(self._attend(queries_BQD, context_BKD, context_valid_BK))
        hidden_BQD = self.attention_norm(queries_BQD + self._drop(attended_BQD))
        return self.output_norm(hidden_BQD + self._drop(self.feed_forward(hidden_BQD)))

    def _attend(self, queries_BQD: Tensor, context_BKD: Tensor, context_valid_BK: Tensor) -> Tensor:
        mixed_BHQd = attend(
            self._split(self.query(queries_BQD)),
            self._split(self.key(context_BKD)),
            self._split(self.value(context_BKD)),
            context_valid_BK[:, None, None, :],
            self.dropout if self.training else 0.0,
        )
        return mixed_BHQd.transpose(1, 2).flatten(2)

    def _split(self, sequence_BTD: Tensor) -> Tensor:
        return sequence_BTD.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _drop(self, tensor: Tensor) -> Tensor:
        return dropout(tensor, self.dropout, self.training)


class CrossModalBlock(nn.Module):
    """A cross-modal coding block: layers whose queries are the previous layer's output, with a shared context."""

    def __init__(self, *, n_layers: int, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossModalLayer(width=width, heads=heads, feed_forward=feed_forward, dropout=dropout)
            for _ in range(n_layers)
        )

    def forward(self, queries_BQD: Tensor, context_BKD: Tensor, context_valid_BK: Tensor) -> Tensor:
        """See `CrossModalLayer`."""
        for layer in self.layers:
            queries_BQD = layer(queries_BQD, context_BKD, context_valid_BK)
        return queries_BQD


def close_up(
    first_BSD: Tensor,
    first_valid_BS: Tensor,
    second_BTD: Tensor,
    second_valid_BT: Tensor,
    longest: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Concatenate two padded sequences in time and move the padding between and behind them to the end.

    Args:
        longest: U, if the host knows it; otherwise it waits for the device to tell.

    Returns: (sequence_BUD, valid_BU) with U the largest sum of valid lengths.
    """
    joint_BUD = torch.cat([first_BSD, second_BTD], dim=1)
    valid_BU = torch.cat([first_valid_BS, second_valid_BT], dim=1)
    n_joint = valid_BU.shape[1]
    # Padding comes last, everything else keeps its order. No two keys are equal, so that any sort will do.
    order_BU = (~valid_BU * n_joint + torch.arange(n_joint, device=valid_BU.device)).argsort(dim=1)
    order_BU = order_BU[:, : valid_BU.sum(dim=1).max() if longest is None else longest]
    index_BUD = order_BU[..., None].expand(-1, -1, joint_BUD.shape[-1])
    return joint_BUD.gather(1, index_BUD), valid_BU.gather(1, order_BU)


class BiGRU(nn.Module):
    """One bidirectional GRU, D -> 2 x D/2, over a sequence without gaps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)

    def forward(self, sequence_BUD: Tensor, valid_BU: Tensor, lengths_host_B: Tensor | None = None) -> Tensor:
        """Args:
            sequence_BUD: the valid positions of each row come first.
            valid_BU: bool; every row has at least one valid position.
            lengths_host_B: number of valid positions, on the CPU; None: a GPU is asked.

        Returns: BUD, zero at padding.
        """
        if not sequence_BUD.is_cuda:
            return bidirectional_gru(self.gru, sequence_BUD, valid_BU.sum(dim=1))
        return packed_gru(
            self.gru, sequence_BUD, valid_BU.sum(dim=1).cpu() if lengths_host_B is None else lengths_host_B
        )


class ModalFusion(nn.Module):
    """CCB1 and CCB2, either of which may be disabled, and the BiGRU over their outputs.

    CCB1: audio attends to text, H (BJD). CCB2: text attends to audio, G (BMD). The fused sequence M holds the valid
    frames of H followed by the valid tokens of G, after one GRU over both (`joint`), one GRU over each (`per_stream`)
    or without a GRU (`none`). A disabled block and its GRU have no parameters.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

        def block(wanted: bool) -> CrossModalBlock | None:
            if not wanted:
                return None
            return CrossModalBlock(
                n_layers=config.n_layers,
                width=config.width,
                heads=config.heads,
                feed_forward=config.feed_forward,
                dropout=config.dropout,
            )

        def gru(wanted: bool) -> BiGRU | None:
            return BiGRU(config.width) if wanted else None

        self.ccb1 = block(config.ccb1)
        self.ccb2 = block(config.ccb2)
        self.bigru = gru(config.bigru == "joint")
        self.bigru1 = gru(config.bigru == "per_stream" and config.ccb1)
        self.bigru2 = gru(config.bigru == "per_stream" and config.ccb2)

    def forward(
        self,
        frames_BJD: Tensor,
        frames_valid_BJ: Tensor,
        tokens_BMD: Tensor,
        tokens_valid_BM: Tensor,
        host_lengths: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Args:
            host_lengths: numbers of valid frames and of valid tokens, on the CPU; None: it waits for the device.

        Returns: the fused sequence M (BUD) and its valid positions (BU).
        """
        streams: list[tuple[Tensor, Tensor]] = []
        n_frames_B, n_tokens_B = host_lengths or (None, None)
        if self.ccb1 is not None:
            h_BJD = self.ccb1(frames_BJD, tokens_BMD, tokens_valid_BM)
            if self.bigru1 is not None:
                h_BJD = self.bigru1(h_BJD, frames_valid_BJ, n_frames_B)
            streams.append((h_BJD, frames_valid_BJ))
        if self.ccb2 is not None:
            g_BMD = self.ccb2(tokens_BMD, frames_BJD, frames_valid_BJ)
            if self.bigru2 is not None:
                g_BMD = self.bigru2(g_BMD, tokens_valid_BM, n_tokens_B)
            streams.append((g_BMD, tokens_valid_BM))
        n_joint_B = None
        if host_lengths is not None:
            used = [n_B for n_B, block in zip(host_lengths, (self.ccb1, self.ccb2), strict=True) if block is not None]
            n_joint_B = torch.stack(used).sum(dim=0)
        longest = None if n_joint_B is None else int(n_joint_B.max())
        joint_BUD, valid_BU = streams[0] if len(streams) == 1 else close_up(*streams[0], *streams[1], longest)
        if self.bigru is not None:
            joint_BUD = self.bigru(joint_BUD, valid_BU, n_joint_B)
        return joint_BUD, valid_BU
