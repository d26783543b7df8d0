"""Try a pretrained encoder before any training: one forward and backward pass of two utterances, on the CPU.

What would end every trial ends the run here, with the encoder's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from raysys.augment.masked_lm import (
    LabelledMaskedLM,
    check_tokenizer,
    load_masked_lm,
    mask_logits,
    max_tokens,
    own_randomness,
)
from raysys.config import BUILT_IN, ModelConfig
from raysys.data.text import load_tokenizer, read_by, tokenize
from raysys.errors import EncoderError, UserError
from raysys.model.encoders import (
    PretrainedAudio,
    build_audio_encoder,
    build_text_encoder,
    has_own_tokenizer,
    make_tokenizer,
)
from raysys.pretrained import first_line

Made = TypeVar("Made")
_AUDIO = "give a wav2vec 2.0, HuBERT, WavLM, Whisper, w2v-BERT or AST model"
_TEXT = "give an encoder such as BERT, RoBERTa or MiniLM"
_SAMPLES = (16_000, 5_000)
"""Longer than the spans that training masks (0.2 s), and of two lengths, so that one is padded."""


def probe_audio(config: ModelConfig) -> list[str]:
    """Try the audio encoder. Returns: notes for the user.

    Raises:
        EncoderError: it cannot be loaded or trained.
    """
    if config.audio in BUILT_IN:
        return []
    what = f"--model.audio {config.audio}"
    if config.layer != "last":
        what += f" with --model.layer {config.layer}"
    return _attempt(what, _AUDIO, lambda: _try_audio(config, what))


def _try_audio(config: ModelConfig, what: str) -> list[str]:
    encoder = build_audio_encoder(config)
    assert isinstance(encoder, PretrainedAudio)
    waveforms_BS = 0.1 * torch.randn(2, _SAMPLES[0])
    waveforms_BS[1, _SAMPLES[1] :] = 0
    encoded = encoder.train()(waveforms_BS, torch.tensor(_SAMPLES))
    if encoded.frames_BJD.shape[:2] != encoded.valid_BJ.shape:
        raise EncoderError(
            f"{what}: gives {encoded.frames_BJD.shape[1]} frames where its convolutions give "
            f"{encoded.valid_BJ.shape[1]}; {_AUDIO}, without an adapter."
        )
    _backward(what, encoder, encoded.frames_BJD[encoded.valid_BJ])
    notes = _note_drawn(what, encoder.drawn)
    if not encoder.padded:
        notes.append(
            f"{config.audio}: padding changes this encoder's features, so it reads one utterance at a time, unpadded"
        )
    return notes


def probe_text(config: ModelConfig, texts: Sequence[str]) -> list[str]:
    """Try the text encoder and its tokenizer on the longest of the corpus's texts. Returns: notes for the user.

    Raises:
        EncoderError: it cannot be loaded or trained, or its tokenizer does not fit it or the texts.
    """
    what = f"--model.text {config.text}"
    return _attempt(what, _TEXT, lambda: _try_text(config, texts, what)) if has_own_tokenizer(config) else []


def _try_text(config: ModelConfig, texts: Sequence[str], what: str) -> list[str]:
    tokenizer = make_tokenizer(config, [])
    encoder = build_text_encoder(config, len(tokenizer)).train()
    notes = _note_drawn(what, encoder.drawn)  # type: ignore[arg-type]
    if not tokenizer("")["input_ids"]:
        raise EncoderError(
            f"{what}: its tokenizer marks neither the beginning nor the end of a text, so that an empty or missing "
            f"transcript has no token; {_TEXT}."
        )
    if texts:
        notes += read_by(tokenizer, texts, what)
    tokens_BM, valid_BM, _ = tokenize(tokenizer, [max(texts, key=len, default="a"), None])
    _backward(what, encoder, encoder(tokens_BM, valid_BM)[valid_BM])
    return notes


def probe_masked_lm(name: str, texts: Sequence[str], *, implied: bool) -> None:
    """Try CBCA's masked language model on the longest of the corpus's texts.

    Args:
        implied: it is --model.text, since no other was named.

    Raises:
        EncoderError: it cannot be loaded or trained, or its tokenizer does not belong to it.
    """
    what = f"--augment.cbca-model {name}"
    if name in BUILT_IN or not texts:
        return
    try:
        _attempt(what, "give a masked language model such as BERT", lambda: _try_masked_lm(name, texts, what))
    except EncoderError as error:
        if not implied:
            raise
        why = str(error).removeprefix(f"{what}: ")
        raise EncoderError(
            f"--model.text {name} is also CBCA's masked language model unless --augment.cbca-model names another, and "
            f"cannot be that: {why} Or add --augment.cbca-model light (small, trained on the transcripts), or "
            f"--augment.cbca none."
        ) from error


def _try_masked_lm(name: str, texts: Sequence[str], what: str) -> None:
    tokenizer = load_tokenizer(name, flag="--augment.cbca-model")
    model = load_masked_lm(name)
    check_tokenizer(tokenizer, model)
    lm = LabelledMaskedLM(model, 2).train()
    masked = [f"{tokenizer.mask_token} {text}" for text in (max(texts, key=len), "")]
    rows = tokenizer(masked, truncation=True, max_length=max_tokens(model, tokenizer))["input_ids"]
    _backward(what, lm, mask_logits(lm, tokenizer, rows, [0, 1]))


def _attempt(what: str, remedy: str, make: Callable[[], Made]) -> Made:
    """Leaves torch's generators as they were."""
    try:
        with own_randomness(0, torch.device("cpu")):
            return make()
    except UserError:
        raise
    # Models of other kinds fail in as many ways as there are kinds.
    except Exception as error:
        raise EncoderError(
            f"{what}: a forward and backward pass of two utterances fails ({first_line(error)}); {remedy}, in a folder "
            f"written by save_pretrained."
        ) from error


def _backward(what: str, module: nn.Module, output: Tensor) -> None:
    if output.requires_grad:
        output.float().square().mean().backward()
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    if not all(bool(values.isfinite().all()) for values in (output, *gradients)):
        raise EncoderError(
            f"{what}: its output or gradients for two utterances are not finite. Its weights are damaged, or "
            f"overflowed when they were saved in half precision; copy it again, or give another model."
        )


def _note_drawn(what: str, drawn: Sequence[str]) -> list[str]:
    if not drawn:
        return []
    return [
        f"{what}: {', '.join(drawn)} not in the checkpoint: drawn, always to the same values. Nothing reads a pooler, "
        f"and masked_spec_embed only replaces masked frames in training"
    ]
