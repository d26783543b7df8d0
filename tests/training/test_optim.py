"""Learning rates: warm-up and decay by hand, and which parameters learn at which rate."""

from __future__ import annotations

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


def make_network() -> Network:
    torch.manual_seed(0)
    config = ModelConfig(audio="tiny", text="tiny", width=16, heads=4, feed_forward=24)
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
    assert all(group["weight_decay"] == 0.125 for group in optimizer.param_groups)


def test_factors_are_of_the_peak_not_of_the_last_rate() -> None:
    optimizer = make_optimizer(make_network(), OptimConfig(encoder_lr=0.25, lr=0.5))
    for factor in (0.5, 1.0, 0.5):
        set_rates(optimizer, factor)
        assert [g["lr"] for g in optimizer.param_groups] == [0.25 * factor, 0.5 * factor]


def test_wholly_frozen_encoders_leave_one_group() -> None:
    network = make_network()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("_encoder." not in name)
    (group,) = make_optimizer(network, OptimConfig(lr=0.5)).param_groups
    assert group["lr"] == 0.5


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
