"""Predictions of a network for one part of a fold, and their scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed

from raysys.calibration import fit_temperature
from raysys.data.batch import Batch
from raysys.data.plan import Step
from raysys.metrics import confusion, macro_f1, unweighted_accuracy, weighted_accuracy
from raysys.model.network import Network
from raysys.training.finite import refuse_predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """This process's rank among the data-parallel workers of a trial."""

    rank: int = 0
    size: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """By utterance, in any order: ids (N), class probabilities (N x C) and the head's input (N x F), both float32."""

    utterance_ids: tuple[str, ...]
    probabilities_NC: np.ndarray
    features_NF: np.ndarray

    def confusion(self, labels: Mapping[str, int]) -> list[list[int]]:
        """Confusion matrix, rows the true classes. `labels`: class by utterance id."""
        truth_N, predicted_N = self._truth(labels), self.probabilities_NC.argmax(axis=1)
        return confusion(truth_N, predicted_N, self.probabilities_NC.shape[1]).tolist()

    def scores(self, labels: Mapping[str, int], soft: Mapping[str, tuple[float, ...]]) -> dict[str, float]:
        """wa, ua, macro_f1, and loss: the mean cross-entropy (nats; of an utterance at most 27.6).

        Args:
            labels: class by utterance id.
            soft: class probabilities by utterance id, which the loss reads in place of the label; may lack utterances.
        """
        truth_N, predicted_N = self._truth(labels), self.probabilities_NC.argmax(axis=1)
        chosen_N = self.probabilities_NC[np.arange(len(truth_N)), truth_N]
        loss_N = -np.log(chosen_N.clip(1e-12))
        for row, name in enumerate(self.utterance_ids):
            if name in soft:
                loss_N[row] = -np.dot(soft[name], np.log(self.probabilities_NC[row].clip(1e-12)))
        return {
            "wa": float(weighted_accuracy(truth_N, predicted_N)),
            "ua": float(unweighted_accuracy(truth_N, predicted_N)),
            "macro_f1": float(macro_f1(truth_N, predicted_N)),
            "loss": float(loss_N.mean()),
        }

    def temperature(self, labels: Mapping[str, int]) -> float:
        """That calibrates these probabilities, see `fit_temperature`."""
        return fit_temperature(self.probabilities_NC, self._truth(labels))

    def _truth(self, labels: Mapping[str, int]) -> np.ndarray:
        return np.array([labels[name] for name in self.utterance_ids])


def predict(
    network: Network, steps: Iterable[tuple[Step, Batch]], device: torch.device, workers: Workers
) -> Predictions:
    """Predictions for a part, gathered from all workers; each utterance exactly once.

    Args:
        steps: this worker's share of every step of the part.

    Raises:
        TrainingError: a prediction is not finite; names the utterances.
    """
    network.eval()
    where = ""
    wanted: list[str] = []
    names: list[str] = []
    probabilities: list[np.ndarray] = []
    features: list[np.ndarray] = []
    for step, batch in steps:
        where = "test part" if step.part == "test" else f"epoch {step.epoch + 1}, {step.part} part"
        wanted += step.utterance_ids
        if batch.utterance_ids:
            # Only around the forward pass: the iterator already prepares the next part's first batch.
            with torch.inference_mode(), autocast(device):
                outputs = network((batch.to(device).clean,))
            names += batch.utterance_ids
            probabilities.append(outputs.logits_NC.float().softmax(dim=-1).cpu().numpy())
            features.append(outputs.features_NF.float().cpu().numpy())
    shares = [(names, probabilities, features)]
    if workers.size > 1:
        shares = shares * workers.size
        torch.distributed.all_gather_object(shares, (names, probabilities, features))
    names = [name for share in shares for name in share[0]]
    if sorted(names) != sorted(wanted):
        raise RuntimeError(f"{len(wanted)} utterances were to be scored, {len(names)} were")
    probabilities_NC = np.concatenate([array for share in shares for array in share[1]])
    refuse_predictions(probabilities_NC, names, where)
    return Predictions(
        utterance_ids=tuple(names),
        probabilities_NC=probabilities_NC,
        features_NF=np.concatenate([array for share in shares for array in share[2]]),
    )


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on a GPU, float32 elsewhere."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
