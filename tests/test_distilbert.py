"""The small text encoder against transformers' DistilBertModel: the same weights from a seed, the same results."""

from __future__ import annotations

import pytest
import torch
from transformers import DistilBertConfig as TheirConfig
from transformers import DistilBertForMaskedLM as TheirMaskedLM
from transformers import DistilBertModel

from raysys.distilbert import DistilBertForMaskedLM
from raysys.model.fast import speed_up_dropout
from raysys.model.small_text import SmallTextEncoder

VOCABULARY, WIDTH = 50, 32


def pair(dropout: float) -> tuple[SmallTextEncoder, DistilBertModel]:
    """Both initialised from one seed, with the generator's state after each."""
    config = TheirConfig(
        vocab_size=VOCABULARY, dim=WIDTH, n_layers=2, n_heads=4, hidden_dim=4 * WIDTH, dropout=dropout,
        attention_dropout=dropout,
    )  # fmt: skip
    torch.manual_seed(3)
    theirs = DistilBertModel(config)
    after = torch.get_rng_state()
    torch.manual_seed(3)
    ours = SmallTextEncoder(vocab_size=VOCABULARY, width=WIDTH, dropout=dropout)
    assert torch.equal(torch.get_rng_state(), after), "the next random numbers would differ"
    speed_up_dropout(theirs)
    return ours, theirs


def batch(lengths: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    tokens_BM = torch.randint(1, VOCABULARY, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(0))
    valid_BM = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return tokens_BM * valid_BM, valid_BM


def test_names_and_initial_values_equal_distilberts() -> None:
    ours, theirs = pair(0.1)
    state, expected = ours.model.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize("lengths", [(7, 3, 1), (5, 5), (1,)])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("training", [True, False])
def test_results_and_gradients_equal_distilberts_bit_for_bit(
    lengths: tuple[int, ...], dropout: float, training: bool
) -> None:
    ours, theirs = pair(dropout)
    tokens_BM, valid_BM = batch(lengths)
    found = []
    for network in (ours, theirs):
        network.train(training)
        torch.manual_seed(1)
        if network is ours:
            hidden_BMD = network(tokens_BM, valid_BM)
        else:
            hidden_BMD = network(input_ids=tokens_BM, attention_mask=valid_BM.long()).last_hidden_state
        hidden_BMD.square().sum().backward()
        found.append((hidden_BMD, {name.removeprefix("model."): p.grad for name, p in network.named_parameters()}))
    (mine, my_gradients), (other, gradients) = found
    assert torch.equal(mine[valid_BM], other[valid_BM])
    for name, gradient in gradients.items():
        assert (my_gradients[name] is None) == (gradient is None), name
        assert gradient is None or torch.equal(my_gradients[name], gradient), name


def test_a_masked_lm_equals_that_of_transformers_bit_for_bit() -> None:
    """First values, results, and weights after steps of training with dropout."""
    config = TheirConfig(
        vocab_size=VOCABULARY, dim=WIDTH, n_layers=2, n_heads=4, hidden_dim=4 * WIDTH, dropout=0.1,
        attention_dropout=0.1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(3)
    theirs = TheirMaskedLM(config)
    after = torch.get_rng_state()
    torch.manual_seed(3)
    ours = DistilBertForMaskedLM(vocab_size=VOCABULARY, width=WIDTH, dropout=0.1)
    assert torch.equal(torch.get_rng_state(), after)
    for network in (ours, theirs):
        network.train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
        torch.manual_seed(1)
        for lengths in [(7, 3, 1), (5, 5), (9, 2)]:
            tokens_BM, valid_BM = batch(lengths)
            embeddings_BMD = network.get_input_embeddings()(tokens_BM)
            logits_BMV = network(inputs_embeds=embeddings_BMD, attention_mask=valid_BM).logits
            optimizer.zero_grad()
            logits_BMV[valid_BM].square().mean().backward()
            optimizer.step()
    state, expected = ours.state_dict(), theirs.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name
