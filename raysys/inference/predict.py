"""A trained model's predictions for new speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.audio import decode, fault, trim
from raysys.data.manifest import Utterance
from raysys.data.plan import evaluation_steps
from raysys.data.text import tokenize
from raysys.data.view import View, pad_waveforms
from raysys.errors import AudioError
from raysys.model.network import Network

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class EmotionModel:
    """A trained network with everything needed to use it.

    Attributes:
        classes: names, in the order of the probabilities' columns.
        modalities: its inputs in training; with both, a transcript may be missing.
        trim_db: silence to trim from both ends of the input, as in training; None: no trimming.
        temperature: what logits are divided by, so that probabilities are calibrated on validation data.
        origin: what it is and where it was loaded from; empty before it is saved.
    """

    network: Network
    tokenizer: PreTrainedTokenizerBase | None
    classes: tuple[str, ...]
    modalities: Literal["both", "audio", "text"]
    trim_db: float | None = None
    temperature: float = 1.0
    origin: str = ""

    def probabilities(
        self, waveforms: Sequence[np.ndarray] | None = None, transcripts: Sequence[str | None] | None = None
    ) -> np.ndarray:
        """Class probabilities of N utterances (N x C, float32); each independent of the others.

        Args:
            waveforms: float32, 16 kHz, mono (as returned by `read_waveform`); None for a text-only model.
            transcripts: None, or None among them: unknown. Ignored by an audio-only model.

        Raises:
            ValueError: a required input is missing, their numbers differ, or a waveform has invalid values.
        """
        if self.modalities != "text" and waveforms is None:
            raise ValueError(f"this model was trained on {self.modalities}: it needs waveforms.")
        if self.modalities == "text" and (transcripts is None or None in transcripts):
            raise ValueError("this model was trained on text alone: it needs a transcript for every utterance.")
        n = len(transcripts if waveforms is None else waveforms)  # type: ignore[arg-type]
        texts: Sequence[str | None] = [None] * n if transcripts is None else transcripts
        if len(texts) != n:
            raise ValueError(f"{n} waveforms, but {len(texts)} transcripts; expected one each (None if unknown).")
        for i, waveform in enumerate(waveforms or ()):
            _check_waveform(waveform, f"waveform {i}")
        if waveforms is not None and self.trim_db is not None:
            waveforms = [trim(waveform_S, self.trim_db) for waveform_S in waveforms]
        names = [str(i) for i in range(n)]
        seconds = {name: 0.0 if waveforms is None else len(waveforms[int(name)]) / SAMPLE_RATE_HZ for name in names}
        found = np.zeros((n, len(self.classes)), dtype=np.float32)
        device = next(self.network.parameters()).device
        self.network.eval()
        for step in evaluation_steps(names, seconds, "test", 0):
            rows = [int(name) for name in step.utterance_ids]
            heard = None if self.modalities == "text" or waveforms is None else [waveforms[i] for i in rows]
            view = self._view(heard, [texts[i] for i in rows])
            with torch.inference_mode():
                logits_NC = self.network((view.to(device),)).logits_NC
            found[rows] = logits_NC.float().div(self.temperature).softmax(dim=-1).cpu().numpy()
        return found

    def __repr__(self) -> str:
        # The network's own fills pages.
        return f"EmotionModel({self.origin or 'not saved'}; classes: {', '.join(self.classes)})"

    def _view(self, waveforms: Sequence[np.ndarray] | None, texts: Sequence[str | None]) -> View:
        tokens = (None, None, None) if self.tokenizer is None else tokenize(self.tokenizer, texts)
        padded_BS, lengths_B = (None, None) if waveforms is None else pad_waveforms(waveforms)
        return View(
            waveforms_BS=padded_BS,
            lengths_B=lengths_B,
            tokens_BM=tokens[0],
            token_valid_BM=tokens[1],
            has_text_B=tokens[2],
        )


def _check_waveform(waveform: np.ndarray, which: str) -> None:
    """Raises: ValueError: it is not one channel of floats, or has values that are not finite or far from [-1, 1]."""
    if np.ndim(waveform) != 1 or not len(waveform):
        raise ValueError(f"{which} has shape {np.shape(waveform)}; expected (samples,), one channel, not empty.")
    kind = np.asarray(waveform).dtype
    if not np.issubdtype(kind, np.floating):
        raise ValueError(f"{which} has type {kind}; expected floats in [-1, 1] (such as 16-bit integers / 32768).")
    if found := fault(np.asarray(waveform)):
        raise ValueError(f"{which} {found}; its probabilities would be meaningless. Fix or omit its audio.")


def read_waveform(path: str) -> np.ndarray:
    """Read any audio file in the form a model needs: 16 kHz, mono, float32.

    Raises:
        AudioError: the file does not decode.
    """
    try:
        return decode(Utterance(utterance_id=path, audio_path=path, speaker="", emotion=""))
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error
