"""What the cross-entropy aims at where that is more than a label: annotators' votes, and two labels after mixup."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from raysys.data.manifest import Manifest
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
            row_C[:] = torch.tensor(self._shares(name))
        return rows_BC

    def mixed(self, names: Sequence[str], mixes: Sequence[Mix]) -> Tensor:
        """Those of each utterance and of its partner, by their shares."""
        share_B1 = torch.tensor([mix.share for mix in mixes] or [1.0])[:, None]
        return share_B1 * self.of(names) + (1 - share_B1) * self.of([mix.partner for mix in mixes])

    def counts(self, names: Iterable[str]) -> list[float]:
        """Utterances of each class; those with soft labels count in parts."""
        return [sum(column) for column in zip(*map(self._shares, names), strict=True)]

    def weights(self, names: Iterable[str], class_weights: Sequence[float]) -> dict[str, float]:
        """Weight of each utterance in the cross-entropy: the mean of the class weights under its shares."""
        return {
            name: sum(share * weight for share, weight in zip(self._shares(name), class_weights, strict=True))
            for name in names
        }

    def _shares(self, name: str) -> tuple[float, ...]:
        if (soft := self.soft.get(name)) is not None:
            return soft
        return tuple(float(index == self.labels[name]) for index in range(self.n_classes))


def targets_of(manifest: Manifest, labels: Literal["hard", "votes"]) -> Targets:
    """What a corpus's utterances are trained towards, see `LossConfig.labels`."""
    votes = {u.utterance_id: u.votes for u in manifest.utterances if u.votes is not None}
    soft = votes if labels == "votes" else {}
    return Targets(labels=manifest.labels(), n_classes=len(manifest.classes), soft=soft)
