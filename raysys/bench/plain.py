"""A typical public training loop for comparison: the same network and losses, without any optimisation for speed.

Shuffled batches padded to their longest utterance, separate forward passes for the clean and the augmented view, eager
attention, all hidden states kept, and the loss read after every step.
"""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from raysys.bench.speech import Speech
from raysys.config import SAMPLE_RATE_HZ, ExperimentConfig
from raysys.data.batch import Batch, Collator
from raysys.model.dropout import Dropout
from raysys.model.fusion import BiGRU
from raysys.model.network import Network, Outputs
from raysys.model.small_text import SmallTextEncoder
from raysys.model.text import TokenEncoder
from raysys.training.criterion import criterion
from raysys.training.optim import make_optimizer, rate_factor, set_rates


def as_published(network: Network) -> Network:
    """A copy with PyTorch's own dropout and GRU, eager attention, and all hidden states kept."""
    plain = copy.deepcopy(network)
    if isinstance(plain.text_encoder, SmallTextEncoder):
        plain.text_encoder = _as_transformers(plain.text_encoder)
    for parent in plain.modules():
        for name, child in parent.named_children():
            if isinstance(child, Dropout):
                setattr(parent, name, nn.Dropout(child.p))
            elif isinstance(child, BiGRU):
                setattr(parent, name, _PackedGRU(child.gru))
    for encoder in (plain.audio_encoder, plain.text_encoder):
        model = getattr(encoder, "model", None)
        if model is not None:
            model.set_attn_implementation("eager")
            model.config.output_hidden_states = True
    return plain


def _as_transformers(encoder: SmallTextEncoder) -> TokenEncoder:
    """The same network built from transformers, as in most public code."""
    from transformers import DistilBertModel

    published = TokenEncoder(DistilBertModel(encoder.config), freeze="all" if encoder.frozen else "none")
    published.load_state_dict(encoder.state_dict())
    return published


class _PackedGRU(nn.Module):
    """The same GRU run by PyTorch."""

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        self.gru = gru

    def forward(self, sequence_BUD: Tensor, valid_BU: Tensor, lengths_host_B: Tensor | None = None) -> Tensor:
        del lengths_host_B  # most public code asks the device
        lengths_B = valid_BU.sum(dim=1).cpu()
        packed = pack_padded_sequence(sequence_BUD, lengths_B, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=valid_BU.shape[1])[0]


def shuffled(names: Sequence[str], batch_size: int, *, seed: int) -> list[tuple[str, ...]]:
    """Batches in random order, ignoring length."""
    order = list(names)
    random.Random(seed).shuffle(order)
    return [tuple(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]


def train(
    network: Network,
    batches: Sequence[Sequence[str]],
    speech: Speech,
    collator: Collator,
    config: ExperimentConfig,
    device: torch.device,
) -> list[float]:
    """One pass over the batches, with an update every `config.train.accumulate` batches. Returns the loss of each."""
    optimizer = make_optimizer(network, config.optim)
    parameters = [p for p in network.parameters() if p.requires_grad]
    updates = len(batches) // config.train.accumulate
    network.train()
    losses: list[float] = []
    for number, names in enumerate(batches):
        batch = collate(names, speech, collator, config.train.crop_s).to(device)
        assert batch.augmented is not None
        outputs = _join(network((batch.clean,)), network((batch.augmented,)))
        loss = criterion(
            outputs,
            batch,
            config.loss,
            classify_augmented=config.augment.classify_augmented,
            shares=[names],
            step_weight=len(names),
        ).total
        (loss / config.train.accumulate).backward()
        if (number + 1) % config.train.accumulate == 0:
            set_rates(optimizer, rate_factor(number // config.train.accumulate, updates, config.optim.warmup))
            torch.nn.utils.clip_grad_norm_(parameters, config.optim.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def evaluate(
    network: Network, batches: Sequence[Sequence[str]], speech: Speech, collator: Collator, device: torch.device
) -> dict[str, np.ndarray]:
    """Class probabilities by utterance id."""
    network.eval()
    found: dict[str, np.ndarray] = {}
    for names in batches:
        view = collator(names, [speech.views(name)[0] for name in names], None, epoch=None).clean
        probabilities_BC = network((view.to(device),)).logits_NC.softmax(dim=-1).cpu().numpy()
        found.update(zip(names, probabilities_BC, strict=True))
    return found


def collate(names: Sequence[str], speech: Speech, collator: Collator, crop_s: float) -> Batch:
    """A training batch with utterances cropped to `crop_s` seconds."""
    longest = round(crop_s * SAMPLE_RATE_HZ)
    clean = [speech.views(name)[0][:longest] for name in names]
    augmented = [speech.views(name)[1][:longest] for name in names]
    return collator(names, clean, augmented, epoch=0)


def _join(clean: Outputs, augmented: Outputs) -> Outputs:
    def joined(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return None if a is None or b is None else torch.cat([a, b])

    names = [field.name for field in dataclasses.fields(Outputs)]
    return Outputs(**{name: joined(getattr(clean, name), getattr(augmented, name)) for name in names})  # type: ignore[arg-type]
