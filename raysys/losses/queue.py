"""A queue of past embeddings: further negatives of the contrastive terms, where a batch has few."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from raysys.data.pinned import sent
from raysys.losses.contrastive import Past


@dataclass(slots=True)
class Queue:
    """The embeddings of the last utterances of earlier steps, both views, first in, first out.

    They are made by the weights of their own step: there is no momentum encoder (He et al. 2020). An utterance is held
    once, by its latest embeddings, so that they are at most an epoch old. Every worker adds the rows that were gathered
    from all, so all hold the same.

    Args:
        size: how many utterances it holds.
        heads: projection heads whose embeddings are stored.
        width: E.
        device: of the embeddings.

    Attributes:
        rows_QVHE: V = 2 views (clean, augmented), H heads; without gradient.
        labels_Q, utterance_Q: class and number of each utterance, int64. The numbers stay on the CPU: which rows leave
            is decided there, and no step waits for the device.

    Source: He et al., "Momentum contrast for unsupervised visual representation learning", 2020, section 3.2; the
        queue alone.
    """

    size: int
    heads: int
    width: int
    device: torch.device
    rows_QVHE: Tensor = field(init=False)
    labels_Q: Tensor = field(init=False)
    utterance_Q: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.rows_QVHE = torch.empty(0, 2, self.heads, self.width, device=self.device)
        self.labels_Q = torch.empty(0, dtype=torch.int64, device=self.device)
        self.utterance_Q = torch.empty(0, dtype=torch.int64)

    def others(self, utterance_N: Tensor, head: int) -> tuple[Past, Past]:
        """Clean and augmented views of all utterances but the given ones: no utterance is a negative of itself.

        Args:
            utterance_N: on the CPU.
        """
        kept_K = sent(self._others(utterance_N), self.device)
        rows_KVE, labels_K = self.rows_QVHE[kept_K, :, head], self.labels_Q[kept_K]
        return Past(rows_KVE[:, 0], labels_K), Past(rows_KVE[:, 1], labels_K)

    def add(self, rows_NVHE: Tensor, labels_N: Tensor, utterance_N: Tensor) -> None:
        """Add a step's utterances, gathered from all workers; their own earlier embeddings and the oldest go.

        Args:
            rows_NVHE, labels_N: on the queue's device.
            utterance_N: on the CPU.
        """
        kept_K = self._others(utterance_N)
        self.utterance_Q = torch.cat([self.utterance_Q[kept_K], utterance_N])[-self.size :]
        kept_K = sent(kept_K, self.device)
        self.rows_QVHE = torch.cat([self.rows_QVHE[kept_K], rows_NVHE.detach()])[-self.size :]
        self.labels_Q = torch.cat([self.labels_Q[kept_K], labels_N])[-self.size :]

    def _others(self, utterance_N: Tensor) -> Tensor:
        """Where the others are, on the CPU."""
        return (~torch.isin(self.utterance_Q, utterance_N)).nonzero()[:, 0]

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint stores, on the CPU."""
        held = {"rows": self.rows_QVHE, "labels": self.labels_Q, "utterances": self.utterance_Q}
        return {f"queue/{name}": value.to("cpu", copy=True).contiguous() for name, value in held.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave; other tensors are ignored."""
        self.rows_QVHE = tensors["queue/rows"].to(self.device)
        self.labels_Q = tensors["queue/labels"].to(self.device)
        self.utterance_Q = tensors["queue/utterances"].cpu()


def both(past: tuple[Past, Past]) -> Past:
    """The rows of both views as one."""
    clean, augmented = past
    return Past(torch.cat([clean.rows_QE, augmented.rows_QE]), torch.cat([clean.labels_Q, augmented.labels_Q]))
