"""Tiny pretrained encoders as users would have them: folders written by save_pretrained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import DistilBertConfig, DistilBertModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from raysys.data.text import train_wordpiece

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
"""Sizes of a wav2vec 2.0, HuBERT or WavLM."""
TEXT_SIZES = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
"""Sizes of a DistilBERT."""
_TEXTS = ["kids are talking by the door", "dogs are sitting by the door"]


def write_encoders(folder: Path, texts: Sequence[str] = _TEXTS, *, seed: int = 0) -> tuple[Path, Path]:
    """Save a wav2vec 2.0 and a DistilBERT, with a tokenizer trained on the texts, in `folder`."""
    audio, text = folder / "audio", folder / "text"
    torch.manual_seed(seed)
    Wav2Vec2Model(Wav2Vec2Config(**SIZES)).save_pretrained(audio)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(audio)
    tokenizer = train_wordpiece(texts)
    DistilBertModel(DistilBertConfig(vocab_size=len(tokenizer), **TEXT_SIZES)).save_pretrained(text)
    tokenizer.save_pretrained(text)
    return audio, text
