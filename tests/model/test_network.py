"""The network: a prediction depends only on its utterance, and every parameter learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
import torch

from raysys.config import LossConfig, ModelConfig
from raysys.data.batch import Batch, Collator
from raysys.data.manifest import Utterance
from raysys.data.text import train_wordpiece
from raysys.data.view import View
from raysys.model.network import Network, Outputs
from raysys.model.states import Standardised, WeightedSum
from raysys.training.criterion import criterion

torch.set_num_threads(1)

Modalities = Literal["both", "audio", "text"]

TEXTS = ["the door is open", None, "no", "kids are talking by the door", None, "talking talking"]
N_SAMPLES = [20_000, 3_000, 10, 8_000, 12_345, 400]
NAMES = [f"u{i}" for i in range(len(TEXTS))]
TOKENIZER = train_wordpiece([text for text in TEXTS if text] * 2)
COLLATOR = Collator(
    utterances={
        name: Utterance(utterance_id=name, audio_path="", speaker="", emotion="", transcript=text)
        for name, text in zip(NAMES, TEXTS, strict=True)
    },
    labels={name: i % 3 for i, name in enumerate(NAMES)},
    tokenizer=TOKENIZER,
    text_dropout=0.0,
    second_view=True,
    seed=0,
)
PER_ROW = ("logits_NC", "embeddings_NE", "audio_ND", "text_ND", "has_text_N")


def waveforms(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(0.01, 0.1, n).astype(np.float32) for name, n in zip(NAMES, N_SAMPLES, strict=True)}


def make_batch(names: Sequence[str], modalities: Modalities = "both") -> Batch:
    clean, augmented = waveforms(0), waveforms(1)
    collator = COLLATOR
    if modalities == "audio":
        collator = dataclasses.replace(COLLATOR, tokenizer=None)
    if modalities == "text":
        return collator(names, None, None, epoch=0)
    # The augmented view has a different length, as after speed perturbation.
    shorter = [augmented[name][: int(0.9 * len(augmented[name])) + 1] for name in names]
    return collator(names, [clean[name] for name in names], shorter, epoch=0)


def make_network(size: str, modalities: Modalities = "both", pooling: Literal["max", "attention"] = "max") -> Network:
    torch.manual_seed(0)
    config = ModelConfig(audio=size, text=size, width=16, heads=4, feed_forward=24, pooling=pooling)
    return Network(config, n_classes=3, vocab_size=len(TOKENIZER), loss=LossConfig(), modalities=modalities).eval()


@torch.no_grad()
def outputs_of(network: Network, *views: View) -> Outputs:
    return network(views)


@pytest.mark.parametrize("modalities", ["both", "audio", "text"])
@pytest.mark.parametrize("size", ["tiny", "light"])
def test_outputs_do_not_depend_on_the_batch(size: str, modalities: Modalities) -> None:
    network = make_network(size, modalities, "max" if size == "tiny" else "attention")
    together = outputs_of(network, make_batch(NAMES, modalities).clean)
    for row, name in enumerate(NAMES):
        alone = outputs_of(network, make_batch([name], modalities).clean)
        for field in PER_ROW:
            if field == "text_ND" and modalities != "both":
                continue
            torch.testing.assert_close(getattr(together, field)[row], getattr(alone, field)[0], atol=1e-4, rtol=0.0)
    assert float(together.logits_NC.std(dim=0).min()) > 1e-3  # The rows do differ.


def test_rows_without_text_ignore_their_tokens() -> None:
    network = make_network("light")
    view = make_batch(NAMES).clean
    assert view.tokens_BM is not None and view.has_text_B is not None
    assert view.has_text_B.tolist() == [text is not None for text in TEXTS]
    missing_B1 = ~view.has_text_B[:, None]
    other_BM = torch.where(missing_B1, (view.tokens_BM + 3) % len(TOKENIZER), view.tokens_BM)
    other_valid_BM = view.token_valid_BM | missing_B1
    other = dataclasses.replace(view, tokens_BM=other_BM, token_valid_BM=other_valid_BM)
    expected, found = outputs_of(network, view), outputs_of(network, other)
    assert torch.equal(found.logits_NC, expected.logits_NC)
    # The replacement for missing text is learned, and the same for all rows.
    assert network.no_text_D is not None
    assert expected.text_ND is not None and torch.equal(expected.text_ND[1], network.no_text_D)
    with torch.no_grad():
        network.no_text_D += 1
    moved_N = (outputs_of(network, view).logits_NC - expected.logits_NC).abs().amax(dim=1) > 1e-6
    assert moved_N.tolist() == [text is None for text in TEXTS]


def test_words_change_the_logits_of_their_row_alone() -> None:
    network = make_network("light")
    view = make_batch(NAMES).clean
    assert view.tokens_BM is not None
    tokens_BM = view.tokens_BM.clone()
    tokens_BM[3, 2] = (tokens_BM[3, 2] + 1) % len(TOKENIZER)
    other = dataclasses.replace(view, tokens_BM=tokens_BM)
    expected, found = outputs_of(network, view), outputs_of(network, other)
    moved_N = (found.logits_NC != expected.logits_NC).any(dim=1)
    assert moved_N.tolist() == [row == 3 for row in range(len(NAMES))]


@pytest.mark.parametrize("modalities", ["audio", "text"])
def test_one_modality_builds_no_encoder_of_the_other(modalities: Modalities) -> None:
    network = make_network("light", modalities)
    other = "text" if modalities == "audio" else "audio"
    assert getattr(network, f"{other}_encoder") is None
    names = [name for name, _ in network.named_parameters()]
    assert any(name.startswith(f"{modalities}_encoder.") for name in names)
    assert not [n for n in names if n.startswith((f"{other}_", "predict_", f"no_{modalities}"))]
    found = outputs_of(network, make_batch(NAMES, modalities).clean)
    assert found.logits_NC.shape == (len(NAMES), 3)


@pytest.mark.parametrize("modalities", ["both", "audio", "text"])
@pytest.mark.parametrize("size", ["tiny", "light"])
def test_two_views_in_one_pass_are_two_passes(size: str, modalities: Modalities) -> None:
    network = make_network(size, modalities)
    batch = make_batch(NAMES, modalities)
    assert batch.augmented is not None
    both = outputs_of(network, batch.clean, batch.augmented)
    n = len(NAMES)
    for found, view in ((both.rows(0, n), batch.clean), (both.rows(n, 2 * n), batch.augmented)):
        expected = outputs_of(network, view)
        for field in dataclasses.fields(Outputs):
            torch.testing.assert_close(getattr(found, field.name), getattr(expected, field.name), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize(("ccb1", "ccb2"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("size", ["tiny", "light"])
def test_every_trained_parameter_gets_a_gradient(size: str, ccb1: bool, ccb2: bool) -> None:
    """The whole criterion, on rows with and without text; a parameter without gradient would be dead.

    In evaluation mode there are no time masks; their embedding is the only parameter left out.
    """
    torch.manual_seed(0)
    config = ModelConfig(audio=size, text=size, width=16, heads=4, feed_forward=24, ccb1=ccb1, ccb2=ccb2)
    network = Network(config, n_classes=3, vocab_size=len(TOKENIZER), loss=LossConfig()).eval()
    batch = make_batch(NAMES)
    assert batch.augmented is not None
    parts = criterion(
        network((batch.clean, batch.augmented)),
        batch,
        LossConfig(),
        classify_augmented=False,
        shares=[batch.utterance_ids],
        step_weight=len(NAMES),
    )
    parts.total.backward()
    dead = {
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    }
    assert dead == ({"audio_encoder.model.masked_spec_embed"} if size == "tiny" else set())


def test_time_masks_learn_in_training() -> None:
    network = make_network("tiny").train()
    network((make_batch(NAMES).clean,)).logits_NC.sum().backward()
    grad = dict(network.named_parameters())["audio_encoder.model.masked_spec_embed"].grad
    assert grad is not None and bool(grad.any())


def test_frames_are_standardised_by_the_training_part() -> None:
    """By hand: two utterances of one and two frames; a number that never changes stays near 0."""
    standardise = Standardised(2)
    frames_BJE = torch.tensor([[[5.0, 7.0]]])
    torch.testing.assert_close(WeightedSum(1)(frames_BJE, standardise), frames_BJE)
    standardise.set([np.array([[1.0, 3.0]], np.float16), np.array([[3.0, 3.0], [8.0, 3.0]], np.float16)])
    # Mean 4, variance (9 + 1 + 16) / 3.
    expected = torch.tensor([[[1 / (26 / 3) ** 0.5, 4 / 1e-3]]])
    torch.testing.assert_close(WeightedSum(1)(frames_BJE, standardise), expected)


def test_a_weighted_sum_in_one_pass_is_that_of_standardised_states_without_dropped_channels() -> None:
    """Written out, with its gradient on the weights."""
    generator = torch.Generator().manual_seed(0)
    joined_BJE = torch.randn(2, 5, 12, generator=generator) * 3 + 1
    kept_BE = (torch.rand(2, 12, generator=generator) > 0.3) / 0.7
    standardise, weigh = Standardised(12), WeightedSum(3)
    standardise.set(joined_BJE.numpy())
    torch.nn.init.normal_(weigh.logits, generator=generator)
    weigh(joined_BJE, standardise, kept_BE).square().sum().backward()
    found = weigh.logits.grad
    assert found is not None
    logits_K = weigh.logits.detach().double().requires_grad_()
    flat_NE = joined_BJE.double().flatten(0, 1)
    standard_BJE = (joined_BJE - flat_NE.mean(dim=0)) / flat_NE.std(dim=0, correction=0) * kept_BE[:, None]
    states = standard_BJE.unflatten(-1, (3, 4)).unbind(dim=2)
    expected_BJD = sum(weight * state for weight, state in zip(logits_K.softmax(dim=0), states, strict=True))
    assert isinstance(expected_BJD, torch.Tensor)
    torch.testing.assert_close(weigh(joined_BJE, standardise, kept_BE).double(), expected_BJD, atol=1e-5, rtol=1e-5)
    expected_BJD.square().sum().backward()
    torch.testing.assert_close(found.double(), logits_K.grad, atol=1e-4, rtol=1e-4)
