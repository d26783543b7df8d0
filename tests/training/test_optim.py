"""Learning rates: warm-up and decay by hand, and which parameters learn at which rate."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raysys.config import LossConfig, ModelConfig, OptimConfig
from raysys.model.network import Network
from raysys.training.optim import WeightAverage, make_optimizer, rate_factor, set_rates

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("total", "warmup", "expected"),
    [
        (10, 0.2, [1 / 2, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        (4, 0.0, [1, 1, 2 / 3, 1 / 3]),
        (4, 0.75, [1 / 3, 2 / 3, 1, 1]),
        (1, 0.1, [1]),
        (2, 0.9, [1 / 2, 1]),
    ],
)
def test_rate_by_hand(total: int, warmup: float, expected: list[float]) -> None:
    """Rises to the peak and falls in equal steps; no update is wasted at a rate of 0."""
    assert [rate_factor(u, total, warmup) for u in range(total)] == pytest.approx(expected)


def make_network(**model: Any) -> Network:
    torch.manual_seed(0)
    config = ModelConfig(audio="tiny", text="tiny", width=16, heads=4, feed_forward=24, **model)
    return Network(config, n_classes=3, vocab_size=20, loss=LossConfig())


def test_encoders_learn_at_their_own_rate_and_frozen_ones_not_at_all() -> None:
    network = make_network()
    optimizer = make_optimizer(network, OptimConfig(encoder_lr=0.25, lr=0.5, weight_decay=0.125))
    rate_of = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    found = {name: rate_of.get(id(p)) for name, p in network.named_parameters()}
    convolutions = "audio_encoder.model.feature_extractor."  # Frozen by default.
    for name, rate in found.items():
        if name.startswith(convolutions):
            assert rate is None, name
        else:
            encoder = name.startswith(("audio_encoder.", "text_encoder."))
            assert rate == (0.25 if encoder else 0.5), name
    assert {None, 0.25, 0.5} == set(found.values())


def test_matrices_decay_and_single_vectors_do_not() -> None:
    """Biases, scales of norms, weights of layers and stand-ins have no reason to be near 0."""
    network = make_network(layer="weighted_sum")
    optimizer = make_optimizer(network, OptimConfig(weight_decay=0.125))
    decay_of = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    found = {name: decay_of[id(p)] for name, p in network.named_parameters() if p.requires_grad}
    assert found["head.1.weight"] == found["fusion.bigru.gru.weight_hh_l0"] == 0.125
    for name in ("head.1.bias", "no_text_D", "weigh_states.logits", "fusion.bigru.gru.bias_hh_l0"):
        assert found[name] == 0.0
    assert all(decay == 0.0 for name, decay in found.items() if "norm" in name or name.endswith("bias"))


def test_weights_of_layers_learn_at_the_rate_of_the_rest() -> None:
    """At an encoder's 1e-5 they would stay a plain mean."""
    network = make_network(layer="weighted_sum")
    optimizer = make_optimizer(network, OptimConfig(encoder_lr=0.25, lr=0.5))
    (rate,) = (g["lr"] for g in optimizer.param_groups for p in g["params"] if p is network.weigh_states.logits)
    assert rate == 0.5


def test_factors_are_of_the_peak_not_of_the_last_rate() -> None:
    optimizer = make_optimizer(make_network(), OptimConfig(encoder_lr=0.25, lr=0.5))
    for factor in (0.5, 1.0, 0.5):
        set_rates(optimizer, factor)
        assert [g["lr"] for g in optimizer.param_groups] == [0.25 * factor] * 2 + [0.5 * factor] * 2


def test_wholly_frozen_encoders_leave_the_groups_of_the_rest() -> None:
    network = make_network()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("_encoder." not in name)
    assert [g["lr"] for g in make_optimizer(network, OptimConfig(lr=0.5)).param_groups] == [0.5, 0.5]


def test_average_by_hand_and_the_weights_come_back() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    weight = network.weight.detach()
    weight.fill_(8.0)
    average = WeightAverage(network, 0.5)
    # Decays: min(0.5, 1 / 10), min(0.5, 2 / 11), and 0.5 much later.
    expected = 8.0
    for update, (value, decay) in {0: (4.0, 0.1), 1: (2.0, 2 / 11), 100: (6.0, 0.5)}.items():
        weight.fill_(value)
        average.update(update)
        expected = decay * expected + (1 - decay) * value
        assert average.average["weight"].item() == pytest.approx(expected)
    with average.in_place():
        assert network.weight.item() == pytest.approx(expected)
    assert network.weight.item() == 6.0


def test_without_a_decay_the_average_is_the_weights_themselves() -> None:
    network = torch.nn.Linear(1, 1)
    average = WeightAverage(network, 0.0)
    average.update(0)
    assert average.average == {}
    before = network.weight.item()
    with average.in_place():
        assert network.weight.item() == before
