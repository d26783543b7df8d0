"""What the cross-entropy aims at where that is more than a label: annotators' votes, and two labels after mixup."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raysys.data.mixing import Mix


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Attributes:
    labels: class index by id.
    soft: class probabilities by id, which replace the label; may lack utterances.
    """

    labels: Mapping[str, int]
    n_classes: int
    soft: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)

    def of(self, names: Sequence[str]) -> Tensor:
        """Class probabilities (B x C), float32; one row of zeros for no utterance."""
        rows_BC = torch.zeros(max(len(names), 1), self.n_classes)
        for row_C, name in zip(rows_BC, names, strict=False):
            if (soft := self.soft.get(name)) is not None:
                row_C[:] = torch.tensor(soft)
            else:
                row_C[self.labels[name]] = 1.0
        return rows_BC

    def mixed(self, names: Sequence[str], mixes: Sequence[Mix]) -> Tensor:
        """Those of each utterance and of its partner, by their shares."""
        share_B1 = torch.tensor([mix.share for mix in mixes] or [1.0])[:, None]
        return share_B1 * self.of(names) + (1 - share_B1) * self.of([mix.partner for mix in mixes])
