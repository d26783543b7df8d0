"""One view of some utterances, padded: what the network reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLengths:
    """On the CPU: `View.lengths_B`, the number of valid tokens (B), and `View.has_text_B`; None as there."""

    lengths_B: Tensor | None
    tokens_B: Tensor | None
    has_text_B: Tensor | None

    @classmethod
    def of(cls, view: View) -> HostLengths:
        tokens_B = None if view.token_valid_BM is None else view.token_valid_BM.sum(dim=1).cpu()
        lengths_B, has_text_B = (None if t is None else t.cpu() for t in (view.lengths_B, view.has_text_B))
        return cls(lengths_B=lengths_B, tokens_B=tokens_B, has_text_B=has_text_B)

    @classmethod
    def joined(cls, parts: Sequence[HostLengths]) -> HostLengths:
        """Of several views whose rows are concatenated."""

        def join(name: str) -> Tensor | None:
            values = [getattr(part, name) for part in parts]
            return None if values[0] is None else torch.cat(values)

        return cls(**{field.name: join(field.name) for field in dataclasses.fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One view (clean or augmented) of B utterances.

    Attributes:
        waveforms_BS: float32, zero-padded; None if the model uses text alone.
        lengths_B: valid samples of each waveform, int64.
        tokens_BM: int64, padded; None if the model uses audio alone.
        token_valid_BM: bool.
        has_text_B: bool; rows with False get the learned no-text token.
        frames_BJE, token_features_BME: a frozen encoder's features, replacing waveforms and tokens; zero-padded;
            lengths_B then counts frames. Where an audio encoder's convolutions alone are frozen, their latents.
        host: what the host knows of a view that was moved, see `to`; None: it must ask the device.
    """

    waveforms_BS: Tensor | None
    lengths_B: Tensor | None
    tokens_BM: Tensor | None
    token_valid_BM: Tensor | None
    has_text_B: Tensor | None
    frames_BJE: Tensor | None = None
    token_features_BME: Tensor | None = None
    host: HostLengths | None = None

    def __len__(self) -> int:
        rows = self.has_text_B if self.lengths_B is None else self.lengths_B
        assert rows is not None
        return len(rows)

    def to(self, device: torch.device) -> View:
        """Move all but the lengths that shapes are computed from, so that no step waits for the device to tell them."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True), self.host or HostLengths.of(self))

    def pinned(self) -> View:
        """In pinned memory, from which `to` returns before it has copied."""
        return self._mapped(Tensor.pin_memory, self.host or HostLengths.of(self))

    def _mapped(self, of_tensor: Callable[[Tensor], Tensor], host: HostLengths) -> View:
        values = {name: getattr(self, name) for name in self.tensors()}
        return View(**{name: None if t is None else of_tensor(t) for name, t in values.items()}, host=host)

    @classmethod
    def tensors(cls) -> tuple[str, ...]:
        """Names of the tensors."""
        return tuple(field.name for field in dataclasses.fields(cls) if field.name != "host")


def pad_features(features: Sequence[np.ndarray], width: int) -> tuple[Tensor, Tensor]:
    """Features of each row (J x width, flattened), zero-padded to the longest: (features_BJE, lengths_B)."""
    lengths = [len(flat) // width for flat in features]
    padded = torch.empty(len(features), max(lengths), width)
    for row, flat, length in zip(padded, features, lengths, strict=True):
        # PyTorch converts from float16 four times as fast as NumPy; a copy, because what is read may not be written.
        row[:length] = torch.from_numpy(np.array(flat)).view(length, width)
        row[length:] = 0
    return padded, torch.tensor(lengths)


def pad_waveforms(waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Zero-pad to the longest: (waveforms_BS, lengths_B)."""
    lengths = [len(w) for w in waveforms]
    padded = torch.zeros(len(waveforms), max(lengths))
    for row, waveform_S in zip(padded, waveforms, strict=True):
        row[: len(waveform_S)] = torch.from_numpy(np.array(waveform_S, dtype=np.float32))
    return padded, torch.tensor(lengths)
