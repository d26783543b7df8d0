"""The shortest and the longest utterance get a prediction, batched together and alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from raysys.augment.view import augment_waveform
from raysys.config import SAMPLE_RATE_HZ, AugmentConfig, CorpusConfig, LossConfig, ModelConfig
from raysys.corpora.read import read_corpus
from raysys.data.audio import decode
from raysys.data.batch import Collator
from raysys.data.plan import evaluation_steps
from raysys.data.view import View, pad_waveforms
from raysys.model.encoders import make_tokenizer
from raysys.model.network import Network
from raysys.training.evaluation import Workers, predict

SECONDS = {"ten milliseconds": 0.01, "one sample": 1 / SAMPLE_RATE_HZ, "a second": 1.0, "ten minutes": 600.0}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extremes")
    generator = np.random.default_rng(0)
    rows = []
    for number, (name, seconds) in enumerate(SECONDS.items()):
        samples_S = generator.normal(0, 0.1, round(seconds * SAMPLE_RATE_HZ)).astype(np.float32)
        soundfile.write(folder / f"{number}.wav", samples_S, SAMPLE_RATE_HZ, subtype="PCM_16")
        words = "" if number == 1 else "word " * (3 if number < 3 else 1_500)
        rows.append(f"{name},{number}.wav,s{number},{('calm', 'tense')[number % 2]},{words}")
    path = folder / "corpus.csv"
    path.write_text("utterance_id,audio_path,speaker,emotion,transcript\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["light", "tiny"])
def test_ten_milliseconds_and_ten_minutes_get_a_prediction(table: Path, tmp_path: Path, encoder: str) -> None:
    """Read with the default maximum duration, decoded, planned, collated and predicted as in a run."""
    torch.manual_seed(0)
    manifest = read_corpus(CorpusConfig(name="table", root=str(table)), cache=tmp_path)
    model = ModelConfig(audio=encoder, text=encoder, width=32, heads=4, feed_forward=64)
    texts = [u.transcript for u in manifest.utterances if u.transcript]
    tokenizer = make_tokenizer(model, texts)
    network = Network(model, n_classes=2, vocab_size=len(tokenizer), loss=LossConfig())
    waveforms = {u.utterance_id: decode(u) for u in manifest.utterances}
    collate = Collator(
        utterances={u.utterance_id: u for u in manifest.utterances},
        labels=manifest.labels(),
        tokenizer=tokenizer,
        text_dropout=0.0,
        second_view=False,
        seed=0,
    )
    durations_s = {u.utterance_id: float(u.duration_s or 0) for u in manifest.utterances}
    steps = evaluation_steps(list(waveforms), durations_s, "test", 0)
    assert len(steps) == 2, "the three short ones in a batch, the long one alone"
    batches = [(s, collate(s.utterance_ids, [waveforms[u] for u in s.utterance_ids], None, epoch=None)) for s in steps]
    found = predict(network, batches, torch.device("cpu"), Workers())
    assert set(found.utterance_ids) == set(SECONDS)
    assert np.isfinite(found.probabilities_NC).all() and np.isfinite(found.features_NF).all()
    np.testing.assert_allclose(found.probabilities_NC.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("n_samples", [1, 2, 159, 160, 399, 400])
def test_the_augmented_view_of_a_short_utterance_is_finite(n_samples: int) -> None:
    waveform_S = np.random.default_rng(0).normal(0, 0.1, n_samples).astype(np.float32)
    for variant in range(8):
        view_S = augment_waveform(waveform_S, AugmentConfig(spec_augment=True), key=(0, variant, "short"))
        assert len(view_S) and np.isfinite(view_S).all()


@pytest.mark.parametrize("encoder", ["light", "tiny"])
@pytest.mark.parametrize("n_samples", [1, 160])
def test_a_step_on_short_utterances_alone_has_finite_gradients(encoder: str, n_samples: int) -> None:
    torch.manual_seed(0)
    model = ModelConfig(audio=encoder, text=encoder, width=32, heads=4, feed_forward=64, freeze_audio="none")
    network = Network(model, n_classes=2, vocab_size=0, loss=LossConfig(), modalities="audio").train()
    waveforms = [np.full(n_samples, 0.1, np.float32), np.zeros(n_samples, np.float32)]
    padded_BS, lengths_B = pad_waveforms(waveforms)
    view = View(waveforms_BS=padded_BS, lengths_B=lengths_B, tokens_BM=None, token_valid_BM=None, has_text_B=None)
    outputs = network((view,))
    outputs.logits_NC.square().sum().backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(g).all() for g in gradients)
